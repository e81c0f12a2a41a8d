package rotation

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestExplain(t *testing.T) {
	f := newFixture(t)
	expect := func(what string, want Progress, waits ...string) {
		t.Helper()
		got := Explain(f.View(), "k", f.now())
		if got.Phase != want.Phase || got.Version != want.Version || got.Next != want.Next || got.EarliestAt != want.EarliestAt {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
		if len(got.WaitsFor) != len(waits) {
			t.Errorf("%s: waits for %+v, want %q", what, got.WaitsFor, waits)
			return
		}
		for n, w := range got.WaitsFor {
			if text := w.Kind + " " + w.Name + ": " + w.Detail + " > " + w.Hint; !strings.Contains(text, waits[n]) {
				t.Errorf("%s: waits for %q, want %q", what, text, waits[n])
			}
		}
	}
	byName := func(n int) string { return f.View().Node(f.nodes[n]).Name }

	expect("no key", Progress{Phase: Ended})
	f.create("k", tokenPolicy(), f.nodes...)
	f.Must(t, &command.ReportCondition{Key: "k", Version: 1, Node: f.nodes[2], Condition: lifecycle.Lost, Detail: "the token refused the PIN"})
	created := f.now()
	f.bind("k", 1, f.nodes[0], f.nodes[1])
	expect("one instance is missing", Progress{Phase: Prepared, Version: 1, Next: "activate", EarliestAt: created.Add(ReadyGrace)},
		"instance "+byName(2)+": instance on node3 is pending since "+created.String()+": the token refused the PIN > chancery node show node3")
	f.Clock().Advance(10 * time.Second)
	f.expect("grace", "ActivateVersion k/1")
	next := f.now().Add(30*lifecycle.Day - lifecycle.Hour)
	expect("active, one instance is still missing", Progress{Phase: Idle, Version: 1, Next: "prepare", EarliestAt: next}, "instance node3:")
	f.bind("k", 1, f.nodes[2])
	expect("all is well", Progress{Phase: Idle, Version: 1, Next: "prepare", EarliestAt: next})

	f.Must(t, &command.PrepareVersion{Key: "k", Version: 2, Instances: f.creation("x", tokenPolicy(), f.nodes[0]).Instances})
	expect("by hand", Progress{Phase: Prepared, Version: 2, Next: "publish"}, "instance node1:")
	f.bind("k", 2, f.nodes[0])
	f.Must(t, &command.PublishVersion{Key: "k", Version: 2})
	lead := f.now().Add(lifecycle.Hour)
	expect("lead", Progress{Phase: Published, Version: 2, Next: "activate", EarliestAt: lead}, "lead : verifiers get 1h")
	f.Clock().Advance(time.Hour)
	expect("due", Progress{Phase: Published, Version: 2, Next: "activate", EarliestAt: lead})
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[0], Status: lifecycle.Quarantined})
	expect("its node does not sign", Progress{Phase: Published, Version: 2, Next: "activate", EarliestAt: lead}, "node node1 does not sign")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[0], Status: lifecycle.Member})

	f.Must(t, &command.SuspendVersion{Key: "k", Version: 2})
	expect("the successor is on hold", Progress{Phase: Idle, Version: 1, Next: "prepare", EarliestAt: next}, "chancery key resume k --version 2")
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{2}, Reason: lifecycle.KeyCompromise})
	f.Must(t, &command.SuspendVersion{Key: "k", Version: 1})
	expect("on hold", Progress{Phase: Held, Version: 1}, "chancery key resume k --version 1")
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise})
	expect("revoked", Progress{Phase: Ended}, "chancery key rotate k")
}

func TestExplainTooFewNodes(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.MinReady = 4
	f.create("k", pol, f.nodes...)
	f.bind("k", 1, f.nodes...)
	p := Explain(f.View(), "k", f.now())
	if p.Phase != Prepared || len(p.WaitsFor) != 1 || p.WaitsFor[0].Kind != "node" || !strings.Contains(p.WaitsFor[0].Detail, "4 ready") {
		t.Errorf("%+v", p)
	}
}
