//go:build !clientonly && !windows

package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestApprovals runs the stories of four eyes. Approval rules bind the whole cluster,
// so they have one of their own, of a single node.
func TestApprovals(t *testing.T) {
	if testing.Short() {
		t.Log("-short: no cluster is started")
		return
	}
	env := startCluster(t, "--nodes", "1")
	testscript.Run(t, testscript.Params{Dir: "testdata/approvals", Cmds: commands, Setup: func(e *testscript.Env) error {
		if err := isolate(e); err != nil {
			return err
		}
		for _, kv := range env {
			k, v, _ := strings.Cut(kv, "=")
			e.Setenv(k, v)
		}
		return nil
	}})
}
