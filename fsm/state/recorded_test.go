package state_test

import (
	"crypto/sha256"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestRecorded finds every signature of every request that was let through, whatever
// its leaf names one by one, and no other.
func TestRecorded(t *testing.T) {
	w := signWorld(t)
	sum := func(it command.SignatureItem) [sha256.Size]byte { return [sha256.Size]byte(it.Sig) }
	large, foreign, alone := w.group(200), w.group(1), w.group(1)
	foreign.Principal, foreign.TokenID = "mallory", ""
	other := sha256.Sum256([]byte("nobody let this through"))
	foreign.Items[0].Sig = other[:]
	mine := sha256.Sum256([]byte("alone"))
	alone.Items[0].Sig = mine[:]
	before := w.l.View()
	o := w.ok(&command.RecordSignatures{Node: w.nodes[0], Groups: []command.SignatureGroup{large, foreign, alone}})
	again := w.ok(&command.RecordSignatures{Node: w.nodes[0], Groups: []command.SignatureGroup{w.group(3)}})
	if again.Index <= o.Index {
		t.Fatalf("entries %d and %d", o.Index, again.Index)
	}
	v := w.l.View()
	for i, it := range large.Items {
		if l, err := v.Recorded(sum(it)); err != nil || l == nil || l.Index != o.Index || l.Sub != 0 || l.Count != 200 || l.KID != large.KID {
			t.Fatalf("signature %d: %+v, %v", i, l, err)
		}
	}
	if l, err := v.Recorded(mine); err != nil || l == nil || l.Index != o.Index || l.Sub != 1 || l.Count != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err := v.Recorded(other); err != nil || l != nil {
		t.Errorf("a refused one: %+v, %v", l, err)
	}
	if l, err := before.Recorded(mine); err != nil || l != nil {
		t.Errorf("a state from before: %+v, %v", l, err)
	}
}

// TestAllRecorded: of a version that was there before the key was strict, signatures
// without a record may exist.
func TestAllRecorded(t *testing.T) {
	w := newWorld(t).deactivated(1)
	strict := func(on bool) {
		t.Helper()
		p := w.l.View().Key(ci).Policy
		p.Strict = on
		w.ok(&command.SetPolicy{Key: ci, Policy: p})
	}
	all := func(n uint64) bool {
		return state.AllRecorded(w.l.View().Key(ci), w.l.View().Version(ci, n))
	}
	strict(false)
	if all(2) {
		t.Error("a key that is not strict")
	}
	w.pass(lifecycle.Minute)
	strict(true)
	at := w.l.View().Key(ci).StrictAt
	if all(2) || at == 0 {
		t.Errorf("version 2 was there before the key was strict at %s", at)
	}
	w.pass(lifecycle.Minute)
	strict(true)
	if now := w.l.View().Key(ci).StrictAt; now != at {
		t.Errorf("a policy that says the same again moved %s to %s", at, now)
	}
	w.ok(&command.PrepareVersion{Key: ci, Version: 3, Instances: []command.Intent{{Node: w.nodes[0], CKAID: ledgertest.CKAID("ci3")}}})
	if !all(3) {
		t.Error("version 3 was made when the key was strict")
	}
}
