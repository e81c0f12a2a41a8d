package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestCheckImported: a CA certificate from elsewhere is refused where no verifier would
// take it or where it allows more than the terms, and what else differs is said.
func TestCheckImported(t *testing.T) {
	above, key, other := keyOf(t, KeyP256), keyOf(t, KeyP256), keyOf(t, KeyP256)
	_, ten, err := net.ParseCIDR("10.1.0.0/16")
	if err != nil {
		t.Fatal(err)
	}
	names := func(n lifecycle.NameConstraints) func(*lifecycle.IssuerTerms) {
		return func(t *lifecycle.IssuerTerms) { t.Names = n }
	}
	corp := names(lifecycle.NameConstraints{PermittedDNS: []string{"corp.test"}})
	dns := func(permitted ...string) func(*x509.Certificate) {
		return func(t *x509.Certificate) { t.PermittedDNSDomains, t.PermittedDNSDomainsCritical = permitted, true }
	}
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		terms  func(*lifecycle.IssuerTerms)
		want   string // in the refusal; "" = it is taken
		note   string // in the notes; "" = there are none
	}{
		{name: "as asked"},
		{name: "no CA", change: func(t *x509.Certificate) { t.IsCA, t.MaxPathLenZero = false, false }, want: "no CA certificate"},
		{name: "signs no CRLs", change: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageCertSign }, want: "may not sign certificates and CRLs"},
		{name: "signs documents", change: func(t *x509.Certificate) { t.KeyUsage |= x509.KeyUsageDigitalSignature }, note: "keyUsage allows more"},
		{name: "for servers only", change: func(t *x509.Certificate) { t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, note: "extended key usages"},
		{name: "an unknown critical extension", change: func(t *x509.Certificate) {
			t.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: derNull}}
		}, want: "critical extension"},

		{name: "expired", change: func(t *x509.Certificate) { t.NotAfter = timeOf(now.Add(-lifecycle.Minute)) }, want: "expired at"},
		{name: "of next week", change: func(t *x509.Certificate) { t.NotBefore = timeOf(now.Add(7 * lifecycle.Day)) }, want: "begins only at"},
		{name: "of the next hour", change: func(t *x509.Certificate) { t.NotBefore = timeOf(now.Add(lifecycle.Hour)) }, note: "nothing is issued before"},
		{name: "for a month", change: func(t *x509.Certificate) { t.NotAfter = timeOf(now.Add(30 * lifecycle.Day)) }, note: "ca_validity 1095d"},
		{name: "for thirty years", change: func(t *x509.Certificate) { t.NotAfter = timeOf(now.Add(30 * 365 * lifecycle.Day)) }, note: "ca_validity 1095d"},

		{name: "another subject", change: func(t *x509.Certificate) { t.Subject.CommonName = "group CA 17" }, note: "its subject is CN=group CA 17; the request asks for CN=ext 1"},
		{name: "no common name", change: func(t *x509.Certificate) { t.Subject = pkix.Name{Organization: []string{"Group"}} }, want: "no common name"},
		{name: "the subject of the CA above", change: func(t *x509.Certificate) { t.Subject = pkix.Name{CommonName: "group root"} }, want: "names itself as its issuer"},

		{name: "without a path length", change: func(t *x509.Certificate) { t.MaxPathLen, t.MaxPathLenZero = -1, false }, note: "it has no path length"},
		{name: "a longer path", change: func(t *x509.Certificate) { t.MaxPathLen, t.MaxPathLenZero = 2, false }, note: "path length 2"},
		{name: "too short a path", terms: func(t *lifecycle.IssuerTerms) { t.PathLen = 1 }, want: "path length 0 and the issuer's terms say 1"},

		{name: "the same names", change: dns("corp.test"), terms: corp},
		{name: "any name", terms: corp, want: "permits any DNS names, and the issuer's terms only corp.test"},
		{name: "other names", change: dns("corp.test", "other.test"), terms: corp, want: "permits the DNS names corp.test, other.test"},
		{name: "a wider name", change: dns("test"), terms: corp, want: "permits the DNS names test"},
		{name: "a name that only ends alike", change: dns("notcorp.test"), terms: corp, want: "permits the DNS names notcorp.test"},
		{name: "fewer names", change: dns("A.Corp.Test"), terms: corp, note: "permits only the DNS names a.corp.test; the issuer's terms permit corp.test"},
		{name: "names where any were asked for", change: dns("corp.test"), note: "permits only the DNS names corp.test; the issuer's terms permit any"},
		{name: "not critical", change: func(t *x509.Certificate) { t.PermittedDNSDomains = []string{"corp.test"} }, terms: corp, note: "not critical"},
		{name: "a smaller range", change: func(t *x509.Certificate) {
			t.PermittedIPRanges, t.PermittedDNSDomainsCritical = []*net.IPNet{ten}, true
		}, terms: names(lifecycle.NameConstraints{PermittedIPs: []string{"10.0.0.0/8"}}), note: "permits only the addresses 10.1.0.0/16"},
		{name: "a larger range", change: func(t *x509.Certificate) {
			t.PermittedIPRanges, t.PermittedDNSDomainsCritical = []*net.IPNet{ten}, true
		}, terms: names(lifecycle.NameConstraints{PermittedIPs: []string{"10.1.2.0/24"}}), want: "permits the addresses 10.1.0.0/16"},
		{name: "what must be excluded is not", terms: names(lifecycle.NameConstraints{ExcludedDNS: []string{"prod.corp.test"}}), want: "does not exclude the DNS names prod.corp.test"},
		{name: "more is excluded", change: func(t *x509.Certificate) {
			t.ExcludedDNSDomains, t.PermittedDNSDomainsCritical = []string{"corp.test"}, true
		}, terms: names(lifecycle.NameConstraints{ExcludedDNS: []string{"prod.corp.test"}}), note: "it excludes the DNS names corp.test"},
		{name: "two faults", change: func(t *x509.Certificate) { t.KeyUsage = 0 }, terms: corp, want: "keyCertSign and cRLSign); permits any"},
	} {
		asked := CAOrder{Terms: lifecycle.DefaultIssuerTerms(lifecycle.ExternalIssuer, "ext"), Subject: "ext 1", SPKI: spkiOf(t, key.Public()), Now: now}
		if c.terms != nil {
			c.terms(&asked.Terms)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ext 1"}, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
			KeyUsage: usageOfCA, NotBefore: timeOf(now.Add(-lifecycle.Hour)), NotAfter: timeOf(now.Add(asked.Terms.CAValidity))}
		if c.change != nil {
			c.change(template)
		}
		root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "group root"}}
		der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), above)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, notes, err := CheckImported(der, asked)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if said := strings.Join(notes, "\n"); c.note == "" && said != "" || !strings.Contains(said, c.note) {
			t.Errorf("%s: notes %q, want %q", c.name, said, c.note)
		}
		asked.SPKI = spkiOf(t, other.Public())
		if _, _, err := CheckImported(der, asked); err == nil || !strings.Contains(err.Error(), "another key") {
			t.Errorf("%s, for another key: %v", c.name, err)
		}
	}
	if _, _, err := CheckImported([]byte("no DER"), CAOrder{}); err == nil {
		t.Error("garbage was taken")
	}
}

