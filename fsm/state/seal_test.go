package state_test

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func sealID(n int) string { return fmt.Sprintf("%016x", n) }

func (w *world) sealing(node, id int, key lifecycle.KeyID) *command.ReportSeal {
	return &command.ReportSeal{Node: w.nodes[node], ID: sealID(id), Key: key, Reason: "laptop stolen", By: "root", SealedAt: 1767355200000}
}

func TestSeals(t *testing.T) {
	w := newWorld(t).active(1)
	lift := &command.LiftSeal{Node: w.nodes[0], ID: sealID(1)}
	w.no(state.SealNotFound, lift)
	w.ok(w.sealing(0, 1, ci))
	size := w.l.View().Position().LogSize
	w.ok(w.sealing(0, 1, ci)) // its answer was lost
	n := w.l.View().Node(w.nodes[0])
	if s := n.SealedFor(ci); len(n.Seals) != 1 || s == nil || s.ID != sealID(1) || s.At != 1767355200000 || s.By != "root" || s.Reason != "laptop stolen" {
		t.Errorf("seals %+v", n.Seals)
	}
	if n.SealedFor("") != nil || n.SealedFor("other") != nil || !n.Signs() {
		t.Error("a seal of one key covers more")
	}
	if got := w.l.View().Position().LogSize; got != size {
		t.Error("the repeat went into the log")
	}
	w.ok(w.sealing(0, 2, ""))
	if n = w.l.View().Node(w.nodes[0]); n.SealedFor("").ID != sealID(2) || n.SealedFor("other") == nil || w.l.View().Node(w.nodes[1]).SealedFor(ci) != nil {
		t.Errorf("seals %+v", n.Seals)
	}
	w.pass(lifecycle.Second)
	w.ok(lift)
	w.no(state.IllegalTransition, lift)
	w.no(state.IllegalTransition, w.sealing(0, 1, ci)) // its node learns here that it was lifted
	n = w.l.View().Node(w.nodes[0])
	if s := n.Seal(sealID(1)); s == nil || s.LiftedAt != w.l.View().Clock() || s.LiftedBy != ledgertest.Admin || n.SealedFor(ci).ID != sealID(2) {
		t.Errorf("seals %+v", n.Seals)
	}
	var kinds []string
	if err := w.l.View().Leaves(size-1, func(_ uint64, l *state.Leaf, _ []byte) bool {
		kinds = append(kinds, l.Kind+" "+string(l.Key))
		return true
	}); err != nil || fmt.Sprint(kinds) != "[node.sealed ci node.sealed  node.unsealed ci]" {
		t.Errorf("the log says %q, %v", kinds, err)
	}
	w.no(state.NodeNotFound, &command.LiftSeal{Node: ledgertest.NodeID("nobody"), ID: sealID(1)})
}

// TestSealsHaveALimit: those that hold are never forgotten.
func TestSealsHaveALimit(t *testing.T) {
	w := newWorld(t)
	for i := range command.MaxSeals {
		w.ok(w.sealing(0, i, ""))
	}
	w.no(state.LimitReached, w.sealing(0, 99, ""))
	w.ok(&command.LiftSeal{Node: w.nodes[0], ID: sealID(7)})
	w.ok(w.sealing(0, 99, ""))
	n := w.l.View().Node(w.nodes[0])
	if len(n.Seals) != command.MaxSeals || n.Seal(sealID(7)) != nil || n.Seal(sealID(99)) == nil || n.Seal(sealID(0)) == nil {
		t.Errorf("%d seals", len(n.Seals))
	}
}
