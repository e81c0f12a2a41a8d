package ledgertest_test

import (
	"errors"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestFencesStandAtOnce(t *testing.T) {
	l := ledgertest.New(t)
	ids := ledgertest.Genesis(t, l, "alpha", "beta", "gamma")
	quarantine := func(node int) uint64 {
		t.Helper()
		return l.Must(t, &command.SetNodeStatus{ID: ids[node], Status: lifecycle.Quarantined}).Index
	}
	l.Unreachable(ids[2])
	first := quarantine(1)
	f := l.View().Fence(first)
	if f == nil || f.FencedAt == 0 || f.SettledAt == 0 || len(f.Nodes) != 3 {
		t.Fatalf("fence %+v", f)
	}
	for _, n := range f.Nodes {
		want := lifecycle.FencedNode{Node: n.Node, Outcome: lifecycle.Acked, Boot: ledgertest.Boot(n.Node), At: l.Clock().At()}
		if n.Node == ids[2] {
			want.Outcome, want.Boot = lifecycle.LeaseExpired, ""
		}
		if n != want {
			t.Errorf("node %+v, want %+v", n, want)
		}
	}

	l.HoldFences(true)
	l.HoldSettling(true)
	index := quarantine(2)
	if f := l.View().Fence(index); f == nil || f.FencedAt != 0 {
		t.Fatalf("held open: %+v", f)
	}
	l.HoldFences(false)
	if f := l.View().Fence(index); f.FencedAt == 0 || f.SettledAt != 0 {
		t.Fatalf("held from settling: %+v", f)
	}
	l.HoldSettling(false)
	if f := l.View().Fence(index); f.SettledAt == 0 {
		t.Fatalf("let go: %+v", f)
	}
}

func TestLease(t *testing.T) {
	l := ledgertest.New(t)
	if err := l.Usable(l.View()); err != nil {
		t.Errorf("a new ledger: %v", err)
	}
	l.TakeLease("the leader is gone")
	if err := l.Usable(l.View()); !errors.Is(err, ledger.ErrNoLease) || err.Error() != ledger.ErrNoLease.Error()+": the leader is gone" {
		t.Errorf("taken: %v", err)
	}
	l.GiveLease()
	if err := l.Usable(l.View()); err != nil {
		t.Errorf("given back: %v", err)
	}
}
