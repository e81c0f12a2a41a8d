package state_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestIssue(t *testing.T) {
	p := newPKI(t)
	f := p.leafForm("A.test")
	it := p.item(f, "web-01")
	it.RequestID, it.RequestDigest = uuid(p.now(), 7), hash32([]byte("request"))
	p.announce(it)
	p.is(f.serial, lifecycle.CertIntent, false)
	if der, err := p.l.View().CertificateDER(f.serial); err != nil || der != nil {
		t.Errorf("a certificate of %d bytes before there is one (%v)", len(der), err)
	}
	before := *p.l.View().CertTally(it.KID)
	o := p.record(f)
	p.each(o, "")
	p.is(f.serial, lifecycle.CertIssued, false)
	c := p.cert(f.serial)
	if c.Issuer != corp || c.Version != 1 || c.Node != p.nodes[0] || c.IssuedAt != p.l.Clock().At() || c.Index != o.Index || c.DeadlineAt != 0 || c.Requester != "web-01" ||
		c.NotAfter != f.to || !bytes.Equal(c.TBSHash, it.TBSHash) || c.RequestID != it.RequestID {
		t.Errorf("row %+v", c)
	}
	if der, err := p.l.View().CertificateDER(f.serial); err != nil || !bytes.Equal(der, f.cert()) {
		t.Errorf("the certificate is not the one that was recorded (%v)", err)
	}
	if s, digest, ok, err := p.l.View().RequestedCertificate("web-01", it.RequestID); err != nil || !ok || s != f.serial || !bytes.Equal(digest, it.RequestDigest) {
		t.Errorf("the request leads to %s, %x, %t, %v", s, digest, ok, err)
	}
	after := *p.l.View().CertTally(it.KID)
	if before.Intents != 1 || after.Intents != 0 || after.Issued != before.Issued+1 || after.IssuedIndex != o.Index {
		t.Errorf("counted %+v, then %+v", before, after)
	}
	leaves := p.leavesOf(o.Index)
	if len(leaves) != 1 || leaves[0].Kind != "cert.issued" || leaves[0].Count != 1 || !slices.Equal(leaves[0].Serials, []lifecycle.Serial{f.serial}) || len(leaves[0].Digest) != 64 {
		t.Errorf("leaves %+v", leaves)
	}
	p.each(p.record(f), "") // the node did not hear the first answer
	if again := p.cert(f.serial); again.Rev != c.Rev {
		t.Error("a repeat wrote the row again")
	}
}

