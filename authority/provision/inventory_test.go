package provision

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestMissingPairIsLostAndNotMadeAgain(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.made("other")
	id := hsm.ObjectID(f.mine("k").CKAID)
	f.lens.hidden[id] = true
	f.pass()
	f.expect("hidden", "k", lifecycle.Lost)
	f.expect("the other", "other", lifecycle.Ready)
	if s := f.r.State(); s.Missing != 1 || s.Wiped || s.Objects != 1 || s.Orphans != 0 {
		t.Errorf("state %+v", s)
	}
	generated, reported := f.store.Calls(hsmtest.OpGenerate), len(f.reporter.received)
	for range 3 {
		f.pass()
	}
	if f.store.Calls(hsmtest.OpGenerate) != generated || len(f.reporter.received) != reported {
		t.Errorf("generated again, or reported again: %v", f.reporter.received)
	}

	delete(f.lens.hidden, id)
	f.store.WrongSignatures(true)
	f.pass()
	f.expect("found again, but it signs wrongly", "k", lifecycle.Lost)
	f.store.WrongSignatures(false)
	f.pass()
	f.expect("found again and proven", "k", lifecycle.Ready)
}

// TestGivenUp: a wiped partition is none when the log counts on nothing in it any more.
// The node has no lease while it is, and would wait for the next inventory.
func TestGivenUp(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.lens.hidden[hsm.ObjectID(f.mine("k").CKAID)] = true
	f.pass()
	if s := f.r.State(); !s.Wiped || s.Missing != 1 {
		t.Fatalf("state %+v", s)
	}
	f.Must(t, &command.Revoke{Key: "k", Node: f.nodes[0], Reason: lifecycle.CessationOfOperation})
	f.r.pass(t.Context())
	if s := f.r.State(); s.Wiped || s.Missing != 0 {
		t.Errorf("given up, and the state is %+v", s)
	}
}

func TestFailedLookUpIsNotAbsence(t *testing.T) {
	for _, op := range []hsmtest.Op{hsmtest.OpInventory, hsmtest.OpFind} {
		for _, why := range []error{hsm.ErrUnavailable, hsm.ErrBusy, hsm.ErrLocked, hsm.ErrCorrupt, errors.New("strange")} {
			f := newFixture(t)
			f.made("k")
			if op == hsmtest.OpFind { // the listing lacks it, the look-up fails
				f.lens.hidden[hsm.ObjectID(f.mine("k").CKAID)] = true
			}
			before := len(f.reporter.received)
			f.store.Fail(op, why, -1)
			f.pass()
			f.expect(string(op)+" failed", "k", lifecycle.Ready)
			if len(f.reporter.received) != before {
				t.Errorf("%s failed with %v, reported: %v", op, why, f.reporter.received)
			}
			if s := f.r.State(); op == hsmtest.OpInventory && (s.Err == "" || s.Missing != 0 || s.Wiped) {
				t.Errorf("state %+v", s)
			}
			f.store.Reset()
			f.lens.hidden = map[hsm.ObjectID]bool{}
			f.Clock().Advance(time.Hour)
			f.r.pass(hsmtest.Context(t))
			if s := f.r.State(); s.Err != "" || s.Objects != 1 {
				t.Errorf("mended, state %+v", s)
			}
		}
	}
}

func TestDisguisedPairIsQuarantined(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.made("other")
	id := hsm.ObjectID(f.mine("k").CKAID)
	f.lens.disguised[id] = bytes.Clone(f.mine("other").SPKI)
	f.reporter.fail = errors.New("no leader") // quarantine does not wait for the log
	f.pass()
	f.expect("not reported yet", "k", lifecycle.Ready)
	if f.r.Usable("k", 1) || !f.r.Usable("other", 1) || !f.r.Usable("k", 2) {
		t.Error("quarantine missed, or too wide")
	}
	f.Clock().Advance(2 * time.Second)
	f.r.pass(hsmtest.Context(t))
	f.expect("reported after the pause", "k", lifecycle.Lost)
	if s := f.r.State(); len(s.Quarantined) != 1 || s.Quarantined[0].Key != "k" || !strings.Contains(s.Quarantined[0].Why, "another public key") {
		t.Errorf("state %+v", s)
	}
	delete(f.lens.disguised, id)
	f.pass()
	f.expect("itself again", "k", lifecycle.Ready)
	if !f.r.Usable("k", 1) {
		t.Error("still in quarantine")
	}
}

func TestSharedIDIsQuarantined(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.lens.twin = hsm.ObjectID(f.mine("k").CKAID)
	f.pass()
	f.expect("two objects under one id", "k", lifecycle.Lost)
	if f.r.Usable("k", 1) || f.r.State().Orphans != 0 {
		t.Errorf("usable, or an orphan: %+v", f.r.State())
	}
}

func TestOrphansAreLeftAlone(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	stranger := hsmtest.Generate(t, f.lens, lifecycle.ES256)
	for range 3 {
		f.pass()
	}
	if s := f.r.State(); s.Orphans != 1 || s.Objects != 2 || s.Missing != 0 {
		t.Errorf("state %+v", s)
	}
	if _, err := f.lens.Find(hsmtest.Context(t), stranger.ID); err != nil {
		t.Errorf("the stranger: %v", err)
	}
	if n := strings.Count(f.logged.String(), stranger.ID.String()); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestWipedPartition(t *testing.T) {
	f := newFixture(t)
	f.made("a")
	f.made("b")
	if err := f.store.Wipe(hsmtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.expect("wiped", "a", lifecycle.Lost)
	f.expect("wiped", "b", lifecycle.Lost)
	if s := f.r.State(); !s.Wiped || s.Missing != 2 || s.Objects != 0 {
		t.Errorf("state %+v", s)
	}
	generated := f.store.Calls(hsmtest.OpGenerate)
	f.restart()
	f.pass()
	if s := f.r.State(); !s.Wiped || f.store.Calls(hsmtest.OpGenerate) != generated {
		t.Errorf("after a restart: %+v, generated %d", s, f.store.Calls(hsmtest.OpGenerate)-generated)
	}
	f.made("c")
	f.pass()
	if s := f.r.State(); s.Wiped || s.Missing != 2 {
		t.Errorf("with a new pair: %+v", s)
	}
}

// An instance that an operator revoked, or whose node was given up, is not brought
// back by finding its key.
func TestRevokedInstanceStaysLost(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.Must(t, &command.ActivateVersion{Key: "k", Version: 1})
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{1}, Node: f.nodes[0], Reason: lifecycle.Superseded})
	f.pass()
	f.expect("revoked", "k", lifecycle.Lost)
	if s := f.r.State(); s.Missing != 0 || s.Orphans != 0 {
		t.Errorf("state %+v", s)
	}
}

// A state that lags shows a pending instance whose key was bound long ago and then
// lost. Nothing may be generated under it.
func TestStaleStateGeneratesNothing(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.SetStale(true)
	for range 3 {
		f.pass()
	}
	if f.store.Calls(hsmtest.OpGenerate) != 0 {
		t.Error("generated on a stale state")
	}
	f.SetStale(false)
	f.pass()
	f.expect("fresh again", "k", lifecycle.Ready)
}

func TestRemovedNodeDoesNothing(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[0], Status: lifecycle.Quarantined})
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[0], Status: lifecycle.Removed})
	f.pass()
	if f.objects() != 0 || len(f.reporter.received) != 0 {
		t.Errorf("%d key pairs, reports %v", f.objects(), f.reporter.received)
	}
}
