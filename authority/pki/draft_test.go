package pki

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestChains issues under CAs of every algorithm, and Go and openssl verify the chain.
func TestChains(t *testing.T) {
	for _, alg := range lifecycle.Algorithms {
		t.Run(string(alg), func(t *testing.T) {
			root := newRoot(t, alg)
			issuing := root.issuing(t, alg, nil)
			d, err := issuing.Draft(Order{Request: request(t, keyOf(t, KeyP256), "", Names{DNS: []string{"a.test"}, IPs: []string{"10.1.2.3"}}),
				Requester: operator, Profile: Builtin("server"), Serial: serial(t), Now: now})
			if err != nil {
				t.Fatal(err)
			}
			leaf := issuing.sign(t, d)
			if leaf.Subject.CommonName != "a.test" || leaf.NotAfter.Sub(leaf.NotBefore) != 30*24*time.Hour+5*time.Minute {
				t.Errorf("subject %s, from %s to %s", leaf.Subject, leaf.NotBefore, leaf.NotAfter)
			}
			if got := leaf.CRLDistributionPoints; len(got) != 1 || got[0] != "http://pki.test/a.crl" {
				t.Errorf("distribution points %v", got)
			}
			roots, inter := x509.NewCertPool(), x509.NewCertPool()
			roots.AddCert(root.Cert)
			inter.AddCert(issuing.Cert)
			if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "a.test", Roots: roots, Intermediates: inter, CurrentTime: timeOf(now)}); err != nil {
				t.Errorf("crypto/x509: %v", err)
			}
			opensslVerifies(t, root.Cert, issuing.Cert, leaf)
		})
	}
}

func opensslVerifies(t *testing.T, root, issuing, leaf *x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, c *x509.Certificate) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-attime", "1772366400", "-CAfile", write("root", root),
		"-untrusted", write("issuing", issuing), write("leaf", leaf)).CombinedOutput()
	if err != nil {
		t.Errorf("openssl verify (scripts/deps installs it): %v\n%s", err, out)
	}
}

// TestShortLived are told that there is no revocation, and where to ask they are not.
func TestShortLived(t *testing.T) {
	ca := newRoot(t, lifecycle.ES256).issuing(t, lifecycle.ES256, nil)
	for ttl, short := range map[lifecycle.Milliseconds]bool{lifecycle.Hour: true, lifecycle.Day: true, 25 * lifecycle.Hour: false} {
		d, err := ca.Draft(Order{Request: request(t, keyOf(t, KeyEd25519), "", Names{URIs: []string{"spiffe://corp.test/web"}}),
			Requester: operator, Profile: Builtin("workload"), Serial: serial(t), Now: now, TTL: ttl})
		if err != nil {
			t.Fatal(err)
		}
		c := ca.sign(t, d)
		if has(c, oidNoRevAvail) != short || (len(c.OCSPServer) == 0) != short || (len(c.CRLDistributionPoints) == 0) != short {
			t.Errorf("%s: noRevAvail %t, OCSP %v, CRL %v", ttl, has(c, oidNoRevAvail), c.OCSPServer, c.CRLDistributionPoints)
		}
	}
}

func TestRefusedOrders(t *testing.T) {
	root := newRoot(t, lifecycle.ES256)
	ca := root.issuing(t, lifecycle.ES256, func(terms *lifecycle.IssuerTerms) {
		terms.Names = lifecycle.NameConstraints{PermittedDNS: []string{"corp.test"}, ExcludedIPs: []string{"10.9.0.0/16"}}
		terms.CAValidity = 20 * lifecycle.Day
	})
	custom := NewProfile("web", 1, lifecycle.ProfileTerms{Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"serverAuth"}, Keys: []string{KeyP256},
		DefaultValidity: lifecycle.Day, MaxValidity: 10 * lifecycle.Day, CommonName: "request", Names: []lifecycle.NameRule{
			{Requester: "web-*", DNS: []string{"*.web.corp.test", "=*.wild.corp.test"}, IPs: []string{"10.0.0.0/8"}}}})
	web := Requester{Name: "web-01", Roles: []lifecycle.Role{lifecycle.Signer}}
	p256 := keyOf(t, KeyP256)
	order := func(change func(*Order), names ...string) Order {
		o := Order{Request: request(t, p256, "", Names{DNS: names}), Requester: web, Profile: custom, Serial: serial(t), Now: now}
		if change != nil {
			change(&o)
		}
		return o
	}
	for name, c := range map[string]struct {
		order Order
		err   error
		says  string // "" = it is drafted
	}{
		"own name":                {order: order(nil, "a.web.corp.test")},
		"listed wildcard":         {order: order(nil, "*.wild.corp.test")},
		"wildcard nobody listed":  {order(nil, "*.web.corp.test"), ErrName, `only a rule with "=*.web.corp.test" does`},
		"name of others":          {order(nil, "a.db.corp.test"), ErrName, "allows *.web.corp.test"},
		"deeper than the rule":    {order(nil, "b.a.web.corp.test"), ErrName, "does not give web-01"},
		"no name":                 {order(nil), ErrOrder, "at least one name"},
		"requester without rule":  {order(func(o *Order) { o.Requester.Name = "mallory" }, "a.web.corp.test"), ErrName, "no rule"},
		"someone else's subject":  {order(func(o *Order) { o.Request.CommonName = "root" }, "a.web.corp.test"), ErrName, "neither the requester's name"},
		"too long":                {order(func(o *Order) { o.TTL = 11 * lifecycle.Day }, "a.web.corp.test"), ErrOrder, "profile web allows"},
		"too short":               {order(func(o *Order) { o.TTL = lifecycle.Second }, "a.web.corp.test"), ErrOrder, "profile web allows"},
		"outlives its CA":         {order(func(o *Order) { o.Now, o.TTL = now.Add(19*lifecycle.Day), 5*lifecycle.Day }, "a.web.corp.test"), ErrOrder, "outlive its CA"},
		"cut to its CA":           {order: order(func(o *Order) { o.Now = now.Add(20*lifecycle.Day - lifecycle.Hour) }, "a.web.corp.test")},
		"CA has expired":          {order(func(o *Order) { o.Now = now.Add(21 * lifecycle.Day) }, "a.web.corp.test"), ErrOrder, "expired"},
		"kind of key":             {order(func(o *Order) { o.Request = request(t, keyOf(t, KeyP384), "", Names{DNS: []string{"a.web.corp.test"}}) }), ErrOrder, "no P-384 keys"},
		"outside the constraints": {order(func(o *Order) { o.Requester, o.Profile = operator, Builtin("server") }, "a.elsewhere.test"), ErrOrder, "no verifier would accept"},
		"excluded address":        {order(func(o *Order) { o.Request.Names.IPs = []string{"10.9.0.1"} }), ErrOrder, "no verifier would accept"},
		"not a name":              {order(func(o *Order) { o.Request.Names.DNS = []string{"a b"} }), ErrName, "no host name"},
	} {
		d, err := ca.Draft(c.order)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (!errors.Is(err, c.err) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		case err == nil && d.NotAfter > lifecycle.Instant(ca.Cert.NotAfter.UnixMilli()):
			t.Errorf("%s: ends after its CA", name)
		}
	}
}

