package pki

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestApply puts a request together with every algorithm an issuer may have, and reads it
// with crypto/x509: subject, extensions and the signature are as they should be.
func TestApply(t *testing.T) {
	for alg, kind := range map[lifecycle.Algorithm]string{lifecycle.ES256: KeyP256, lifecycle.ES384: KeyP384, lifecycle.RS256: KeyRSA2048, lifecycle.PS256: KeyRSA2048} {
		key := keyOf(t, kind)
		terms := lifecycle.DefaultIssuerTerms(lifecycle.ExternalIssuer, "ext")
		terms.Organization, terms.Names.PermittedDNS = "Example", []string{"corp.test"}
		a, err := Apply(CAOrder{Terms: terms, Subject: "ext 1a2b3c4d", SPKI: spkiOf(t, key.Public()), Serial: serial(t), Now: now}, alg)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		der, err := a.Assemble(signWith(t, key, alg, a.TBS))
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		csr, err := x509.ParseCertificateRequest(der)
		if err != nil || csr.CheckSignature() != nil {
			t.Fatalf("%s: %v, %v", alg, err, csr.CheckSignature())
		}
		if got := csr.Subject.String(); got != "CN=ext 1a2b3c4d,O=Example" {
			t.Errorf("%s: subject %s", alg, got)
		}
		var ids []string
		for _, e := range csr.Extensions {
			ids = append(ids, e.Id.String())
		}
		if got := strings.Join(ids, " "); got != "2.5.29.15 2.5.29.19 2.5.29.14 2.5.29.30" {
			t.Errorf("%s: extensions %s", alg, got)
		}
	}
}

// TestCheckImported refuses what a CA elsewhere may send back and no verifier would take.
func TestCheckImported(t *testing.T) {
	key, other := keyOf(t, KeyP256), keyOf(t, KeyP256)
	terms := lifecycle.DefaultIssuerTerms(lifecycle.ExternalIssuer, "ext")
	for _, c := range []struct {
		name   string
		change func(*x509.Certificate)
		terms  func(*lifecycle.IssuerTerms)
		want   string // "" = it is taken
	}{
		{name: "good"},
		{name: "without a path length", change: func(t *x509.Certificate) { t.MaxPathLen, t.MaxPathLenZero = -1, false }},
		{name: "no CA", change: func(t *x509.Certificate) { t.IsCA, t.MaxPathLenZero = false, false }, want: "no CA certificate"},
		{name: "signs no CRLs", change: func(t *x509.Certificate) { t.KeyUsage = x509.KeyUsageCertSign }, want: "may not sign certificates and CRLs"},
		{name: "expired", change: func(t *x509.Certificate) { t.NotAfter = timeOf(now.Add(-lifecycle.Minute)) }, want: "expired at"},
		{name: "of next week", change: func(t *x509.Certificate) { t.NotBefore = timeOf(now.Add(7 * lifecycle.Day)) }, want: "begins only at"},
		{name: "too short a path", terms: func(t *lifecycle.IssuerTerms) { t.PathLen = 1 }, want: "path length 0 and the issuer's terms say 1"},
		{name: "an unknown critical extension", change: func(t *x509.Certificate) {
			t.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3, 4}, Critical: true, Value: derNull}}
		}, want: "critical extension"},
	} {
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ext 1"}, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, NotBefore: timeOf(now.Add(-lifecycle.Hour)), NotAfter: timeOf(now.Add(lifecycle.Day))}
		if c.change != nil {
			c.change(template)
		}
		asked := terms
		if c.terms != nil {
			c.terms(&asked)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		_, err = CheckImported(der, spkiOf(t, key.Public()), &asked, now)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if _, err := CheckImported(der, spkiOf(t, other.Public()), &asked, now); err == nil || !strings.Contains(err.Error(), "another key") {
			t.Errorf("%s, for another key: %v", c.name, err)
		}
	}
	if _, err := CheckImported([]byte("no DER"), nil, &terms, now); err == nil {
		t.Error("garbage was taken")
	}
}
