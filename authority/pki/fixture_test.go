package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var now = lifecycle.Instant(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli())

// testCA is an instance of an issuer whose key lies in memory.
type testCA struct {
	*CA
	key crypto.Signer
	alg lifecycle.Algorithm
}

func serial(t testing.TB) lifecycle.Serial {
	t.Helper()
	var random [13]byte
	if _, err := rand.Read(random[:]); err != nil {
		t.Fatal(err)
	}
	return lifecycle.NewSerial(now, random)
}

var rsaKeys = map[int]func() *rsa.PrivateKey{}

func init() {
	for _, bits := range []int{1024, 2048, 3072, 4096} {
		rsaKeys[bits] = sync.OnceValue(func() *rsa.PrivateKey {
			key, err := rsa.GenerateKey(rand.Reader, bits)
			if err != nil {
				panic(err)
			}
			return key
		})
	}
}

// keyOf makes a key of one of KeyTypes; RSA keys are made once.
func keyOf(t testing.TB, kind string) crypto.Signer {
	t.Helper()
	var key crypto.Signer
	var err error
	switch kind {
	case KeyP256:
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case KeyP384:
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case KeyEd25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	case KeyRSA2048:
		key = rsaKeys[2048]()
	case KeyRSA3072:
		key = rsaKeys[3072]()
	case KeyRSA4096:
		key = rsaKeys[4096]()
	}
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func algKey(alg lifecycle.Algorithm) string {
	switch alg {
	case lifecycle.ES384:
		return KeyP384
	case lifecycle.EdDSA:
		return KeyEd25519
	case lifecycle.RS256, lifecycle.PS256:
		return KeyRSA2048
	}
	return KeyP256
}

func spkiOf(t testing.TB, key crypto.PublicKey) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// sign does what an HSM would, for each algorithm.
func (c *testCA) sign(t testing.TB, d *Draft) *x509.Certificate {
	t.Helper()
	return finish(t, d, c.key, c.alg)
}

func finish(t testing.TB, d *Draft, key crypto.Signer, alg lifecycle.Algorithm) *x509.Certificate {
	t.Helper()
	der, err := d.Assemble(signWith(t, key, alg, d.TBS))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// signWith signs as a key store does.
func signWith(t testing.TB, key crypto.Signer, alg lifecycle.Algorithm, tbs []byte) []byte {
	t.Helper()
	in, opts := tbs, crypto.SignerOpts(crypto.Hash(0))
	if h := map[lifecycle.Hash]crypto.Hash{lifecycle.SHA256: crypto.SHA256, lifecycle.SHA384: crypto.SHA384}[alg.Hash()]; h != 0 {
		sum := h.New()
		sum.Write(tbs)
		in, opts = sum.Sum(nil), h
	}
	if alg == lifecycle.PS256 {
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	sig, err := key.Sign(rand.Reader, in, opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := hsm.VerifySignature(alg, spkiOf(t, key.Public()), in, sig); err != nil {
		t.Fatal(err)
	}
	return sig
}

// newRoot makes a root and newIssuing an issuing CA below one, both through drafts.
func newRoot(t testing.TB, alg lifecycle.Algorithm) *testCA {
	t.Helper()
	return rootWith(t, alg, lifecycle.NameConstraints{})
}

func rootWith(t testing.TB, alg lifecycle.Algorithm, names lifecycle.NameConstraints) *testCA {
	t.Helper()
	key := keyOf(t, algKey(alg))
	terms := lifecycle.DefaultIssuerTerms(lifecycle.RootIssuer, "corp root")
	terms.Names = names
	d, err := DraftRoot(CAOrder{Terms: terms, Subject: "corp root",
		SPKI: spkiOf(t, key.Public()), Serial: serial(t), Now: now}, alg)
	if err != nil {
		t.Fatal(err)
	}
	cert := finish(t, d, key, alg)
	ca, err := NewCA(cert, alg, Links{CA: "http://pki.test/root.crt", CRL: "http://pki.test/root.crl", OCSP: "http://pki.test/ocsp"})
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{ca, key, alg}
}

func (c *testCA) issuing(t testing.TB, alg lifecycle.Algorithm, change func(*lifecycle.IssuerTerms)) *testCA {
	t.Helper()
	key := keyOf(t, algKey(alg))
	terms := lifecycle.DefaultIssuerTerms(lifecycle.IssuingIssuer, "corp issuing")
	if change != nil {
		change(&terms)
	}
	d, err := c.DraftCA(CAOrder{Terms: terms, Subject: "corp issuing " + serial(t).String()[32:], SPKI: spkiOf(t, key.Public()), Serial: serial(t), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := NewCA(c.sign(t, d), alg, Links{CA: "http://pki.test/a.crt", CRL: "http://pki.test/a.crl", OCSP: "http://pki.test/ocsp"}, c.Cert)
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{ca, key, alg}
}

// csr makes a request with crypto/x509.
func csr(t testing.TB, key crypto.Signer, cn string, n Names) []byte {
	t.Helper()
	template := &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, DNSNames: n.DNS, EmailAddresses: n.Emails}
	for _, s := range n.IPs {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(s))
	}
	for _, s := range n.URIs {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func request(t testing.TB, key crypto.Signer, cn string, n Names) *Request {
	t.Helper()
	r, err := ParseCSR(csr(t, key, cn, n))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var operator = Requester{Name: "olga", Roles: []lifecycle.Role{lifecycle.Operator}}
