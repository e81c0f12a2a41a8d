package model

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// Bounds that are checked within seconds. README.md has the numbers for larger ones.
var (
	oneLease  = []string{"-DREQUESTS=1", "-DHORIZON=4"}
	twoLeases = []string{"-DREQUESTS=2", "-DHORIZON=3"}
)

// variants are errors of design, each under the name that switches it on and with
// bounds that show it. A model that does not refute them says nothing about the
// design that it passes.
var variants = []struct {
	name   string
	bounds []string
}{
	{"NO_GATE", oneLease},             // a signature leaves without a second look
	{"SPLIT_GATE", oneLease},          // fenced is promised of bytes on the wire, not of the gate
	{"LEASE_FROM_RECEIPT", oneLease},  // a lease counts from the arrival of its grant
	{"NO_ELECTION_WAIT", oneLease},    // leases of earlier terms are not waited for
	{"NO_WAIT", oneLease},             // nor those of this term
	{"INDEX_BEFORE_RECORD", oneLease}, // a fence fits between the index and the bound
	{"NO_CONFIRMATION", oneLease},     // a deposed leader grants
	{"GRANT_AFTER_RESTART", oneLease}, // a question survives the process that asked it
	{"NO_SETTLE", oneLease},           // nothing is waited for after fenced
	{"ACK_BEFORE_APPLY", oneLease},    // a node acknowledges what it does not know yet
	{"ACK_BEFORE_DRAIN", oneLease},    // or while somebody is in the gate
	{"NO_NONCE", twoLeases},           // a late grant answers the next question
	{"EXTEND_OLD", twoLeases},         // the lease in use is prolonged by one whose index is not applied
}

func TestDesignHolds(t *testing.T) {
	t.Parallel()
	for _, bounds := range [][]string{oneLease, twoLeases} {
		if out := check(t, "-O1", bounds); !strings.Contains(out, "errors: 0") {
			t.Errorf("spin refutes the design within %v:\n%s", bounds, out)
		}
	}
}

func TestBrokenVariantsAreRefuted(t *testing.T) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			if out := check(t, "-O0", v.bounds, "-D"+v.name); !strings.Contains(out, "errors: 1") {
				t.Errorf("spin finds nothing wrong:\n%s", out)
			}
		})
	}
}

// check makes a checker for the model with these bounds and switches, runs it, and
// returns what it says. Compiling takes longer than a short search, so most are not
// optimized. An incomplete search is a failure, not a pass.
func check(t *testing.T, optimize string, bounds []string, switches ...string) string {
	t.Helper()
	model, err := filepath.Abs("barrier.pml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run(t, dir, "spin", slices.Concat([]string{"-a"}, bounds, switches, []string{model})...)
	run(t, dir, "gcc", optimize, "-w", "-DSAFETY", "-DMEMLIM=2000", "-DVECTORSZ=2048", "-o", "pan", "pan.c")
	out := run(t, dir, "./pan", "-m400000", "-E", "-w22") // -E: a process that ends early is no error
	if strings.Contains(out, "max search depth too small") || strings.Contains(out, "out of memory") {
		t.Fatalf("the search is not complete within %v:\n%s", bounds, out)
	}
	return out
}

// run ends the test if the tool is missing, fails or takes minutes.
func run(t *testing.T, dir, tool string, args ...string) string {
	t.Helper()
	if filepath.Base(tool) == tool {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing; scripts/deps installs it", tool)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, tool, args...)
	c.Dir, c.Env = dir, append(os.Environ(), "LC_ALL=C")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", tool, strings.Join(args, " "), err, out)
	}
	return string(out)
}