// TestAnnounceIsRefused whenever any part of the right to the certificate is missing.
func TestAnnounceIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(*pki)
		item  func(*pki, *command.IssueItem)
		node  int
		want  state.Code
	}{
		{name: "as it is"},
		{name: "no such issuer", item: func(_ *pki, it *command.IssueItem) { it.Issuer = "nope" }, want: state.IssuerNotFound},
		{name: "a key that is no issuer", first: func(p *pki) { p.active(1) }, item: func(p *pki, it *command.IssueItem) { it.Issuer, it.KID = ci, p.instance(1, 0).KID }, want: state.IssuerNotFound},
		{name: "another version", item: func(_ *pki, it *command.IssueItem) { it.Version = 2 }, want: state.InstanceNotHere},
		{name: "an unknown kid", item: func(_ *pki, it *command.IssueItem) { it.KID = otherKID("x") }, want: state.InstanceNotHere},
		{name: "the root's kid", item: func(p *pki, it *command.IssueItem) { it.KID = p.kid(root, 1, 0) }, want: state.InstanceNotHere},
		{name: "another node's instance", node: 1, want: state.InstanceNotHere},
		{name: "an unknown node", node: -1, want: state.NodeNotFound},
		{name: "a serial of yesterday", item: func(p *pki, it *command.IssueItem) {
			it.Serial = lifecycle.NewSerial(p.now()-lifecycle.Instant(lifecycle.Day)-1000, [13]byte{1})
		}, want: state.ClockAhead},
		{name: "a serial of tomorrow", item: func(p *pki, it *command.IssueItem) {
			it.Serial = lifecycle.NewSerial(p.now().Add(lifecycle.Day+lifecycle.Second), [13]byte{1})
		}, want: state.ClockAhead},
		{name: "a serial that is used", item: func(p *pki, it *command.IssueItem) { it.Serial = p.issued("b.test", "web-01").serial }, want: state.AlreadyExists},
		{name: "a deadline that has passed", item: func(p *pki, it *command.IssueItem) { it.DeadlineAt = p.l.Clock().At() }, want: state.Invalid},
		{name: "a deadline too far ahead", item: func(p *pki, it *command.IssueItem) {
			it.DeadlineAt = p.l.Clock().At().Add(state.MaxIntentLife + 1)
		}, want: state.Invalid},
		{name: "longer than its CA certificate", item: func(p *pki, it *command.IssueItem) { it.NotAfter = p.now().Add(366 * lifecycle.Day) }, want: state.OutlivesCA},
		{name: "before its CA certificate", item: func(p *pki, it *command.IssueItem) { it.NotBefore -= 1000 }, want: state.OutlivesCA},
		{name: "over already", first: func(p *pki) { p.pass(lifecycle.Day) }, item: func(p *pki, it *command.IssueItem) {
			it.NotBefore, it.NotAfter = p.now()-lifecycle.Instant(lifecycle.Day), p.now()
		}, want: state.CertificateExpired},
		{name: "somebody else's key", item: func(p *pki, it *command.IssueItem) { it.SPKIHash = hash32(p.issued("b.test", "web-02").spki) }, want: state.KeyReused},
		{name: "the same key again", item: func(p *pki, it *command.IssueItem) { it.SPKIHash = hash32(p.issued("b.test", "web-01").spki) }},
		{name: "the key of a CA", item: func(p *pki, it *command.IssueItem) {
			it.SPKIHash = hash32(p.l.View().Instance(corp, 1, p.nodes[1]).SPKI)
		}, want: state.KeyReused},
		{name: "a profile that was changed", first: func(p *pki) { p.ok(&command.SetProfile{Name: "server", Terms: profileTerms()}) }, want: state.Conflict},
		{name: "a profile as it is set", first: func(p *pki) { p.ok(&command.SetProfile{Name: "server", Terms: profileTerms()}) }, item: func(p *pki, it *command.IssueItem) {
			it.ProfileHash = p.l.View().Profile("server").Hash
		}},
		{name: "a profile that was dropped", first: func(p *pki) {
			p.ok(&command.SetProfile{Name: "server", Terms: profileTerms()})
			p.ok(&command.DropProfile{Name: "server"})
		}},
		{name: "a CA certificate for a person", item: func(_ *pki, it *command.IssueItem) { it.Profile = lifecycle.ProfileCA }, want: state.Denied},
		{name: "a responder's for a person", item: func(_ *pki, it *command.IssueItem) { it.Profile = lifecycle.ProfileOCSP }, want: state.Denied},
		{name: "a server's for a node", item: func(_ *pki, it *command.IssueItem) { it.Requester = "node:alpha" }, want: state.Denied},
		{name: "a CA under path length 0", item: func(_ *pki, it *command.IssueItem) { it.Profile, it.Requester = lifecycle.ProfileCA, "node:alpha" }, want: state.Invalid},
		{name: "nobody known", item: func(_ *pki, it *command.IssueItem) { it.Requester = "mallory" }, want: state.Denied},
		{name: "no signer", item: func(_ *pki, it *command.IssueItem) { it.Requester = ledgertest.Admin }, want: state.Denied},
		{name: "a revoked requester", first: func(p *pki) { p.ok(&command.RevokePrincipal{Name: "web-01"}) }, want: state.Denied},
		{name: "no such token", item: func(_ *pki, it *command.IssueItem) { it.TokenID = "token-nope" }, want: state.Denied},
		{name: "a token", first: func(p *pki) { p.ok(p.token("token-web-1", "web-01")) }, item: func(_ *pki, it *command.IssueItem) { it.TokenID = "token-web-1" }},
		{name: "a revoked token", first: func(p *pki) { p.ok(p.token("token-web-1", "web-01")); p.ok(&command.RevokeToken{ID: "token-web-1"}) },
			item: func(_ *pki, it *command.IssueItem) { it.TokenID = "token-web-1" }, want: state.Denied},
		{name: "a caller the policy leaves out", first: func(p *pki) {
			policy := lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256)
			policy.AllowedCallers = []string{"web-02"}
			p.ok(&command.SetPolicy{Key: corp, Policy: policy})
		}, want: state.Denied},
		{name: "renewed by its certificate", item: func(p *pki, it *command.IssueItem) { p.renewing(it, p.issued("b.test", "web-01").serial) }},
		{name: "renewed by another's certificate", item: func(p *pki, it *command.IssueItem) { p.renewing(it, p.issued("b.test", "web-02").serial) }, want: state.Denied},
		{name: "renewed by one that never was", item: func(p *pki, it *command.IssueItem) { p.renewing(it, p.serial()) }, want: state.Denied},
		{name: "renewed by a revoked one", item: func(p *pki, it *command.IssueItem) {
			p.renewing(it, p.issued("b.test", "web-01").serial)
			p.ok(revokeCert(lifecycle.KeyCompromise, *it.Replaces))
		}, want: state.Denied},
		{name: "renewed by one on hold", item: func(p *pki, it *command.IssueItem) {
			p.renewing(it, p.issued("b.test", "web-01").serial)
			p.ok(revokeCert(lifecycle.CertificateHold, *it.Replaces))
		}, want: state.Denied},
		{name: "renewed for a revoked principal", item: func(p *pki, it *command.IssueItem) {
			p.renewing(it, p.issued("b.test", "web-01").serial)
			p.ok(&command.RevokePrincipal{Name: "web-01"})
		}, want: state.Denied},
		{name: "a request of long ago", item: func(p *pki, it *command.IssueItem) {
			it.RequestID, it.RequestDigest = uuid(p.now()-lifecycle.Instant(25*lifecycle.Hour), 7), hash32(nil)
		}, want: state.StaleRequestID},
		{name: "suspended", first: func(p *pki) { p.ok(&command.SuspendVersion{Key: corp, Version: 1}) }, want: state.KeySuspended},
		{name: "deactivated", first: func(p *pki) { p.ok(&command.DeactivateVersion{Key: corp, Version: 1}) }, want: state.NoActiveVersion},
		{name: "compromised", first: func(p *pki) { p.ok(&command.Revoke{Key: corp, Reason: lifecycle.CACompromise}) }, want: state.KeyRevoked},
		{name: "instance revoked", first: func(p *pki) { p.ok(&command.Revoke{Key: corp, Node: p.nodes[0], Reason: lifecycle.KeyCompromise}) }, want: state.InstanceNotHere},
		{name: "instance lost", first: func(p *pki) {
			p.ok(&command.ReportCondition{Key: corp, Version: 1, Node: p.nodes[0], Condition: lifecycle.Lost})
		}, want: state.InstanceNotHere},
		{name: "quarantined", first: func(p *pki) { p.quarantine(0) }, want: state.InstanceNotHere},
		{name: "sealed", first: func(p *pki) { p.ok(p.sealing(0, 1, corp)) }, want: state.Sealed},
		{name: "its CA revoked by the parent", first: func(p *pki) { p.ok(revokeCert(lifecycle.CACompromise, p.caSerial(0))) }, want: state.NoCACertificate},
		{name: "its CA on hold", first: func(p *pki) { p.ok(revokeCert(lifecycle.CertificateHold, p.caSerial(0))) }, want: state.NoCACertificate},
		{name: "its CA released", first: func(p *pki) {
			p.ok(revokeCert(lifecycle.CertificateHold, p.caSerial(0)))
			p.ok(&command.ReleaseCertificates{Serials: []lifecycle.Serial{p.caSerial(0)}})
		}},
		{name: "another node's CA revoked", first: func(p *pki) { p.ok(revokeCert(lifecycle.CACompromise, p.caSerial(1))) }},
		{name: "a new version without a CA certificate", first: func(p *pki) {
			p.succeed()
			p.ok(&command.SkipGate{Key: corp, Version: 2, Gate: lifecycle.GateActivate, Comment: "drill"})
			p.ok(&command.ActivateVersion{Key: corp, Version: 2})
		}, item: func(p *pki, it *command.IssueItem) { it.Version, it.KID = 2, p.kid(corp, 2, 0) }, want: state.NoCACertificate},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPKI(t)
			if c.first != nil {
				c.first(p)
			}
			it := p.item(p.leafForm("a.test"), "web-01")
			if c.item != nil {
				c.item(p, &it)
			}
			node := lifecycle.NodeID("00" + string(p.nodes[0][2:]))
			if c.node >= 0 {
				node = p.nodes[c.node]
			}
			before, size := dump(p.l.Rows()), p.l.View().Position().LogSize
			cmd := &command.IssueIntents{Node: node, Items: []command.IssueItem{it}}
			trial := state.Trial(p.l.View(), p.l.Command(cmd))
			o := p.ok(cmd)
			p.each(o, c.want)
			p.each(trial, c.want)
			if changed := dump(p.l.Rows()) != before || p.l.View().Position().LogSize != size; changed != (c.want == "") {
				t.Errorf("rows or log changed: %t", changed)
			}
		})
	}
}

