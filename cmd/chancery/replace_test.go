//go:build !clientonly && !windows

package main

import (
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestEmergency runs the stories of leaked keys. Nodes die in them, so they have a
// cluster of their own.
func TestEmergency(t *testing.T) {
	if testing.Short() {
		t.Log("-short: no cluster is started")
		return
	}
	env := startCluster(t)
	testscript.Run(t, testscript.Params{Dir: "testdata/emergency", Cmds: commands, Setup: func(e *testscript.Env) error {
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
