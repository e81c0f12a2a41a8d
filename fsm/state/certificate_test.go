package state_test

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestRevokeCertificates(t *testing.T) {
	p := newPKI(t)
	f, g := p.issued("a.test", "web-01"), p.issued("b.test", "web-01")
	kid := p.kid(corp, 1, 0)
	p.pass(lifecycle.Hour)
	c := revokeCert(lifecycle.Superseded, f.serial)
	c.Items[0].InvalidityAt, c.Items[0].Comment = p.now()-5000, "moved"
	o := p.ok(c)
	p.each(o, "")
	p.is(f.serial, lifecycle.CertRevoked, true)
	p.is(g.serial, lifecycle.CertIssued, false)
	row := p.cert(f.serial)
	if r := row.Revocation; r.At != p.l.Clock().At() || r.Reason != lifecycle.Superseded || r.By != "admin" || r.Comment != "moved" || r.Index != o.Index || r.Unrecorded {
		t.Errorf("revocation %+v", r)
	}
	if entry := p.crl(kid)[f.serial]; entry != string(lifecycle.EncodeCRLEntry(f.serial, row.Revocation.At, lifecycle.Superseded, p.now()-5000)) {
		t.Errorf("entry %x", entry)
	}
	if tally := p.l.View().CertTally(kid); tally.Revoked != 1 || tally.RevokedIndex != o.Index || tally.Issued != 2 || tally.IssuedIndex >= o.Index {
		t.Errorf("tally %+v", tally)
	}
	leaves := p.leavesOf(o.Index)
	if len(leaves) != 1 || leaves[0].Kind != "cert.revoked" || leaves[0].Key != corp || leaves[0].KID != kid || leaves[0].Reason != "superseded" || leaves[0].Detail != "moved" ||
		leaves[0].Actor != "admin" || !slices.Equal(leaves[0].Serials, []lifecycle.Serial{f.serial}) {
		t.Errorf("leaves %+v", leaves)
	}
}

// TestRevokeAgain: a graver reason replaces a milder one and the date stays; nothing else
// changes a revocation.
func TestRevokeAgain(t *testing.T) {
	p := newPKI(t)
	f := p.issued("a.test", "web-01")
	p.ok(revokeCert(lifecycle.Superseded, f.serial))
	at := p.cert(f.serial).Revocation.At
	p.pass(lifecycle.Hour)
	p.no(state.CertificateRevoked, revokeCert(lifecycle.Superseded, f.serial))
	p.no(state.CertificateRevoked, revokeCert(lifecycle.CertificateHold, f.serial))
	p.ok(revokeCert(lifecycle.KeyCompromise, f.serial))
	if r := p.cert(f.serial).Revocation; r.Reason != lifecycle.KeyCompromise || r.At != at {
		t.Errorf("revocation %+v", r)
	}
	p.is(f.serial, lifecycle.CertRevoked, true)
	p.no(state.CertificateRevoked, revokeCert(lifecycle.KeyCompromise, f.serial))
	p.no(state.CertificateRevoked, revokeCert(lifecycle.Unspecified, f.serial))
	p.no(state.CertificateNotFound, revokeCert(lifecycle.KeyCompromise, p.serial()))
	if tally := p.l.View().CertTally(p.kid(corp, 1, 0)); tally.Revoked != 1 || tally.OnCRL != 1 {
		t.Errorf("tally %+v", tally)
	}
	g := p.issued("b.test", "web-01")
	p.pass(29 * lifecycle.Day)
	p.pass(2 * lifecycle.Day)
	p.no(state.CertificateExpired, revokeCert(lifecycle.KeyCompromise, g.serial))
}

