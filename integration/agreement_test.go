package integration

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// checkAgreement wants the same log on all nodes, and an audit journal on each that
// its own node can walk along.
func checkAgreement(t *testing.T, c *lab) {
	t.Helper()
	c.agree()
	for _, n := range c.nodes {
		a, err := c.admin.AuditCheck(ctx(t), client.At(n.api))
		if err != nil || !a.OK || a.Records == 0 {
			t.Errorf("audit journal of %s: %+v, %v", n.name, a, err)
		}
	}
}

// agree waits until all nodes are at one size of the log, with one root.
func (c *lab) agree() {
	t := c.t
	t.Helper()
	eventually(t, 20*time.Second, "the nodes agree", func() string {
		var first wire.Position
		for i, n := range c.nodes {
			s, err := c.admin.Status(ctx(t), client.At(n.api), client.Consistency(wire.Linearizable))
			switch {
			case err != nil:
				return n.name + ": " + err.Error()
			case i == 0:
				first = s.Position
			case s.Position.LogSize == first.LogSize && !bytes.Equal(s.Position.LogRoot, first.LogRoot):
				t.Fatalf("%s and %s have different logs of size %d", n.name, c.nodes[0].name, first.LogSize)
			case s.Position.LogSize != first.LogSize:
				return fmt.Sprintf("%s has %d leaves, %s %d", n.name, s.Position.LogSize, c.nodes[0].name, first.LogSize)
			}
		}
		return ""
	})
}

// artifact names a file that outlives the test, for whoever looks into a failure.
func artifact(t *testing.T, name string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "chancery-"+t.Name()+"-")
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}