func (p *pki) renewing(it *command.IssueItem, old lifecycle.Serial) {
	it.Replaces, it.ByCertificate = &old, true
}

func (p *pki) caSerial(node int) lifecycle.Serial {
	p.Helper()
	ca := p.l.View().CACert(corp, 1, p.nodes[node])
	if ca == nil {
		p.Fatalf("node %d has no CA certificate", node)
		return lifecycle.Serial{}
	}
	s, _ := lifecycle.SerialOf(ca.Serial)
	return s
}

func profileTerms() lifecycle.ProfileTerms {
	return lifecycle.ProfileTerms{Usage: []string{"digitalSignature"}, Keys: []string{"P-256"}, DefaultValidity: lifecycle.Day, MaxValidity: 30 * lifecycle.Day}
}

// TestOneEntrySeesItself: the items of one entry are judged one after the other.
func TestOneEntrySeesItself(t *testing.T) {
	p := newPKI(t)
	first := p.item(p.leafForm("a.test"), "web-01")
	first.RequestID, first.RequestDigest = uuid(p.now(), 7), hash32([]byte("request"))
	sameSerial := p.item(p.leafForm("b.test"), "web-01")
	sameSerial.Serial = first.Serial
	sameKey := p.item(p.leafForm("c.test"), "web-02")
	sameKey.SPKIHash = first.SPKIHash
	sameRequest := p.item(p.leafForm("d.test"), "web-01")
	sameRequest.RequestID, sameRequest.RequestDigest = first.RequestID, first.RequestDigest
	otherRequest := p.item(p.leafForm("e.test"), "web-01")
	otherRequest.RequestID, otherRequest.RequestDigest = first.RequestID, hash32([]byte("another"))
	othersRequest := p.item(p.leafForm("f.test"), "web-02")
	othersRequest.RequestID, othersRequest.RequestDigest = first.RequestID, first.RequestDigest
	items := []command.IssueItem{first, sameSerial, sameKey, sameRequest, otherRequest, othersRequest}
	p.each(p.ok(&command.IssueIntents{Node: p.nodes[0], Items: items}), "", state.AlreadyExists, state.KeyReused, state.AlreadyExists, state.RequestIDReused, "")
	items[0].Serial, items[5].Serial = p.serial(), p.serial()
	p.each(p.ok(&command.IssueIntents{Node: p.nodes[0], Items: items}), state.AlreadyExists, state.AlreadyExists, state.KeyReused, state.AlreadyExists, state.RequestIDReused, state.AlreadyExists)
}