func TestCertificateHold(t *testing.T) {
	p := newPKI(t)
	f, g := p.issued("a.test", "web-01"), p.issued("b.test", "web-01")
	release := func(s lifecycle.Serial) *command.ReleaseCertificates {
		return &command.ReleaseCertificates{Serials: []lifecycle.Serial{s}, Comment: "found again"}
	}
	p.no(state.CertificateNotHeld, release(f.serial))
	p.no(state.CertificateNotFound, release(p.serial()))
	p.ok(revokeCert(lifecycle.CertificateHold, f.serial))
	p.is(f.serial, lifecycle.CertHeld, true)
	p.no(state.CertificateRevoked, revokeCert(lifecycle.CertificateHold, f.serial))
	o := p.ok(release(f.serial))
	p.is(f.serial, lifecycle.CertIssued, false)
	if tally := p.l.View().CertTally(p.kid(corp, 1, 0)); tally.Held != 0 || tally.Revoked != 0 || tally.RevokedIndex != o.Index {
		t.Errorf("tally %+v", tally)
	}
	if l := p.leavesOf(o.Index); len(l) != 1 || l[0].Kind != "cert.released" || l[0].Detail != "found again" {
		t.Errorf("leaves %+v", l)
	}
	p.ok(revokeCert(lifecycle.CertificateHold, g.serial))
	p.ok(revokeCert(lifecycle.Superseded, g.serial)) // a hold that became final
	p.is(g.serial, lifecycle.CertRevoked, true)
	p.no(state.CertificateNotHeld, release(g.serial))
	h := p.leafForm("c.test")
	p.announce(p.item(h, "web-01"))
	p.no(state.CertificateRevoked, revokeCert(lifecycle.CertificateHold, h.serial)) // there may be nothing to hold
}

// TestRevokeInBulk: each is judged by itself; the log names all of them.
func TestRevokeInBulk(t *testing.T) {
	p := newPKI(t)
	var serials []lifecycle.Serial
	for i := range 20 {
		serials = append(serials, p.issued(fmt.Sprintf("h%d.test", i), "web-01").serial)
	}
	unknown := p.serial()
	few := p.ok(revokeCert(lifecycle.Superseded, append(slices.Clone(serials[:3]), unknown)...))
	p.each(few, "", "", "", state.CertificateNotFound)
	if l := p.leavesOf(few.Index); len(l) != 3 || l[2].Serials[0] != serials[2] {
		t.Errorf("leaves %+v", l)
	}
	many := p.ok(revokeCert(lifecycle.CessationOfOperation, serials...))
	h := sha256.New()
	for _, s := range serials[3:] {
		h.Write(s[:])
		h.Write([]byte("cessationOfOperation"))
	}
	if l := p.leavesOf(many.Index); len(l) != 1 || l[0].Count != 17 || !slices.Equal(l[0].Serials, serials[3:]) || l[0].Digest != fmt.Sprintf("%x", h.Sum(nil)) {
		t.Errorf("leaves %+v", l)
	}
	if got := p.crl(p.kid(corp, 1, 0)); len(got) != 20 {
		t.Errorf("%d entries", len(got))
	}
}

// TestAbandonIntents: what was announced and not recorded may be out there.
func TestAbandonIntents(t *testing.T) {
	p := newPKI(t)
	f, g := p.leafForm("a.test"), p.issued("b.test", "web-01")
	p.announce(p.item(f, "web-01"))
	due := func(want ...lifecycle.Serial) {
		t.Helper()
		if got, err := p.l.View().DueIntents(p.l.Clock().At(), 10); err != nil || !slices.Equal(got, want) {
			t.Errorf("due are %v, %v; want %v", got, err, want)
		}
	}
	due()
	give := &command.AbandonIntents{Serials: []lifecycle.Serial{f.serial}}
	p.no(state.Invalid, give) // an admin's word is not enough
	if o := p.system(give); o.Code != state.LeadNotPassed {
		t.Errorf("before its deadline: %+v", o)
	}
	p.pass(lifecycle.Minute)
	due(f.serial)
	both := &command.AbandonIntents{Serials: []lifecycle.Serial{f.serial, g.serial}}
	o := p.system(both)
	p.each(o, "", state.AlreadyExists)
	p.is(f.serial, lifecycle.CertRevoked, true)
	if r := p.cert(f.serial).Revocation; !r.Unrecorded || r.Reason != lifecycle.Unspecified || r.By != "system" {
		t.Errorf("revocation %+v", r)
	}
	if tally := p.l.View().CertTally(p.kid(corp, 1, 0)); tally.Intents != 0 || tally.Abandoned != 1 || tally.Revoked != 1 || tally.Issued != 1 {
		t.Errorf("tally %+v", tally)
	}
	due()
	if o := p.system(both); o.Code != state.AlreadyExists {
		t.Errorf("again: %+v", o)
	}
	p.no(state.CertificateNotHeld, &command.ReleaseCertificates{Serials: []lifecycle.Serial{f.serial}})
	p.ok(revokeCert(lifecycle.KeyCompromise, f.serial))
	if r := p.cert(f.serial).Revocation; !r.Unrecorded || r.Reason != lifecycle.KeyCompromise {
		t.Errorf("revocation %+v", r)
	}
}

