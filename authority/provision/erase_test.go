package provision

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (f *fixture) noted() bool {
	f.t.Helper()
	entries, err := os.ReadDir(f.notesDir)
	if err != nil {
		f.t.Fatal(err)
	}
	return len(entries) > 0
}

func TestErasureWithEvidence(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.made("bystander")
	f.erasing("k")
	f.pass()
	f.expect("erased", "k", lifecycle.Erased)
	f.expect("bystander", "bystander", lifecycle.Ready)
	if i := f.mine("k"); !strings.Contains(i.Detail, "destroyed by CKA_ID "+i.CKAID.String()) || f.objects() != 1 {
		t.Errorf("evidence %q, %d objects", i.Detail, f.objects())
	}
	if !f.noted() {
		t.Error("the note went before the log had the evidence")
	}
	f.pass()
	if f.noted() {
		t.Error("the note stays")
	}
	if s := f.r.State(); s.Missing != 0 || s.Returned != 0 || len(s.Unconfirmed) != 0 {
		t.Errorf("state %+v", s)
	}
}

// Dying at each step of a destruction ends in evidence that says so.
func TestErasureSurvivesACrashAtEachStep(t *testing.T) {
	broken := errors.Join(hsm.ErrUnavailable, errors.New("pulled"))
	for what, c := range map[string]struct {
		fault    func(f *fixture)
		evidence string
	}{
		"before the look-up":    {func(f *fixture) { f.store.Fail(hsmtest.OpFind, broken, 1) }, "destroyed by CKA_ID"},
		"noted, not destroyed":  {func(f *fixture) { f.store.Fail(hsmtest.OpDestroy, broken, 1) }, "destroyed by CKA_ID"},
		"destroyed, not told":   {func(f *fixture) { f.store.FailAfter(hsmtest.OpDestroy, broken, 1) }, "after an interruption"},
		"destroyed, not listed": {func(f *fixture) { f.store.Fail(hsmtest.OpInventory, broken, 1) }, "after an interruption"},
		"not confirmed":         {func(f *fixture) { f.reporter.fail = errors.New("no leader") }, "after an interruption"},
		"confirmed, not told": {func(f *fixture) { f.reporter.fail, f.reporter.after = errors.New("no leader"), true },
			"destroyed by CKA_ID"},
	} {
		for _, restart := range []bool{true, false} {
			f := newFixture(t)
			f.made("k")
			f.erasing("k")
			c.fault(f)
			f.r.pass(hsmtest.Context(t))
			if what != "confirmed, not told" {
				f.expect(what, "k", lifecycle.Ready)
			}
			if restart {
				f.restart()
			}
			f.Clock().Advance(time.Hour)
			f.r.pass(hsmtest.Context(t))
			f.expect(what, "k", lifecycle.Erased)
			if got := f.mine("k").Detail; !strings.Contains(got, c.evidence) {
				t.Errorf("%s: evidence %q", what, got)
			}
			if f.objects() != 0 {
				t.Errorf("%s: the key pair is still there", what)
			}
		}
	}
}

// "Not found" is not "destroyed": without a note nobody here destroyed it.
func TestAbsenceIsNoEvidence(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	if err := f.lens.Destroy(hsmtest.Context(t), hsm.ObjectID(f.mine("k").CKAID), f.mine("k").SPKI); err != nil {
		t.Fatal(err)
	}
	f.erasing("k")
	for range 3 {
		f.pass()
		f.Clock().Advance(time.Hour)
	}
	f.expect("gone, by whom?", "k", lifecycle.Ready)
	if s := f.r.State(); len(s.Unconfirmed) != 1 || s.Unconfirmed[0].Why != errNoEvidence.Error() {
		t.Errorf("state %+v", s)
	}
	if n := strings.Count(f.logged.String(), "erasure not confirmed"); n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestErasureOfWhatNeverWas(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.erasing("k")
	f.pass()
	f.expect("never made", "k", lifecycle.Erased)
	if got := f.mine("k").Detail; got != "never generated here: two look-ups found nothing" {
		t.Errorf("evidence %q", got)
	}
}

// A pair that was made and never bound is under our intent, so it is destroyed too.
func TestErasureOfAnUnboundPair(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.reporter.fail = errors.New("no leader")
	f.pass()
	f.erasing("k")
	f.Clock().Advance(time.Hour)
	f.pass()
	f.expect("made, never bound", "k", lifecycle.Erased)
	if f.objects() != 0 {
		t.Error("still there")
	}
}

func TestErasureLeavesForeignKeysAlone(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.made("other")
	f.lens.disguised[hsm.ObjectID(f.mine("k").CKAID)] = bytes.Clone(f.mine("other").SPKI)
	f.erasing("k")
	f.pass()
	f.expect("another key under the id", "k", lifecycle.Ready)
	if f.store.Calls(hsmtest.OpDestroy) != 0 || f.noted() || len(f.r.State().Unconfirmed) != 1 {
		t.Errorf("destroyed %d, noted %v, state %+v", f.store.Calls(hsmtest.OpDestroy), f.noted(), f.r.State())
	}
	f.lens.disguised = map[hsm.ObjectID][]byte{}
	f.lens.twin = hsm.ObjectID(f.mine("k").CKAID)
	f.pass()
	f.expect("two keys under the id", "k", lifecycle.Ready)
	if f.store.Calls(hsmtest.OpDestroy) != 0 {
		t.Error("destroyed one of two")
	}
}

// Without its note on the disk nothing is destroyed, and a note that cannot be read
// is no evidence.
func TestErasureNeedsItsNote(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.erasing("k")
	if err := os.RemoveAll(f.notesDir); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.expect("no directory", "k", lifecycle.Ready)
	if f.objects() != 1 {
		t.Fatal("destroyed without a note")
	}
	f.restart()
	if err := os.WriteFile(filepath.Join(f.notesDir, f.mine("k").CKAID.String()), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.expect("a damaged note", "k", lifecycle.Ready)
}

// A token restored from a backup brings an erased key back: it is told, not touched.
func TestErasedPairThatReturns(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.erasing("k")
	f.pass()
	id := hsm.ObjectID(f.mine("k").CKAID)
	if _, err := f.lens.Generate(hsmtest.Context(t), hsm.Spec{ID: id, Alg: lifecycle.EdDSA}); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.pass()
	if s := f.r.State(); s.Returned != 1 || s.Orphans != 0 || f.objects() != 1 {
		t.Errorf("state %+v", s)
	}
}

func TestErasureOfACompromisedVersion(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise})
	f.Must(t, &command.ScheduleDestroy{Key: "k", Version: 1, DestroyAt: f.Clock().At()})
	f.pass()
	f.expect("nobody may erase yet", "k", lifecycle.InstanceBad)
	f.Must(t, &command.BeginErasure{Key: "k", Version: 1})
	f.pass()
	f.expect("erased", "k", lifecycle.Erased)
}