// TestRecordNeedsItsIntent: what was not announced, or not like this, is not recorded.
func TestRecordNeedsItsIntent(t *testing.T) {
	p := newPKI(t)
	f := p.leafForm("a.test")
	p.each(p.record(f), state.CertificateNotFound)
	p.announce(p.item(f, "web-01"))
	other := f
	other.subject = "b.test"
	p.each(p.record(other), state.TBSMismatch)
	for what, change := range map[string]func(*command.IssueItem){
		"serial":     func(it *command.IssueItem) { it.Serial = p.serial() },
		"not before": func(it *command.IssueItem) { it.NotBefore += 1000 },
		"not after":  func(it *command.IssueItem) { it.NotAfter -= 1000 },
		"key":        func(it *command.IssueItem) { it.SPKIHash = hash32([]byte("x")) },
	} {
		g := p.leafForm("c.test")
		it := p.item(g, "web-01")
		change(&it) // the TBS says another than what was announced beside its hash
		p.announce(it)
		o := p.ok(&command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: it.Serial, DER: g.cert()}}})
		if o.Groups[0].Code != state.TBSMismatch {
			t.Errorf("another %s: %+v", what, o.Groups)
		}
	}
	p.each(p.ok(&command.RecordIssued{Node: p.nodes[1], Items: []command.IssuedItem{{Serial: f.serial, DER: f.cert()}}}), state.InstanceNotHere)
	p.is(f.serial, lifecycle.CertIntent, false)
	p.each(p.record(f), "")
	again := f.cert()
	again[len(again)-1] ^= 1 // another signature over the same TBS
	p.each(p.ok(&command.RecordIssued{Node: p.nodes[0], Items: []command.IssuedItem{{Serial: f.serial, DER: again}}}), state.AlreadyExists)
	if der, err := p.l.View().CertificateDER(f.serial); err != nil || !bytes.Equal(der, f.cert()) {
		t.Errorf("the certificate was replaced (%v)", err)
	}
}