// TestLateRecord: after its deadline and before anybody gave it up it is recorded.
func TestLateRecord(t *testing.T) {
	p := newPKI(t)
	f := p.leafForm("a.test")
	p.announce(p.item(f, "web-01"))
	p.pass(lifecycle.Hour)
	p.each(p.record(f), "")
	p.is(f.serial, lifecycle.CertIssued, false)
	if o := p.system(&command.AbandonIntents{Serials: []lifecycle.Serial{f.serial}}); o.Code != state.AlreadyExists {
		t.Errorf("given up: %+v", o)
	}
}

func TestAllocateCRL(t *testing.T) {
	p := newPKI(t)
	c := p.crlCommand(1, "one")
	o := p.ok(c)
	if s := p.l.View().CRLState(c.KID, 0); s == nil || s.Number != 1 || s.Issuer != corp || s.Entries != 1 || s.AtIndex != c.AtIndex || s.AllocatedAt != p.l.Clock().At() {
		t.Errorf("state %+v", s)
	}
	if l := p.leavesOf(o.Index); len(l) != 1 || l[0].Kind != "crl.allocated" || l[0].Detail != "number 1" || l[0].Digest != fmt.Sprintf("%x", c.TBSHash) {
		t.Errorf("leaves %+v", l)
	}
	before := p.l.View().CRLState(c.KID, 0)
	p.ok(c) // the node did not hear the first answer, and signs the same bytes again
	if p.l.View().CRLState(c.KID, 0) != before {
		t.Error("a repeat wrote the row again")
	}
	p.no(state.Conflict, p.crlCommand(1, "other bytes"))
	p.no(state.Conflict, p.crlCommand(3, "three"))
	for what, change := range map[string]func(*command.AllocateCRL) state.Code{
		"another node":    func(c *command.AllocateCRL) state.Code { c.Node = p.nodes[1]; return state.InstanceNotHere },
		"an unknown kid":  func(c *command.AllocateCRL) state.Code { c.KID = otherKID("x"); return state.InstanceNotHere },
		"an older state":  func(c *command.AllocateCRL) state.Code { c.AtIndex = 1; return state.Conflict },
		"a later state":   func(c *command.AllocateCRL) state.Code { c.AtIndex += 1000; return state.Invalid },
		"an earlier time": func(c *command.AllocateCRL) state.Code { c.ThisUpdate -= 1000; return state.Conflict },
		"a time far ahead": func(c *command.AllocateCRL) state.Code {
			c.ThisUpdate = p.now().Add(25 * lifecycle.Hour)
			return state.ClockAhead
		},
		"a shard": func(c *command.AllocateCRL) state.Code { c.Shard = 1; return state.Conflict },
	} {
		c := p.crlCommand(2, "two")
		if want := change(c); p.l.Do(t, c).Code != want {
			t.Errorf("%s: not %s", what, want)
		}
	}
	p.ok(p.crlCommand(2, "two"))
	terms := p.l.View().Issuer(corp).IssuerTerms
	shard := p.crlCommand(1, "shard")
	shard.Shard = 4
	p.no(state.Invalid, shard)
	terms.ShardCRL = true
	p.ok(&command.SetIssuer{Issuer: corp, Terms: terms})
	p.ok(shard) // a shard has numbers of its own
	if a, b := p.l.View().CRLState(c.KID, 0), p.l.View().CRLState(c.KID, 4); a.Number != 2 || b.Number != 1 {
		t.Errorf("numbers %d and %d", a.Number, b.Number)
	}
	p.ok(&command.DeactivateVersion{Key: corp, Version: 1})
	p.ok(p.crlCommand(3, "three")) // its certificates still need one
	p.ok(&command.Revoke{Key: corp, Reason: lifecycle.CACompromise})
	p.no(state.KeyRevoked, p.crlCommand(4, "four"))
}

