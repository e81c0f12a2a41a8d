package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestSyncsPerWrite counts disk syncs under strace: a lone write costs at most two of
// the Raft store on each node, and one of the audit journal on the node that decides.
// The state file is synced off that path.
func TestSyncsPerWrite(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: strace is a Linux program")
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatalf("%v: run scripts/deps", err)
	}
	const writes = 20
	c := startCluster(t, 3)
	lead := c.leader()
	if _, err := c.admin.Principals(ctx(t)); err != nil {
		t.Fatal(err)
	}
	c.agree()
	traces := map[*node]*tracer{}
	for _, n := range c.nodes {
		traces[n] = trace(t, n)
	}
	before := position(t, c, lead)
	for range writes {
		if _, err := c.admin.CreateToken(ctx(t), wire.CreateToken{Principal: "admin", Label: "lone"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // a lone write has nothing to share a sync with
	}
	c.agree()
	entries := int(position(t, c, lead).Index - before.Index)
	if c.leader() != lead {
		t.Fatal("the leader changed: the counts say nothing")
	}
	if entries < writes {
		t.Fatalf("%d writes made %d entries", writes, entries)
	}
	for _, n := range c.nodes {
		got := traces[n].end(t)
		t.Logf("%s (leads: %v): %d entries, syncs %v", n.name, n == lead, entries, got)
		raft, audit := got["raft"], got["audit"]
		if raft == 0 || raft > 2*entries {
			t.Errorf("%s synced its Raft store %d times for %d entries", n.name, raft, entries)
		}
		if n == lead && (audit == 0 || audit > entries) {
			t.Errorf("%s synced its audit journal %d times for %d entries", n.name, audit, entries)
		}
		if n != lead && audit > entries/2 {
			t.Errorf("%s decided nothing and synced its audit journal %d times", n.name, audit)
		}
	}
}

func position(t *testing.T, c *lab, n *node) wire.Position {
	t.Helper()
	s, err := c.admin.Status(ctx(t), client.At(n.api), client.Consistency(wire.Linearizable))
	if err != nil {
		t.Fatal(err)
	}
	return s.Position
}

// tracer is strace, attached to one node.
type tracer struct {
	cmd  *exec.Cmd
	file string
	dir  string
}

// trace attaches to each thread of the node.
func trace(t *testing.T, n *node) *tracer {
	t.Helper()
	tr := &tracer{file: filepath.Join(t.TempDir(), "syncs"), dir: n.data()}
	tr.cmd = exec.Command("strace", "-f", "-q", "-y", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o", tr.file, "-p", fmt.Sprint(n.pid()))
	if err := tr.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tr.cmd.Process.Kill() }) // it has ended, unless the test failed before
	eventually(t, 10*time.Second, "strace is attached to "+n.name, func() string {
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", n.pid()))
		if err != nil || len(tasks) == 0 {
			return fmt.Sprint("no threads ", err)
		}
		for _, task := range tasks {
			b, err := os.ReadFile(task)
			if err == nil && strings.Contains(string(b), "TracerPid:\t0\n") {
				return task
			}
		}
		return ""
	})
	return tr
}

var syncCall = regexp.MustCompile(`(?m)(?:fsync|fdatasync|sync_file_range)\(\d+<([^>]+)>`)

// end detaches and counts the syncs of each subdirectory of the data directory.
func (tr *tracer) end(t *testing.T) map[string]int {
	t.Helper()
	if err := tr.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = tr.cmd.Wait() // strace reports the signal
	b, err := os.ReadFile(tr.file)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, m := range syncCall.FindAllSubmatch(b, -1) {
		rel, err := filepath.Rel(tr.dir, string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		out[strings.Split(rel, string(filepath.Separator))[0]]++
	}
	return out
}
