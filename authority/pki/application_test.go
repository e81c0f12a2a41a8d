package pki

import (
	"crypto/x509"
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
