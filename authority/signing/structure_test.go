package signing_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// errElsewhere is what the log says no with.
var errElsewhere = errors.New("the log says no")

// deed notes the order of what a structure goes through.
type deed struct {
	w     *world
	steps []string
	fail  string // the step that goes wrong
	on    func(step string)
}

func (d *deed) step(name string) error {
	d.steps = append(d.steps, name)
	if d.on != nil {
		d.on(name)
	}
	if d.fail == name {
		return errElsewhere
	}
	return nil
}

func (d *deed) structure() signing.Structure {
	used := d.w.store.Calls(hsmtest.OpSign)
	key := func(want int) {
		if got := d.w.store.Calls(hsmtest.OpSign) - used; got != want {
			d.w.t.Errorf("the key was used %d times after %v, want %d", got, d.steps, want)
		}
	}
	return signing.Structure{Verb: "cert.issue",
		Make:     func(signing.Mandate) ([]byte, error) { key(0); return []byte("tbs"), d.step("make") },
		Announce: func(context.Context) error { key(0); return d.step("announce") },
		Enter:    func(context.Context, []byte) (uint64, error) { key(1); return 77, d.step("enter") }}
}

// pkiWorld has the key ci-ca of purpose certificate.
func pkiWorld(t *testing.T) (*world, *deed, *lifecycle.Instance) {
	w := build(t)
	i := w.create("ci-ca", lifecycle.ForCertificate, lifecycle.ES256, nil)
	return w, &deed{w: w}, i
}

func TestStructure(t *testing.T) {
	w, d, i := pkiWorld(t)
	sig, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(d.steps, []string{"make", "announce", "enter"}) || sig.RecordIndex != 77 || sig.KID != i.KID {
		t.Errorf("steps %v, signature %+v", d.steps, sig)
	}
	if err := hsm.VerifySignature(lifecycle.ES256, i.SPKI, signing.Digest(lifecycle.ES256, []byte("tbs")), sig.Bytes); err != nil {
		t.Error(err)
	}
	if w.entries.Load() != 0 {
		t.Error("recorded as a strict signature too")
	}
	if n := w.audit.count(audit.SignReleased); n != 1 {
		t.Errorf("%d released in the audit", n)
	}
	for _, r := range w.audit.records {
		if r.Verb != "cert.issue" {
			t.Errorf("audited as %s", r.Verb)
		}
	}
}

// TestStructureIsVerified: no policy lets a certificate or CRL leave unverified. A wrong one
// would be recorded for good.
func TestStructureIsVerified(t *testing.T) {
	w := build(t)
	w.create("ci-ca", lifecycle.ForCertificate, lifecycle.ES256, func(p *lifecycle.Policy) { p.VerifyOneIn = 1000 })
	w.store.WrongSignatures(true)
	for range 3 {
		d := &deed{w: w}
		_, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure())
		code(t, err, "keystore_unavailable")
		if slices.Contains(d.steps, "enter") {
			t.Error("it was recorded")
		}
	}
}

// TestStructureRefused shows what each refusal leaves undone.
func TestStructureRefused(t *testing.T) {
	for _, c := range []struct {
		fail  string
		steps []string
		used  int // of the key
	}{
		{"make", []string{"make"}, 0},
		{"announce", []string{"make", "announce"}, 0},
		{"enter", []string{"make", "announce", "enter"}, 1},
	} {
		w, d, _ := pkiWorld(t)
		before := w.store.Calls(hsmtest.OpSign)
		d.fail = c.fail
		sig, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure())
		if !errors.Is(err, errElsewhere) || sig.Bytes != nil || !slices.Equal(d.steps, c.steps) || w.store.Calls(hsmtest.OpSign)-before != c.used {
			t.Errorf("%s: %v, %v, key used %d times", c.fail, err, d.steps, w.store.Calls(hsmtest.OpSign)-before)
		}
		if w.audit.count(audit.SignReleased) != 0 || w.audit.count(audit.SignRefused) != 1 {
			t.Errorf("%s: audit says %d released, %d refused", c.fail, w.audit.count(audit.SignReleased), w.audit.count(audit.SignRefused))
		}
	}
}

// TestStructureGate revokes while the entry is on its way: it stands in the log, and the
// gate keeps it in.
func TestStructureGate(t *testing.T) {
	w, d, _ := pkiWorld(t)
	d.on = func(step string) {
		if step == "enter" {
			w.ledger.Must(t, &command.SuspendVersion{Key: "ci-ca", Version: 1})
		}
	}
	_, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure())
	code(t, err, "key_suspended")
}

func TestStructureByAWrongClock(t *testing.T) {
	w, d, _ := pkiWorld(t)
	w.clock = errors.New("off by a year")
	_, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure())
	code(t, err, "clock_unsure")
	if slices.Contains(d.steps, "announce") || slices.Contains(d.steps, "enter") {
		t.Errorf("got as far as %v", d.steps)
	}
}

func TestStructureNeedsItsPurpose(t *testing.T) {
	w, d, _ := pkiWorld(t)
	_, err := w.signer.SignStructure(ctx, w.request("ci"), d.structure())
	code(t, err, "wrong_purpose")
	_, err = w.signer.Sign(ctx, w.request("ci-ca"), []signing.Input{hello})
	code(t, err, "wrong_purpose")
	if len(d.steps) > 0 {
		t.Errorf("got as far as %v", d.steps)
	}
}

func TestStructureAudit(t *testing.T) {
	w, d, _ := pkiWorld(t)
	before := w.store.Calls(hsmtest.OpSign)
	w.audit.failBatch = errDisk
	if _, err := w.signer.SignStructure(ctx, w.request("ci-ca"), d.structure()); !errors.Is(err, authority.ErrAudit) || w.store.Calls(hsmtest.OpSign) != before {
		t.Errorf("%v; the key was used without a record: %t", err, w.store.Calls(hsmtest.OpSign) != before)
	}
}

// TestUphold signs with a version that signs nothing new, until it is not trusted.
func TestUphold(t *testing.T) {
	w, d, old := pkiWorld(t)
	self := signing.Request{Caller: authority.Caller{Principal: "node:n1"}, ID: newID(), Key: "ci-ca"}
	w.ledger.Must(t, &command.PrepareVersion{Key: "ci-ca", Version: 2, Instances: []command.Intent{{Node: w.ledger.NodeID(), CKAID: lifecycle.CKAID{9}}}})
	_, err := w.signer.Uphold(ctx, self, 2, d.structure())
	code(t, err, "no_active_version")
	w.activate("ci-ca", 2)
	if v := w.ledger.View().Version("ci-ca", 1); v.State != lifecycle.Deactivated {
		t.Fatalf("version 1 is %s", v.State)
	}
	sig, err := w.signer.Uphold(ctx, self, 1, d.structure())
	if err != nil || sig.KID != old.KID {
		t.Fatalf("a retired version: %+v, %v", sig, err)
	}
	if _, err := w.signer.SignStructure(ctx, self, d.structure()); err == nil {
		t.Error("a node passed for a caller")
	}
	w.ledger.Must(t, &command.Revoke{Key: "ci-ca", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	_, err = w.signer.Uphold(ctx, self, 1, d.structure())
	code(t, err, "no_active_version")
}
