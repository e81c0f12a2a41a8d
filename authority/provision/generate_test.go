package provision

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestIntentBecomesAKeyPair(t *testing.T) {
	f := newFixture(t)
	f.keyOf("rsa", lifecycle.PS256, 2048)
	f.keyOf("ec", lifecycle.ES384, 0)
	f.pass()
	for _, name := range []lifecycle.KeyID{"rsa", "ec"} {
		i := f.mine(name)
		o, err := f.lens.Find(hsmtest.Context(t), hsm.ObjectID(i.CKAID))
		if err != nil || i.Condition != lifecycle.Ready || string(o.SPKI) != string(i.SPKI) || o.Label != string(name)+"/1" {
			t.Errorf("%s: instance %+v, object %+v, %v", name, i, o, err)
		}
		if i.Driver != "soft" || !slices.Equal(i.Attributes, []string{"CKA_EXTRACTABLE=true", "CKA_SENSITIVE=true", "CKA_SIGN=true"}) {
			t.Errorf("%s: driver %s, attributes %v", name, i.Driver, i.Attributes)
		}
	}
	if other := f.View().Instance("ec", 1, f.nodes[1]); other.Condition != lifecycle.Pending || f.objects() != 2 {
		t.Errorf("another node's instance is %s, %d objects", other.Condition, f.objects())
	}
	f.pass()
	if n := len(f.reporter.received); n != 2 {
		t.Errorf("reported %d times: %v", n, f.reporter.received)
	}
}

// Dying at each step, and an answer lost at each step, leave one key pair, bound.
func TestGenerationSurvivesACrashAtEachStep(t *testing.T) {
	broken := errors.Join(hsm.ErrUnavailable, errors.New("pulled"))
	for what, fault := range map[string]func(f *fixture){
		"before the look-up":     func(f *fixture) { f.store.Fail(hsmtest.OpFind, broken, 1) },
		"before the generation":  func(f *fixture) { f.store.Fail(hsmtest.OpGenerate, broken, 1) },
		"generated, not told":    func(f *fixture) { f.store.FailAfter(hsmtest.OpGenerate, broken, 1) },
		"generated, not proven":  func(f *fixture) { f.store.Fail(hsmtest.OpSign, broken, 1) },
		"proven, not bound":      func(f *fixture) { f.reporter.fail = errors.New("no leader") },
		"bound, not told":        func(f *fixture) { f.reporter.fail, f.reporter.after = errors.New("no leader"), true },
		"the state is too stale": func(f *fixture) { f.SetStale(true) },
	} {
		for _, restart := range []bool{true, false} {
			f := newFixture(t)
			f.key("k")
			fault(f)
			f.r.pass(hsmtest.Context(t))
			if what != "bound, not told" {
				f.expect(what, "k", lifecycle.Pending)
			}
			f.SetStale(false)
			if restart {
				f.restart()
			}
			f.Clock().Advance(time.Hour) // past every pause
			f.r.pass(hsmtest.Context(t))
			f.expect(what, "k", lifecycle.Ready)
			if n, made := f.objects(), f.store.Calls(hsmtest.OpGenerate); n != 1 || made > 2 {
				t.Errorf("%s: %d key pairs, generated %d times", what, n, made)
			}
			if s := f.r.State(); len(s.Waiting) != 0 || s.Orphans != 0 {
				t.Errorf("%s: state %+v", what, s)
			}
		}
	}
}

// A key pair found under the intent's CKA_ID is completed, never made again.
func TestFoundPairIsCompleted(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	id := hsm.ObjectID(f.mine("k").CKAID)
	if _, err := f.lens.Generate(hsmtest.Context(t), hsm.Spec{ID: id, Label: "k/1", Alg: lifecycle.EdDSA}); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.expect("found", "k", lifecycle.Ready)
	if f.store.Calls(hsmtest.OpGenerate) != 0 {
		t.Error("generated over a pair that was there")
	}
}

func TestForeignPairUnderTheIntentIsNotBound(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	id := hsm.ObjectID(f.mine("k").CKAID)
	if _, err := f.lens.Generate(hsmtest.Context(t), hsm.Spec{ID: id, Label: "k/1", Alg: lifecycle.ES256}); err != nil {
		t.Fatal(err)
	}
	f.pass()
	f.expect("another algorithm", "k", lifecycle.Pending)
	if i := f.mine("k"); !strings.Contains(i.Detail, "not what the key asks for") || f.objects() != 1 {
		t.Errorf("detail %q, %d objects", i.Detail, f.objects())
	}
}

// Lasting reasons are told to the cluster, once; passing ones are not.
func TestReasonsOfPendingInstances(t *testing.T) {
	for what, c := range map[string]struct {
		err    error
		detail string
	}{
		"cannot":  {hsm.ErrUnsupported, hsm.ErrUnsupported.Error()},
		"locked":  {hsm.ErrLocked, hsm.ErrLocked.Error()},
		"away":    {hsm.ErrUnavailable, ""},
		"too hot": {hsm.ErrBusy, ""},
	} {
		f := newFixture(t)
		f.key("k")
		f.store.Fail(hsmtest.OpGenerate, c.err, -1)
		for range 5 {
			f.pass()
			f.Clock().Advance(time.Hour)
		}
		f.expect(what, "k", lifecycle.Pending)
		if got := f.mine("k").Detail; c.detail == "" && got != "" || !strings.Contains(got, c.detail) {
			t.Errorf("%s: detail %q", what, got)
		}
		if n := len(f.reporter.received); n > 1 {
			t.Errorf("%s: reported %d times", what, n)
		}
		if s := f.r.State(); len(s.Waiting) != 1 || s.Waiting[0].Key != "k" {
			t.Errorf("%s: state %+v", what, s)
		}
		f.store.Reset()
		f.pass()
		f.expect(what+", mended", "k", lifecycle.Ready)
	}
}

func TestWrongSignatureIsNotBound(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.store.WrongSignatures(true)
	f.pass()
	f.expect("a store that signs wrongly", "k", lifecycle.Pending)
}

func TestRevokedVersionGetsNoKey(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise})
	f.pass()
	if f.objects() != 0 {
		t.Error("a key pair was made for a revoked version")
	}
}

// Failures make an instance rest, longer each time, and nothing spins.
func TestPauseAfterFailures(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.store.Fail(hsmtest.OpFind, hsm.ErrUnavailable, -1)
	ctx := hsmtest.Context(t)
	for range 3 {
		f.r.pass(ctx)
	}
	if n := f.store.Calls(hsmtest.OpFind); n != 1 {
		t.Errorf("%d look-ups without time passing", n)
	}
	for _, s := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		before := f.store.Calls(hsmtest.OpFind)
		f.Clock().Advance(s*time.Second - time.Millisecond)
		f.r.pass(ctx)
		f.Clock().Advance(time.Millisecond)
		f.r.pass(ctx)
		if n := f.store.Calls(hsmtest.OpFind) - before; n != 1 {
			t.Errorf("%d look-ups within a pause of %s", n, s*time.Second)
		}
	}
}
