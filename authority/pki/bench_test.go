package pki

import (
	"crypto/x509"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkDraft is what a certificate costs before the HSM is asked: encode, try, lint.
func BenchmarkDraft(b *testing.B) {
	ca := newRoot(b, lifecycle.ES256).issuing(b, lifecycle.ES256, nil)
	der := csr(b, keyOf(b, KeyP256), "", Names{DNS: []string{"a.test"}})
	for b.Loop() {
		r, err := ParseCSR(der)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := ca.Draft(Order{Request: r, Requester: operator, Profile: Builtin("server"), Serial: serial(b), Now: now}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCreateCertificate is the bare library, for comparison.
func BenchmarkCreateCertificate(b *testing.B) {
	root := newRoot(b, lifecycle.ES256)
	key := keyOf(b, KeyP256)
	template := &x509.Certificate{SerialNumber: root.Cert.SerialNumber, NotBefore: root.Cert.NotBefore, NotAfter: root.Cert.NotAfter, DNSNames: []string{"a.test"}}
	for b.Loop() {
		if _, err := x509.CreateCertificate(nil, template, root.Cert, key.Public(), root.key); err != nil {
			b.Fatal(err)
		}
	}
}
