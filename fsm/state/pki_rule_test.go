package state_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestPKIRules: what a rule for issuers and profiles makes wait, and what it does not.
func TestPKIRules(t *testing.T) {
	p := newPKI(t)
	terms := func(edit func(*lifecycle.ProfileTerms)) *command.SetProfile {
		c := &command.SetProfile{Name: "web", Terms: lifecycle.ProfileTerms{Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"serverAuth"}, Keys: []string{"P-256"},
			DefaultValidity: lifecycle.Day, MaxValidity: 7 * lifecycle.Day, Names: []lifecycle.NameRule{{Requester: "web-*", DNS: []string{"*.a.test", "b.test"}}}}}
		edit(&c.Terms)
		return c
	}
	p.ok(terms(func(*lifecycle.ProfileTerms) {}))
	p.ok(newIssuer("ext", lifecycle.ExternalIssuer, "", p.nodes...))
	p.use("ext", 1, p.nodes...)
	for _, name := range approverNames {
		p.ok(approver(name, ed25519Key(name)))
	}
	p.ok(p.settings(func(s *lifecycle.Settings) { s.Approvals = allRules() }))
	issuer := &command.SetIssuer{Issuer: corp, Terms: p.l.View().Issuer(corp).IssuerTerms}
	issuer.Terms.CAValidity *= 2
	f := p.caForm(1, 0)
	f.spki, f.subject = p.l.View().Instance("ext", 1, p.nodes[0]).SPKI, "ext 1"
	imported := &command.BindCACert{Issuer: "ext", Version: 1, Node: p.nodes[0], DER: f.cert(), Subject: f.subject}
	for what, c := range map[string]struct {
		body command.Body
		code state.Code
	}{
		"an issuer's terms":      {issuer, state.ApprovalRequired},
		"an issuer below one":    {newIssuer("sub", lifecycle.IssuingIssuer, root, p.nodes...), state.ApprovalRequired},
		"a root":                 {newIssuer("root2", lifecycle.RootIssuer, "", p.nodes[0]), ""},
		"an external issuer":     {newIssuer("ext2", lifecycle.ExternalIssuer, "", p.nodes...), ""},
		"an imported CA":         {imported, state.ApprovalRequired},
		"a new profile":          {func() command.Body { c := terms(func(*lifecycle.ProfileTerms) {}); c.Name = "new"; return c }(), state.ApprovalRequired},
		"a wider profile":        {terms(func(t *lifecycle.ProfileTerms) { t.Names[0].DNS = []string{"**.test"} }), state.ApprovalRequired},
		"a profile dropped":      {&command.DropProfile{Name: "web"}, state.ApprovalRequired},
		"a narrower profile":     {terms(func(t *lifecycle.ProfileTerms) { t.MaxValidity = lifecycle.Day }), ""},
		"our own CA certificate": {p.bindCA(1, 1), state.Invalid}, // no longer than the one it has, but nobody has to agree
	} {
		if o := state.Trial(p.l.View(), p.l.Command(c.body)); o.Code != c.code {
			t.Errorf("%s: %q (%s), want %q", what, o.Code, o.Detail, c.code)
		}
	}
	p.ok(p.opening(1, imported))
	if said := string(p.statement(1)); !strings.Contains(said, "\nsubject: ext 1\n") || !strings.Contains(said, "\ncertificate-sha256: ") {
		t.Errorf("the statement does not say which certificate:\n%s", said)
	}
	p.approvedBy(1, "alice", "bob")
	p.ok(p.execution(1, imported))
	if ca := p.l.View().CACert("ext", 1, p.nodes[0]); ca == nil || !slices.Equal(ca.DER, imported.DER) {
		t.Errorf("CA certificate %+v", ca)
	}

	// Who approved one change of a profile has not approved it over another.
	wide := terms(func(t *lifecycle.ProfileTerms) { t.Keys = append(t.Keys, "RSA-2048") })
	p.ok(p.opening(2, wide))
	p.approvedBy(2, "alice", "bob")
	p.ok(terms(func(t *lifecycle.ProfileTerms) { t.MaxValidity = lifecycle.Day }))
	p.no(state.IntentMismatch, p.execution(2, wide))

	// Nor a CA certificate for an issuer whose terms are others now: it was compared with
	// those of then.
	p.ok(p.opening(3, imported))
	p.approvedBy(3, "alice", "bob")
	narrow := &command.SetIssuer{Issuer: "ext", Terms: p.l.View().Issuer("ext").IssuerTerms}
	narrow.Terms.Names.PermittedDNS = []string{"corp.test"}
	p.ok(p.opening(4, narrow))
	p.approvedBy(4, "alice", "bob")
	p.ok(p.execution(4, narrow))
	p.no(state.IntentMismatch, p.execution(3, imported))

	sub := newIssuer("sub", lifecycle.IssuingIssuer, root, p.nodes...)
	p.ok(p.opening(5, sub))
	p.approvedBy(5, "alice", "bob")
	p.ok(p.execution(5, sub))
	if is := p.l.View().Issuer("sub"); is == nil || is.Parent != root {
		t.Errorf("issuer %+v", is)
	}
}

// TestRevokingCertificatesWaitsForNobody whatever the rules say.
func TestRevokingCertificatesWaitsForNobody(t *testing.T) {
	p := newPKI(t)
	f := p.issued("a.test", "web-01")
	for _, name := range approverNames {
		p.ok(approver(name, ed25519Key(name)))
	}
	p.ok(p.settings(func(s *lifecycle.Settings) { s.Approvals = allRules() }))
	p.ok(revokeCert(lifecycle.KeyCompromise, f.serial))
	p.is(f.serial, lifecycle.CertRevoked, true)
}
