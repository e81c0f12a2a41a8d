package authority_test

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// office is a service over a PKI of two nodes; the principal admin exists.
func office(t *testing.T) (*pkitest.Town, *authority.Service) {
	t.Helper()
	town := pkitest.NewTown(t, 2)
	for name, g := range map[string]lifecycle.Grant{"op": {Role: lifecycle.Operator, Keys: "corp"}, "other": {Role: lifecycle.Signer, Keys: "corp"}} {
		town.Ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service, Grants: []lifecycle.Grant{g}}})
	}
	return town, authority.New(authority.Config{Ledger: town.Ledger, Members: &members{}, Audit: &recorder{ledger: town.Ledger}, Clock: town.Ledger.Clock().Now, Logger: slog.New(slog.DiscardHandler)})
}

func TestCreateIssuer(t *testing.T) {
	town, s := office(t)
	issuer := func(name string, change func(*authority.IssuerSpec)) authority.IssuerSpec {
		i := authority.IssuerSpec{Kind: "issuing", Parent: "root", Key: authority.KeySpec{Name: name, Owner: "pki@example.com", Reason: "tls"}}
		if change != nil {
			change(&i)
		}
		return i
	}
	for name, c := range map[string]struct {
		who  string
		spec authority.IssuerSpec
		want string
	}{
		"good":             {"admin", issuer("web", nil), ""},
		"by an operator":   {"op", issuer("corp2", nil), "denied"},
		"a name in use":    {"admin", issuer("corp", nil), string(state.AlreadyExists)},
		"without owner":    {"admin", issuer("a", func(i *authority.IssuerSpec) { i.Key.Owner = "" }), "invalid"},
		"unknown parent":   {"admin", issuer("b", func(i *authority.IssuerSpec) { i.Parent = "nobody" }), string(state.IssuerNotFound)},
		"below a leaf CA":  {"admin", issuer("c", func(i *authority.IssuerSpec) { i.Parent = "corp" }), string(state.Invalid)},
		"with EdDSA":       {"admin", issuer("d", func(i *authority.IssuerSpec) { i.Key.Alg = "EdDSA" }), "invalid"},
		"root on no node":  {"admin", issuer("e", func(i *authority.IssuerSpec) { i.Kind, i.Parent = "root", "" }), string(state.NodeNotFound)},
		"of no kind":       {"admin", issuer("f", func(i *authority.IssuerSpec) { i.Kind = "leaf" }), string(state.Invalid)},
		"no common name":   {"admin", issuer("g", func(i *authority.IssuerSpec) { i.Terms = &lifecycle.IssuerTerms{} }), "invalid"},
		"bad constraints":  {"admin", issuer("h", func(i *authority.IssuerSpec) { i.Terms = constrained("10.0.0.1/8") }), "invalid"},
		"good constraints": {"admin", issuer("i", func(i *authority.IssuerSpec) { i.Terms = constrained("10.0.0.0/8") }), ""},
	} {
		if _, err := s.CreateIssuer(ctx, as(c.who), c.spec); c.want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if c.want != "" {
			t.Run(name, func(t *testing.T) { code(t, err, c.want) })
		}
	}
	if is := town.Ledger.View().Issuer("web"); is == nil || is.Parent != "root" {
		t.Errorf("issuer %+v", is)
	}
	if _, err := s.CreateKey(ctx, as("admin"), authority.KeySpec{Name: "raw", Purpose: "certificate", Owner: "o", Reason: "r"}); err == nil {
		t.Error("a key of purpose certificate was made without its issuer")
	}
}

func constrained(ips string) *lifecycle.IssuerTerms {
	terms := lifecycle.DefaultIssuerTerms(lifecycle.IssuingIssuer, "x")
	terms.Names.PermittedIPs = []string{ips}
	return &terms
}

