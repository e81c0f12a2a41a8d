package state_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// find walks all pages of a query, two certificates each.
func (p *pki) find(q state.CertQuery) (out []string) {
	p.Helper()
	q.Limit = 2
	for range 100 {
		page, err := p.l.View().FindCertificates(q)
		if err != nil || len(page.Certificates) > 2 {
			p.Fatalf("%+v: %d certificates, %v", q, len(page.Certificates), err)
		}
		for _, c := range page.Certificates {
			out = append(out, c.Subject)
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			slices.Sort(out)
			return out
		}
	}
	p.Fatalf("%+v has no end", q)
	return nil
}

func TestFindCertificates(t *testing.T) {
	p := newPKI(t)
	var forms []form
	for i := range 5 {
		forms = append(forms, p.issued(fmt.Sprintf("H%d.test", i), []string{"web-01", "web-02"}[i%2]))
		p.pass(lifecycle.Hour)
	}
	p.ok(revokeCert(lifecycle.Superseded, forms[1].serial))
	p.ok(revokeCert(lifecycle.CertificateHold, forms[2].serial))
	p.announce(p.item(p.leafForm("i.test"), "web-01"))
	ca := []string{"corp CA " + lifecycle.ShortKID(p.kid(corp, 1, 0)), "corp CA " + lifecycle.ShortKID(p.kid(corp, 1, 1)), "corp CA " + lifecycle.ShortKID(p.kid(corp, 1, 2))}
	slices.Sort(ca)
	all := []string{"H0.test", "H1.test", "H2.test", "H3.test", "H4.test"}
	states := func(s ...lifecycle.CertState) []lifecycle.CertState { return s }
	for _, c := range []struct {
		name string
		q    state.CertQuery
		want []string
	}{
		{"everything", state.CertQuery{}, append(append(slices.Clone(all), ca...), "i.test")},
		{"a name", state.CertQuery{Name: "h3.test"}, all[3:4]},
		{"a name in capitals", state.CertQuery{Name: "H3.TEST"}, all[3:4]},
		{"another of its names", state.CertQuery{Name: "www.h3.test"}, all[3:4]},
		{"the beginning of a name", state.CertQuery{Name: "h3"}, nil},
		{"a pattern that fits both names of each", state.CertQuery{Name: "*h*.test"}, all},
		{"the end of a name", state.CertQuery{Name: "*3.test"}, all[3:4]},
		{"a name and a state", state.CertQuery{Name: "*.test", States: states(lifecycle.CertRevoked)}, all[1:2]},
		{"a key", state.CertQuery{SPKIHash: hash32(forms[4].spki)}, all[4:]},
		{"a requester", state.CertQuery{Requester: "web-02"}, []string{"H1.test", "H3.test"}},
		{"a requester who is another's beginning", state.CertQuery{Requester: "web-0"}, nil},
		{"an issuer", state.CertQuery{Issuer: corp}, all},
		{"another issuer", state.CertQuery{Issuer: root}, ca},
		{"a node", state.CertQuery{Issuer: corp, Node: p.nodes[1]}, nil},
		{"a node's instances of all issuers", state.CertQuery{Node: p.nodes[0]}, append(slices.Clone(all), ca...)},
		{"a kid", state.CertQuery{KID: p.kid(corp, 1, 0)}, all},
		{"an issuer that is none", state.CertQuery{Issuer: "nope"}, nil},
		{"a profile", state.CertQuery{Profile: lifecycle.ProfileCA}, ca},
		{"intents", state.CertQuery{States: states(lifecycle.CertIntent)}, []string{"i.test"}},
		{"revoked and held", state.CertQuery{States: states(lifecycle.CertRevoked, lifecycle.CertHeld)}, all[1:3]},
		{"an end within", state.CertQuery{From: forms[1].to, To: forms[3].to}, all[1:4]},
		{"an end by", state.CertQuery{To: forms[0].to}, all[:1]},
		{"an end from", state.CertQuery{Issuer: corp, From: forms[3].to + 1}, all[4:]},
	} {
		if got := p.find(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	for _, cursor := range []string{"!", "AAAA", "Y2VydG5hbWVz"} {
		if _, err := p.l.View().FindCertificates(state.CertQuery{Cursor: cursor}); err != state.ErrCursor {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	page, err := p.l.View().FindCertificates(state.CertQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.l.View().FindCertificates(state.CertQuery{Requester: "web-01", Cursor: page.Next}); err != state.ErrCursor {
		t.Errorf("another query's cursor: %v", err)
	}
}

// TestAffected: what has to be issued anew when a node's instance is lost.
func TestAffected(t *testing.T) {
	p := newPKI(t)
	f, g, h := p.issued("a.test", "web-01"), p.issued("b.test", "web-01"), p.issued("c.test", "web-01")
	p.ok(revokeCert(lifecycle.Superseded, g.serial))
	p.ok(revokeCert(lifecycle.CertificateHold, h.serial))
	p.ok(&command.Revoke{Key: corp, Node: p.nodes[0], Reason: lifecycle.KeyCompromise})
	p.ok(revokeCert(lifecycle.CACompromise, p.caSerial(0)))
	page, err := p.l.View().Affected(corp, p.nodes[0], p.now(), "", 0)
	if err != nil || len(page.Certificates) != 2 || page.Certificates[0].Serial != f.serial || page.Certificates[1].Serial != h.serial || page.Next != "" {
		t.Errorf("affected are %+v, %v", page, err)
	}
	if page, err := p.l.View().Affected(corp, p.nodes[1], p.now(), "", 0); err != nil || len(page.Certificates) != 0 {
		t.Errorf("affected are %+v, %v", page, err)
	}
	if page, err := p.l.View().Affected(corp, p.nodes[0], f.to+1, "", 0); err != nil || len(page.Certificates) != 0 {
		t.Errorf("affected are %+v, %v", page, err)
	}
}
