package hsm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestAlgorithmIdentifier compares with what crypto/x509 writes.
func TestAlgorithmIdentifier(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for alg, c := range map[lifecycle.Algorithm]struct {
		key  crypto.Signer
		name x509.SignatureAlgorithm
	}{lifecycle.ES256: {p256, x509.ECDSAWithSHA256}, lifecycle.ES384: {p384, x509.ECDSAWithSHA384}, lifecycle.EdDSA: {ed, x509.PureEd25519},
		lifecycle.RS256: {rsaKey, x509.SHA256WithRSA}, lifecycle.PS256: {rsaKey, x509.SHA256WithRSAPSS}} {
		template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour), SignatureAlgorithm: c.name}
		der, err := x509.CreateRevocationList(rand.Reader, template, &x509.Certificate{PublicKey: c.key.Public(), KeyUsage: x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}, c.key)
		if err != nil {
			t.Fatal(err)
		}
		id, err := hsm.AlgorithmIdentifier(alg)
		if err != nil || bytes.Count(der, id) != 2 { // inside and outside of what is signed
			t.Errorf("%s: %x, %v", alg, id, err)
		}
	}
	if _, err := hsm.AlgorithmIdentifier("HS256"); err == nil {
		t.Error("HS256 signs no certificate")
	}
}
