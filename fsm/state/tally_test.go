package state_test

import (
	"bytes"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// tally is a node's report that its instance of version 1 has released so much, as of a
// line of its ledger.
func (w *world) tally(node int, seq, released uint64) *command.ReportTally {
	return &command.ReportTally{Node: w.nodes[node], Seq: seq, Hash: ledgerHash(seq), At: w.l.Clock().At(),
		Items: []command.TallyItem{{Key: ci, Version: 1, KID: w.instance(1, node).KID, Released: released, Open: 1, LastAt: w.l.Clock().At()}}}
}

func ledgerHash(seq uint64) []byte { return bytes.Repeat([]byte{byte(seq)}, 32) }

func confirmPurpose(w *world, ahead lifecycle.Milliseconds) *command.ConfirmPurpose {
	return &command.ConfirmPurpose{Key: ci, Reason: "signs the nightly builds", ConfirmBy: w.l.Clock().At().Add(ahead)}
}

func TestTallies(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.tally(0, 7, 3))
	w.ok(w.tally(0, 7, 3)) // its answer was lost
	w.ok(w.tally(1, 5, 10))
	v := w.l.View()
	if got := v.Tally(ci, 1, w.nodes[0]); got == nil || got.Released != 3 || got.Open != 1 || got.LastAt == 0 || got.Seq != 7 {
		t.Errorf("tally %+v", got)
	}
	if all := v.Tallies(ci); len(all) != 2 || v.Tally(ci, 1, w.nodes[2]) != nil {
		t.Errorf("%d tallies", len(all))
	}
	if h := v.LedgerHead(w.nodes[0]); h.Seq != 7 || !bytes.Equal(h.Hash, ledgerHash(7)) || h.Released != 3 || h.At == 0 || len(h.Breaks) != 0 {
		t.Errorf("head %+v", h)
	}
	if l := w.lastLeaf(); l.Kind != "signature.tallied" || l.Count != 10 || l.Node != w.nodes[1] {
		t.Errorf("leaf %+v", l)
	}

	// What contradicts the report before.
	w.no(state.Invalid, w.tally(0, 6, 3))
	w.no(state.Invalid, w.tally(0, 8, 2))
	forged := w.tally(0, 7, 4)
	forged.Hash = ledgerHash(9)
	w.no(state.Invalid, forged)
	foreign := w.tally(0, 9, 4)
	foreign.Items[0].KID = w.instance(1, 1).KID
	w.no(state.InstanceNotHere, foreign)
	gone := w.tally(0, 9, 4)
	gone.Items[0].Version = 2
	w.no(state.InstanceNotHere, gone)
}

// TestTallyInParts: the head moves with the last part, so that after a crash between
// them nothing is taken for counted.
func TestTallyInParts(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.tally(0, 7, 3))
	part := w.tally(0, 12, 5)
	part.More = true
	w.ok(part)
	if h, got := w.l.View().LedgerHead(w.nodes[0]), w.l.View().Tally(ci, 1, w.nodes[0]); h.Seq != 7 || h.Released != 5 || got.Seq != 12 || got.Released != 5 {
		t.Errorf("head %+v, tally %+v", h, got)
	}
	w.ok(w.tally(0, 12, 5))
	if h := w.l.View().LedgerHead(w.nodes[0]); h.Seq != 12 || h.Released != 5 {
		t.Errorf("head %+v", h)
	}
}

func TestLedgerBreaks(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.tally(0, 70, 30))
	known := w.l.View().LedgerHead(w.nodes[0]).At
	w.pass(lifecycle.Hour)
	anew := &command.ReportTally{Node: w.nodes[0], Seq: 1, Hash: ledgerHash(1), At: w.l.Clock().At(), Anew: true}
	o := w.ok(anew)
	h := w.l.View().LedgerHead(w.nodes[0])
	if len(h.Breaks) != 1 || h.Breaks[0] != (lifecycle.LedgerBreak{At: anew.At, KnownAt: known, Seq: 70, Index: o.Index}) || h.Seq != 1 || h.Released != 30 {
		t.Errorf("head %+v", h)
	}
	w.no(state.Invalid, w.tally(0, 2, 1)) // the count goes on
	w.ok(w.tally(0, 2, 31))
	if h = w.l.View().LedgerHead(w.nodes[0]); h.Released != 31 || h.Seq != 2 || len(h.Breaks) != 1 {
		t.Errorf("head %+v", h)
	}
	for range 40 {
		w.ok(anew)
	}
	if h = w.l.View().LedgerHead(w.nodes[0]); len(h.Breaks) != 16 {
		t.Errorf("%d breaks are kept", len(h.Breaks))
	}
}

func TestConfirmPurpose(t *testing.T) {
	w := newWorld(t).active(1)
	before := w.l.View().Key(ci)
	w.no(state.Invalid, confirmPurpose(w, 0))
	w.no(state.Invalid, confirmPurpose(w, command.MaxConfirmAhead+lifecycle.Day))
	other := confirmPurpose(w, lifecycle.Day)
	other.Key = "other"
	w.no(state.KeyNotFound, other)
	c := confirmPurpose(w, 365*lifecycle.Day)
	w.ok(c)
	k := w.l.View().Key(ci)
	if k.ConfirmBy != c.ConfirmBy || k.Reason != c.Reason || k.PolicyVersion != before.PolicyVersion || k.Owner != before.Owner {
		t.Errorf("key %+v", k)
	}
	if l := w.lastLeaf(); l.Kind != "key.confirmed" || l.Key != ci || l.After != c.ConfirmBy.String() {
		t.Errorf("leaf %+v", l)
	}
}
