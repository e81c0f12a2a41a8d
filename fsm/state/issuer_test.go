package state_test

import (
	"bytes"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestCreateIssuer(t *testing.T) {
	p := newPKI(t)
	v := p.l.View()
	is, key := v.Issuer(corp), v.Key(corp)
	if is == nil || is.Kind != lifecycle.IssuingIssuer || is.Parent != root || is.CommonName != "corp CA" || key == nil || key.Purpose != lifecycle.ForCertificate || is.Created.Index != key.Created.Index {
		t.Errorf("issuer %+v, key %+v", is, key)
	}
	if got := v.Issuers(); len(got) != 2 || got[0].Name != corp || got[1].Name != root {
		t.Errorf("issuers %+v", got)
	}
	p.no(state.AlreadyExists, newIssuer(corp, lifecycle.IssuingIssuer, root, p.nodes...))
	p.no(state.IssuerNotFound, newIssuer("other", lifecycle.IssuingIssuer, "nope", p.nodes...))
	p.no(state.Invalid, newIssuer("other", lifecycle.IssuingIssuer, corp, p.nodes...)) // corp has path length 0
	deep := newIssuer("other", lifecycle.IssuingIssuer, root, p.nodes...)
	deep.Terms.PathLen = 1
	p.no(state.Invalid, deep)
	p.ok(newIssuer("other", lifecycle.ExternalIssuer, "", p.nodes...))
}

func TestSetIssuer(t *testing.T) {
	p := newPKI(t)
	terms := p.l.View().Issuer(corp).IssuerTerms
	terms.CRLEvery = 2 * lifecycle.Hour
	p.ok(&command.SetIssuer{Issuer: corp, Terms: terms})
	if is := p.l.View().Issuer(corp); is.CRLEvery != 2*lifecycle.Hour || is.Parent != root || is.Created.Index == is.Rev {
		t.Errorf("issuer %+v", is)
	}
	terms.PathLen = 1
	p.no(state.Invalid, &command.SetIssuer{Issuer: corp, Terms: terms})
	p.no(state.IssuerNotFound, &command.SetIssuer{Issuer: "nope", Terms: terms})
	above := p.l.View().Issuer(root).IssuerTerms
	above.PathLen = 0
	p.no(state.Invalid, &command.SetIssuer{Issuer: root, Terms: above})
}

func TestBindCACert(t *testing.T) {
	p := newPKI(t)
	ca := p.l.View().CACert(corp, 1, p.nodes[0])
	if ca == nil || ca.KID != p.kid(corp, 1, 0) || ca.ParentKID != p.kid(root, 1, 0) || ca.Subject != "corp CA "+lifecycle.ShortKID(ca.KID) || p.l.View().CACertByKID(ca.KID) != ca {
		t.Fatalf("CA certificate %+v", ca)
	}
	if own := p.l.View().CACert(root, 1, p.nodes[0]); own.ParentKID != own.KID {
		t.Errorf("root %+v", own)
	}
	again := &command.BindCACert{Issuer: corp, Version: 1, Node: p.nodes[0], DER: ca.DER, Subject: ca.Subject}
	p.ok(again)
	if p.l.View().CACert(corp, 1, p.nodes[0]) != ca {
		t.Error("a repeat wrote the row again")
	}
	unrecorded := func(change func(*form)) *command.BindCACert {
		f := p.caForm(1, 0)
		f.to += 1000
		change(&f)
		return &command.BindCACert{Issuer: corp, Version: 1, Node: p.nodes[0], DER: f.cert(), Subject: f.subject}
	}
	p.no(state.CertificateNotFound, unrecorded(func(*form) {}))
	p.no(state.Invalid, unrecorded(func(f *form) { f.spki = der(0x30, []byte("x")) }))
	p.no(state.Invalid, unrecorded(func(f *form) { f.to -= 1000 })) // no longer than the one it has
	p.no(state.IssuerNotFound, &command.BindCACert{Issuer: "nope", Version: 1, Node: p.nodes[0], DER: ca.DER, Subject: "x"})
	p.no(state.VersionNotFound, &command.BindCACert{Issuer: corp, Version: 2, Node: p.nodes[0], DER: ca.DER, Subject: "x"})
	p.pass(lifecycle.Day)
	longer := p.bindCA(1, 0) // a newer one for the same key
	p.ok(longer)
	if got := p.l.View().CACert(corp, 1, p.nodes[0]); !bytes.Equal(got.DER, longer.DER) {
		t.Error("the newer CA certificate is not the one in use")
	}
	revoked := p.bindCA(1, 1)
	s, _ := lifecycle.SerialOf(mustRead(t, revoked.DER).Serial)
	p.ok(revokeCert(lifecycle.Superseded, s))
	p.no(state.CertificateRevoked, revoked)
	p.ok(revokeCert(lifecycle.CACompromise, p.caSerial(1)))
	if got := p.l.View().CACert(corp, 1, p.nodes[1]); got.Revocation == nil || got.Revocation.Reason != lifecycle.CACompromise {
		t.Errorf("CA certificate %+v", got)
	}
	p.no(state.CertificateRevoked, p.bindCA(1, 1))
}

// TestImportedChain: what stands above an external issuer's CA certificate may come later,
// must follow from it by name, and is taken for no other kind of issuer.
func TestImportedChain(t *testing.T) {
	p := newPKI(t)
	p.ok(newIssuer("ext", lifecycle.ExternalIssuer, "", p.nodes[0]))
	p.use("ext", 1, p.nodes[0])
	made := func(subject, issuer string, spki []byte) []byte {
		return form{serial: p.serial(), issuer: issuer, subject: subject, spki: spki, from: p.now(), to: p.now().Add(lifecycle.Day)}.cert()
	}
	ca := made("Ext", "Policy", p.l.View().Instance("ext", 1, p.nodes[0]).SPKI)
	policy, group := made("Policy", "Group", der(0x30, []byte("p"))), made("Group", "Group", der(0x30, []byte("g")))
	imported := func(above ...[]byte) *command.BindCACert {
		return &command.BindCACert{Issuer: "ext", Version: 1, Node: p.nodes[0], DER: ca, Subject: "Ext", Above: above}
	}
	p.no(state.Invalid, imported(group))
	p.no(state.Invalid, imported(group, policy))
	p.ok(imported())
	p.ok(imported(policy, group))
	if got := p.l.View().CACert("ext", 1, p.nodes[0]); len(got.Above) != 2 || !bytes.Equal(got.Above[1], group) {
		t.Errorf("above it stand %d", len(got.Above))
	}
	own := p.bindCA(1, 0)
	own.Above = [][]byte{made("root CA", "root CA", der(0x30, []byte("r")))}
	p.no(state.Invalid, own)
	p.pass(2 * lifecycle.Day)
	p.no(state.CertificateExpired, imported(policy))
}

func mustRead(t *testing.T, der []byte) lifecycle.CertFacts {
	t.Helper()
	f, err := lifecycle.ReadCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestCASubjectsDiffer: with one subject for two CA keys GnuTLS and NSS accept a revoked
// leaf.
func TestCASubjectsDiffer(t *testing.T) {
	p := newPKI(t)
	p.ok(newIssuer("ext", lifecycle.ExternalIssuer, "", p.nodes[:2]...))
	p.use("ext", 1, p.nodes[:2]...)
	imported := func(node int, subject string) *command.BindCACert {
		f := form{serial: p.serial(), issuer: "Corp Root", subject: subject, spki: p.l.View().Instance("ext", 1, p.nodes[node]).SPKI, from: p.now(), to: p.now().Add(lifecycle.Day)}
		return &command.BindCACert{Issuer: "ext", Version: 1, Node: p.nodes[node], DER: f.cert(), Subject: subject}
	}
	p.ok(imported(0, "Ext"))
	p.no(state.AlreadyExists, imported(1, "Ext"))
	p.no(state.AlreadyExists, imported(1, p.l.View().CACert(corp, 1, p.nodes[0]).Subject))
	p.ok(imported(1, "Ext 2"))
	if ca := p.l.View().CACert("ext", 1, p.nodes[1]); ca.ParentKID != "" {
		t.Errorf("CA certificate %+v", ca)
	}
	p.pass(2 * lifecycle.Day)
	f := imported(0, "Ext 3")
	f.DER = form{serial: p.serial(), issuer: "Corp Root", subject: "Ext 3", spki: p.l.View().Instance("ext", 1, p.nodes[0]).SPKI, from: 1000, to: p.now()}.cert()
	p.no(state.CertificateExpired, f)
}

func TestProfiles(t *testing.T) {
	p := newPKI(t)
	p.no(state.ProfileNotFound, &command.DropProfile{Name: "web"})
	set := &command.SetProfile{Name: "web", Terms: profileTerms()}
	p.ok(set)
	first := p.l.View().Profile("web")
	want := command.ProfileHash("web", &set.Terms)
	if first == nil || first.Version != 1 || !bytes.Equal(first.Hash, want[:]) || len(p.l.View().Profiles()) != 1 {
		t.Fatalf("profile %+v", first)
	}
	set.Terms.MaxValidity++
	p.ok(set)
	if next := p.l.View().Profile("web"); next.Version != 2 || bytes.Equal(next.Hash, first.Hash) {
		t.Errorf("profile %+v", next)
	}
	p.ok(&command.DropProfile{Name: "web"})
	if p.l.View().Profile("web") != nil || len(p.l.View().Profiles()) != 0 {
		t.Error("a dropped profile is there")
	}
	p.no(state.ProfileNotFound, &command.DropProfile{Name: "web"})
	p.ok(set)
	if again := p.l.View().Profile("web"); again.Version != 3 {
		t.Errorf("profile %+v", again)
	}
}