// TestPruneRevoked: an entry stays until it stood on a CRL that was issued after the
// certificate had ended (RFC 5280 section 3.3).
func TestPruneRevoked(t *testing.T) {
	p := newPKI(t)
	f, g := p.issued("a.test", "web-01"), p.issued("b.test", "web-01")
	p.ok(revokeCert(lifecycle.Superseded, f.serial))
	prune := &command.PruneRevoked{Serials: []lifecycle.Serial{f.serial, g.serial}}
	kid := p.kid(corp, 1, 0)
	never := func(when string) {
		t.Helper()
		if got, err := p.l.View().Prunable(kid, 10); err != nil || len(got) != 0 {
			t.Errorf("%s: %v may leave the CRL, %v", when, got, err)
		}
		if o := p.system(prune); o.Code != state.AlreadyExists {
			t.Errorf("%s: %+v", when, o)
		}
	}
	p.no(state.Invalid, prune)
	never("at once")
	p.ok(p.crlCommand(1, "one"))
	p.pass(30 * lifecycle.Day)
	p.pass(lifecycle.Second)
	never("when it has ended")
	p.pass(lifecycle.Hour)
	p.pass(lifecycle.Second)
	never("before another CRL")
	p.ok(p.crlCommand(2, "two"))
	if got, err := p.l.View().Prunable(kid, 10); err != nil || !slices.Equal(got, []lifecycle.Serial{f.serial}) {
		t.Errorf("%v may leave the CRL, %v", got, err)
	}
	if o := p.system(prune); !o.OK() {
		t.Fatalf("%+v", o)
	}
	if row := p.cert(f.serial); len(p.crl(kid)) != 0 || row.State != lifecycle.CertRevoked || row.Revocation == nil {
		t.Errorf("row %+v", row) // off the CRL, and revoked for ever
	}
	p.no(state.CertificateExpired, revokeCert(lifecycle.KeyCompromise, f.serial))
}

func TestResponder(t *testing.T) {
	p := newPKI(t)
	key := der(0x30, []byte("responder key of beta"))
	p.ok(&command.AnnounceResponder{Node: p.nodes[1], SPKI: key})
	p.ok(&command.AnnounceResponder{Node: p.nodes[1], SPKI: key})
	delegate := func(spki []byte, life lifecycle.Milliseconds) form {
		f := p.leafForm("OCSP")
		f.spki, f.to = spki, p.now().Add(life)
		it := p.item(f, "node:beta")
		it.Profile = lifecycle.ProfileOCSP
		p.announce(it)
		p.each(p.record(f), "")
		return f
	}
	bindTo := func(f form) *command.BindResponder { return &command.BindResponder{Node: p.nodes[1], Serial: f.serial} }
	p.no(state.CertificateNotFound, bindTo(p.issued("a.test", "web-01")))
	p.no(state.CertificateNotFound, &command.BindResponder{Node: p.nodes[1], Serial: p.serial()})
	p.no(state.Invalid, bindTo(delegate(der(0x30, []byte("another key")), lifecycle.Day)))
	f := delegate(key, 30*lifecycle.Day)
	p.ok(bindTo(f))
	p.ok(bindTo(f))
	kid := p.kid(corp, 1, 0)
	if r := p.l.View().Responder(kid, p.nodes[1]); r == nil || r.Serial != f.serial || string(r.DER) != string(f.cert()) || r.NotAfter != f.to {
		t.Errorf("responder %+v", r)
	}
	p.no(state.AlreadyExists, bindTo(delegate(key, 20*lifecycle.Day)))
	p.ok(&command.DeactivateVersion{Key: corp, Version: 1}) // what it issued lives on, and needs answers
	g := delegate(key, 31*lifecycle.Day)
	p.ok(bindTo(g))
	p.ok(revokeCert(lifecycle.Superseded, f.serial))
	if r := p.l.View().Responder(kid, p.nodes[1]); r == nil || r.Serial != g.serial || len(p.l.View().Responders(kid)) != 1 {
		t.Errorf("responder %+v", r)
	}
	p.ok(revokeCert(lifecycle.KeyCompromise, g.serial))
	if r := p.l.View().Responder(kid, p.nodes[1]); r != nil {
		t.Errorf("it answers by a revoked certificate: %+v", r)
	}
	p.no(state.CertificateRevoked, bindTo(g))
}
