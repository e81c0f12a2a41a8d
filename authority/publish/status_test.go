package publish

import (
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// answers are what a fresh and a stale View say.
type answers struct{ fresh, stale Answer }

func TestStatusThroughALife(t *testing.T) {
	f := newFixture(t)
	f.create("k", lifecycle.ForToken, lifecycle.ES256, policy(lifecycle.ForToken, lifecycle.ES256))
	kid := f.bind("k", 1, f.nodes[0])
	expect := func(what string, byKID, byKey answers) {
		t.Helper()
		view := f.View()
		if got := (answers{KIDStatus(view, kid, true).Answer, KIDStatus(view, kid, false).Answer}); got != byKID {
			t.Errorf("%s: kid is %v, want %v", what, got, byKID)
		}
		if got := (answers{KeyStatus(view, "k", true).Answer, KeyStatus(view, "k", false).Answer}); got != byKey {
			t.Errorf("%s: key is %v, want %v", what, got, byKey)
		}
	}
	good, unknown := answers{Good, Indeterminate}, answers{Unknown, Indeterminate}
	held, revoked := answers{OnHold, Indeterminate}, answers{Revoked, Revoked}

	expect("made, not published", unknown, unknown)
	f.Must(t, &command.ActivateVersion{Key: "k", Version: 1})
	expect("active", good, good)
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.CertificateHold, Comment: "INC-1"})
	expect("on hold", held, held)
	if s := KIDStatus(f.View(), kid, true); s.Reason != lifecycle.CertificateHold || s.Comment != "INC-1" || s.SinceAt != f.Clock().At() {
		t.Errorf("on hold: %+v", s)
	}
	f.Must(t, &command.ResumeVersion{Key: "k", Version: 1})
	expect("resumed", good, good)
	if s := KIDStatus(f.View(), kid, true); s.Reason != "" {
		t.Errorf("resumed, yet %+v", s)
	}
	f.prepare("k", 2)
	f.bind("k", 2, f.nodes[0])
	f.Must(t, &command.ActivateVersion{Key: "k", Version: 2, Early: true, Comment: "now"})
	expect("succeeded, still verified", good, good)
	f.Clock().Advance(3 * time.Hour)
	f.Must(t, &command.WithdrawVersion{Key: "k", Version: 1})
	expect("withdrawn", unknown, good)
	since := f.Clock().At() - 1000
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise, CompromisedSince: since})
	expect("compromised", revoked, good)
	if s := KIDStatus(f.View(), kid, false); s.CompromisedSince != since || s.Reason != lifecycle.KeyCompromise || s.SinceAt != f.Clock().At() || s.InTrustSet {
		t.Errorf("compromised: %+v", s)
	}
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.Superseded, Distrust: true})
	expect("all distrusted", revoked, revoked)
}

func TestStatusOfOneInstance(t *testing.T) {
	f := newFixture(t)
	kids := f.active("k", lifecycle.ForCode, lifecycle.EdDSA)
	f.Clock().Advance(time.Minute)
	stolenAt := f.Clock().At()
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{1}, Node: f.nodes[1], Reason: lifecycle.KeyCompromise, CompromisedSince: stolenAt - 5})
	for n, want := range []Answer{Good, Revoked, Good} {
		s := KIDStatus(f.View(), kids[n], true)
		if s.Answer != want || s.Node != f.nodes[n] || s.State != lifecycle.Active || s.InTrustSet != (want == Good) {
			t.Errorf("instance %d: %+v", n, s)
		}
	}
	if s := KeyStatus(f.View(), "k", true); s.Answer != Good {
		t.Errorf("the key goes on with two instances, but is %+v", s)
	}
	f.Clock().Advance(time.Hour)
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise, CompromisedSince: f.Clock().At()})
	if s := KIDStatus(f.View(), kids[1], false); s.SinceAt != stolenAt || s.CompromisedSince != stolenAt-5 {
		t.Errorf("the theft is forgotten: %+v", s)
	}
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	if s := VersionStatus(f.View(), "k", 1, false); s.Answer != Revoked || s.KID != "" {
		t.Errorf("version: %+v", s)
	}
}

func TestStatusOfTheUnheardOf(t *testing.T) {
	f := newFixture(t)
	kids := f.active("k", lifecycle.ForCode, lifecycle.EdDSA)
	for name, status := range map[string]func(fresh bool) Status{
		"kid":         func(fresh bool) Status { return KIDStatus(f.View(), "nobody-has-this-kid", fresh) },
		"prefix only": func(fresh bool) Status { return KIDStatus(f.View(), kids[0][:12], fresh) },
		"no kid":      func(fresh bool) Status { return KIDStatus(f.View(), "", fresh) },
		"key":         func(fresh bool) Status { return KeyStatus(f.View(), "absent", fresh) },
		"version":     func(fresh bool) Status { return VersionStatus(f.View(), "k", 9, fresh) },
	} {
		if fresh, stale := status(true).Answer, status(false).Answer; fresh != Unknown || stale != Indeterminate {
			t.Errorf("%s: %s fresh, %s stale", name, fresh, stale)
		}
	}
}

// A key whose newest version was revoked before it ever signed still speaks of the
// version that does.
func TestKeyStatusSpeaksOfTheSigningVersion(t *testing.T) {
	f := newFixture(t)
	f.active("k", lifecycle.ForCode, lifecycle.EdDSA)
	f.prepare("k", 2)
	f.bind("k", 2, f.nodes[0])
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{2}, Reason: lifecycle.KeyCompromise})
	if s := KeyStatus(f.View(), "k", true); s.Answer != Good || s.Version != 1 {
		t.Errorf("active version 1, revoked version 2: %+v", s)
	}
	f.Must(t, &command.DeactivateVersion{Key: "k", Version: 1})
	if s := KeyStatus(f.View(), "k", true); s.Answer != Good || s.Version != 1 || s.State != lifecycle.Deactivated {
		t.Errorf("version 1 signed last: %+v", s)
	}
	f.create("new", lifecycle.ForCode, lifecycle.EdDSA, policy(lifecycle.ForCode, lifecycle.EdDSA))
	f.Must(t, &command.Revoke{Key: "new", Reason: lifecycle.KeyCompromise})
	if s := KeyStatus(f.View(), "new", false); s.Answer != Revoked {
		t.Errorf("never activated and revoked: %+v", s)
	}
}