// TestRightThatEndedBetween announcing and recording: the certificate exists and was not
// given out, so it is kept and revoked, in the entry that would have recorded it.
func TestRightThatEndedBetween(t *testing.T) {
	for _, c := range []struct {
		name  string
		ended func(*pki, form)
		want  state.Code
	}{
		{"key compromised", func(p *pki, _ form) { p.ok(&command.Revoke{Key: corp, Reason: lifecycle.CACompromise}) }, state.KeyRevoked},
		{"instance revoked", func(p *pki, _ form) {
			p.ok(&command.Revoke{Key: corp, Node: p.nodes[0], Reason: lifecycle.KeyCompromise})
		}, state.InstanceNotHere},
		{"suspended", func(p *pki, _ form) { p.ok(&command.SuspendVersion{Key: corp, Version: 1}) }, state.KeySuspended},
		{"a successor took over", func(p *pki, _ form) {
			p.succeed()
			p.ok(&command.SkipGate{Key: corp, Version: 2, Gate: lifecycle.GateActivate, Comment: "drill"})
			p.ok(&command.ActivateVersion{Key: corp, Version: 2})
		}, state.NoActiveVersion},
		{"quarantined", func(p *pki, _ form) { p.quarantine(0) }, state.InstanceNotHere},
		{"sealed", func(p *pki, _ form) { p.ok(p.sealing(0, 1, "")) }, state.Sealed},
		{"requester revoked", func(p *pki, _ form) { p.ok(&command.RevokePrincipal{Name: "web-01"}) }, state.Denied},
		{"token revoked", func(p *pki, _ form) { p.ok(&command.RevokeToken{ID: "token-web-1"}) }, state.Denied},
		{"CA certificate revoked", func(p *pki, _ form) { p.ok(revokeCert(lifecycle.CACompromise, p.caSerial(0))) }, state.NoCACertificate},
		{"revoked itself", func(p *pki, f form) { p.ok(revokeCert(lifecycle.KeyCompromise, f.serial)) }, state.CertificateRevoked},
		{"given up", func(p *pki, f form) {
			p.pass(lifecycle.Minute)
			p.each(p.system(&command.AbandonIntents{Serials: []lifecycle.Serial{f.serial}}), "")
		}, state.CertificateRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPKI(t)
			p.ok(p.token("token-web-1", "web-01"))
			f := p.leafForm("a.test")
			it := p.item(f, "web-01")
			it.TokenID = "token-web-1"
			p.announce(it)
			c.ended(p, f)
			p.each(p.record(f), c.want)
			p.is(f.serial, lifecycle.CertRevoked, true)
			row := p.cert(f.serial)
			if row.IssuedAt != 0 || row.TokenID != "" || row.Revocation.Unrecorded == (c.name == "revoked itself") {
				t.Errorf("row %+v, %+v", row, row.Revocation)
			}
			if der, err := p.l.View().CertificateDER(f.serial); err != nil || !bytes.Equal(der, f.cert()) {
				t.Errorf("the certificate is not known (%v)", err)
			}
			if o := p.record(f); o.Groups[0].Code != state.CertificateRevoked {
				t.Errorf("a repeat: %+v", o.Groups)
			}
			page, err := p.l.View().FindCertificates(state.CertQuery{Name: "a.test"})
			if err != nil || len(page.Certificates) != 1 {
				t.Errorf("it is not found: %+v, %v", page, err)
			}
		})
	}
}

func TestRenewal(t *testing.T) {
	p := newPKI(t)
	old := p.issued("a.test", "web-01")
	f := p.leafForm("a.test")
	it := p.item(f, "web-01")
	p.renewing(&it, old.serial)
	p.announce(it)
	if c := p.cert(old.serial); c.ReplacedBy != nil {
		t.Error("it is replaced by a certificate that may never be")
	}
	p.each(p.record(f), "")
	if c := p.cert(old.serial); c.ReplacedBy == nil || *c.ReplacedBy != f.serial || c.State != lifecycle.CertIssued {
		t.Errorf("the old one %+v", c)
	}
	if c := p.cert(f.serial); c.Replaces == nil || *c.Replaces != old.serial {
		t.Errorf("the new one %+v", c)
	}
	g := p.leafForm("a.test")
	it = p.item(g, "web-01")
	p.renewing(&it, f.serial)
	p.announce(it)
	p.ok(revokeCert(lifecycle.KeyCompromise, f.serial))
	p.each(p.record(g), state.Denied) // who asked was a thief
	p.is(g.serial, lifecycle.CertRevoked, true)
}