// TestCovers: what one name constraint has of another, by the form of the names.
func TestCovers(t *testing.T) {
	for _, c := range []struct {
		covers       func(wide, narrow string) bool
		wide, narrow string
		want         bool
	}{
		{coversDomain, "a.test", "a.test", true}, {coversDomain, "a.test", "b.a.test", true}, {coversDomain, "a.test", ".a.test", true},
		{coversDomain, ".a.test", "b.a.test", true}, {coversDomain, ".a.test", "a.test", false}, {coversDomain, "a.test", "ba.test", false}, {coversDomain, "b.a.test", "a.test", false},
		{coversHost, "a.test", "a.test", true}, {coversHost, "a.test", "b.a.test", false}, {coversHost, ".a.test", "b.a.test", true}, {coversHost, ".a.test", "a.test", false},
		{coversEmail, "a.test", "x@a.test", true}, {coversEmail, "a.test", "x@A.Test", true}, {coversEmail, "x@a.test", "x@a.test", true}, {coversEmail, "x@a.test", "y@a.test", false},
		{coversEmail, "x@a.test", "a.test", false}, {coversEmail, ".a.test", "x@b.a.test", true}, {coversEmail, ".a.test", "x@a.test", false},
		{coversRange, "10.0.0.0/8", "10.1.0.0/16", true}, {coversRange, "10.1.0.0/16", "10.0.0.0/8", false}, {coversRange, "10.0.0.0/8", "::/0", false}, {coversRange, "::/0", "2001:db8::/32", true},
		{coversRange, "0.0.0.0/0", "a.test", false},
	} {
		if got := c.covers(c.wide, c.narrow); got != c.want {
			t.Errorf("%q covers %q: %v", c.wide, c.narrow, got)
		}
	}
}