// TestRevokeCertificates: operators of the issuer may, and whoever asked for all of them.
func TestRevokeCertificates(t *testing.T) {
	town, s := office(t)
	mine, theirs := town.Issue(0, "a.test").Serial(), town.Issue(1, "b.test").Serial()
	items := func(serials ...lifecycle.Serial) (out []command.RevokeItem) {
		for _, serial := range serials {
			out = append(out, command.RevokeItem{Serial: serial, Reason: lifecycle.CertificateHold})
		}
		return out
	}
	_, err := s.RevokeCertificates(ctx, as("other"), "corp", items(mine))
	code(t, err, "denied")
	if _, err := s.RevokeCertificates(ctx, as("web-01"), "corp", items(theirs, mine)); err != nil {
		t.Errorf("its own: %v", err)
	}
	_, err = s.RevokeCertificates(ctx, as("op"), "corp", []command.RevokeItem{{Serial: mine, Reason: lifecycle.KeyCompromise, InvalidityAt: s.Now().Add(lifecycle.Hour)}})
	code(t, err, "invalid")
	_, err = s.RevokeCertificates(ctx, as("op"), "root", items(mine))
	code(t, err, "denied")
	_, err = s.RevokeCertificates(ctx, as("admin"), "root", items(mine))
	code(t, err, string(state.CertificateNotFound))
	_, err = s.ReleaseCertificates(ctx, as("web-01"), "corp", []lifecycle.Serial{mine}, "")
	code(t, err, "denied")
	if _, err := s.ReleaseCertificates(ctx, as("op"), "corp", []lifecycle.Serial{mine, theirs}, "found again"); err != nil {
		t.Error(err)
	}
	if row, err := town.Ledger.View().Certificate(mine); err != nil || row.State != lifecycle.CertIssued {
		t.Errorf("%+v, %v", row, err)
	}
}

// TestNodesSpeakOfWhatTheySign keeps a stolen node to its own instances.
func TestNodesSpeakOfWhatTheySign(t *testing.T) {
	town, s := office(t)
	v := town.Ledger.View()
	first, second := s.Peer(town.Nodes[0], "192.0.2.1:1"), s.Peer(town.Nodes[1], "192.0.2.2:1")
	forged := pkitest.Root(t, "root CA") // as the root's, with another key
	leaf := town.Issue(0, "a.test")
	for name, try := range map[string]func() error{
		"announces for another": func() error {
			_, err := second.IssueIntents(ctx, &command.IssueIntents{Node: town.Nodes[0]})
			return err
		},
		"records for another": func() error {
			_, err := second.RecordIssued(ctx, &command.RecordIssued{Node: town.Nodes[0], Items: []command.IssuedItem{{Serial: leaf.Serial(), DER: leaf.Cert.Raw}}})
			return err
		},
		"a root's certificate for another": func() error {
			_, err := second.BindCACert(ctx, &command.BindCACert{Issuer: "root", Version: 1, Node: town.Nodes[0], DER: town.Root.Cert.Raw, Subject: "root CA"})
			return err
		},
		"a root's certificate that it did not sign": func() error {
			_, err := first.BindCACert(ctx, &command.BindCACert{Issuer: "root", Version: 1, Node: town.Nodes[0], DER: forged.Issuing(t, "root CA 2").Cert.Raw, Subject: "root CA 2"})
			return err
		},
		"a CA certificate of a parent it has not": func() error {
			_, err := second.BindCACert(ctx, &command.BindCACert{Issuer: "corp", Version: 1, Node: town.Nodes[1], DER: town.Corp[1].Cert.Raw, Subject: "x"})
			return err
		},
		"an OCSP key of another": func() error {
			_, err := second.AnnounceResponder(ctx, &command.AnnounceResponder{Node: town.Nodes[0], SPKI: v.CACerts("corp")[0].DER[:64]})
			return err
		},
		"a responder that another signed": func() error {
			_, err := second.BindResponder(ctx, &command.BindResponder{Node: town.Nodes[1], Serial: leaf.Serial()})
			return err
		},
		"a CRL number of another": func() error {
			_, err := second.AllocateCRL(ctx, &command.AllocateCRL{Node: town.Nodes[0], KID: town.Corp[0].KID, Number: 1})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) { code(t, try(), "denied") })
	}
	town.Ledger.SetLeader(false)
	if _, err := first.IssueIntents(ctx, &command.IssueIntents{Node: town.Nodes[0]}); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("on a follower: %v", err)
	}
}