// TestConstraintsAbove are kept by the leaves of a CA that has none itself, however many
// leaves were in order before.
func TestConstraintsAbove(t *testing.T) {
	ca := rootWith(t, lifecycle.ES256, lifecycle.NameConstraints{PermittedDNS: []string{"corp.test"}}).issuing(t, lifecycle.ES256, nil)
	for _, c := range []struct {
		name string
		ok   bool
	}{{"a.corp.test", true}, {"a.other.test", false}, {"b.corp.test", true}, {"b.other.test", false}} {
		_, err := ca.Draft(Order{Request: request(t, keyOf(t, KeyP256), "", Names{DNS: []string{c.name}}), Requester: operator,
			Profile: Builtin("server"), Serial: serial(t), Now: now})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestCheckTerms: a name constraint is a domain, as X.509 writes it, and no pattern.
func TestCheckTerms(t *testing.T) {
	for names, ok := range map[string]bool{"corp.test": true, "test": true, ".corp.test": true, "*.corp.test": false, "*": false, "Corp.test": false, "corp.test.": false, "10.0.0.0/8": false, "": false} {
		terms := lifecycle.DefaultIssuerTerms(lifecycle.IssuingIssuer, "corp")
		terms.Names.PermittedDNS = []string{names}
		if err := CheckTerms(&terms); (err == nil) != ok {
			t.Errorf("%q: %v", names, err)
		}
	}
}

// TestRefusedCAs holds issuers to the path length and constraints of those above them.
func TestRefusedCAs(t *testing.T) {
	root := newRoot(t, lifecycle.ES256) // path length 1
	order := func(pathLen int) CAOrder {
		terms := lifecycle.DefaultIssuerTerms(lifecycle.IssuingIssuer, "deep")
		terms.PathLen = pathLen
		return CAOrder{Terms: terms, Subject: "deep x", SPKI: spkiOf(t, keyOf(t, KeyP256).Public()), Serial: serial(t), Now: now}
	}
	if _, err := root.DraftCA(order(1)); err == nil || !strings.Contains(err.Error(), "path length") {
		t.Errorf("a CA of path length 1 below one of 1: %v", err)
	}
	if _, err := root.issuing(t, lifecycle.ES256, nil).DraftCA(order(0)); err == nil || !strings.Contains(err.Error(), "may sign no CA certificates") {
		t.Errorf("a CA below one of path length 0: %v", err)
	}
	same := order(0)
	same.Subject = "corp root"
	if _, err := root.DraftCA(same); err == nil || !strings.Contains(err.Error(), "subject of its own CA") {
		t.Errorf("a CA with its parent's subject: %v", err)
	}
	late := order(0)
	late.Now = now.Add(11 * 366 * lifecycle.Day)
	if _, err := root.DraftCA(late); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("a CA below an expired root: %v", err)
	}
}

// TestOtherSignature shows that a draft's bytes are what is signed, and that nothing of
// the throwaway signature stays.
func TestOtherSignature(t *testing.T) {
	ca := newRoot(t, lifecycle.ES256).issuing(t, lifecycle.ES256, nil)
	d, err := ca.Draft(Order{Request: request(t, keyOf(t, KeyP256), "", Names{DNS: []string{"a.test"}}), Requester: operator,
		Profile: Builtin("server"), Serial: serial(t), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	cert := ca.sign(t, d)
	if err := cert.CheckSignatureFrom(ca.Cert); err != nil {
		t.Error(err)
	}
	if facts, err := lifecycle.ReadCertificate(cert.Raw); err != nil || string(facts.TBS) != string(d.TBS) || lifecycle.Serial(facts.Serial) != d.Serial {
		t.Errorf("the log reads other facts: %v", err)
	}
}
