// Package pkitest is a small certificate authority in memory, for tests of what is
// published about certificates: CRLs, OCSP answers, chains. It is made with crypto/x509
// alone, so that nothing is tested against itself.
package pkitest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// CA is one instance of an issuer.
type CA struct {
	KID    string
	Key    crypto.Signer
	Cert   *x509.Certificate
	Parent *CA // nil for a root
}

// Leaf is a certificate for an end entity.
type Leaf struct {
	Issuer *CA
	Key    *ecdsa.PrivateKey
	Cert   *x509.Certificate
}

// Root makes a root that began an hour ago.
func Root(t testing.TB, name string) *CA {
	return newCA(t, nil, name)
}

// Issuing makes an instance below c, under a subject of its own.
func (c *CA) Issuing(t testing.TB, name string) *CA {
	return newCA(t, c, name)
}

func newCA(t testing.TB, parent *CA, name string) *CA {
	t.Helper()
	return certified(t, parent, name, Key(t))
}

// certified makes the CA certificate of a key.
func certified(t testing.TB, parent *CA, name string, own crypto.Signer) *CA {
	t.Helper()
	c := &CA{Key: own, Parent: parent, KID: kid(t, own)}
	ttl := 24 * time.Hour
	if parent == nil {
		ttl *= 2 // it is made first, and nothing may outlive it
	}
	template := Template(name, ttl)
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	by, key := template, c.Key
	if parent != nil {
		by, key = parent.Cert, parent.Key
		template.MaxPathLenZero = true
	}
	c.Cert = create(t, template, by, c.Key, key)
	return c
}

// Issue makes a certificate for a host, that change may add to.
func (c *CA) Issue(t testing.TB, host string, change func(*x509.Certificate)) *Leaf {
	t.Helper()
	template := Template(host, 12*time.Hour)
	template.DNSNames = []string{host}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(template)
	}
	key := Key(t)
	return &Leaf{Issuer: c, Key: key, Cert: create(t, template, c.Cert, key, c.Key)}
}

// Responder makes a certificate for OCSP signing.
func (c *CA) Responder(t testing.TB, key *ecdsa.PrivateKey, ttl time.Duration) []byte {
	t.Helper()
	template := Template("ocsp", ttl)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}
	template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}, Value: []byte{5, 0}}} // no check
	return create(t, template, c.Cert, key, c.Key).Raw
}

// Serial is the leaf's, as the state knows it.
func (l *Leaf) Serial() lifecycle.Serial {
	s, _ := lifecycle.SerialOf(l.Cert.SerialNumber.Bytes())
	return s
}

// Template is a certificate with a fresh serial that began an hour ago.
func Template(name string, ttl time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial(now)), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ttl)}
}

func serial(now time.Time) []byte {
	var random [13]byte
	_, _ = rand.Read(random[:]) // crypto/rand does not fail
	s := lifecycle.NewSerial(lifecycle.Instant(now.UnixMilli()), random)
	return s[:]
}

// Key makes a P-256 key.
func Key(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func create(t testing.TB, template, parent *x509.Certificate, key, by crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func kid(t testing.TB, key crypto.Signer) string {
	t.Helper()
	kid, err := publish.Thumbprint(spki(t, key))
	if err != nil {
		t.Fatal(err)
	}
	return kid
}

func spki(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// WritePEM writes certificates, or CRLs, into one file of dir and gives its path.
func WritePEM(t testing.TB, dir, name, kind string, ders ...[]byte) string {
	t.Helper()
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})...)
	}
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Run runs a tool and gives what it printed, both outputs together. The tool must be
// installed: scripts/deps does it.
func Run(t testing.TB, tool string, args ...string) (output string, err error) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is needed for this test: run scripts/deps", tool)
	}
	cmd := exec.Command(path, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

// SignMessage signs with the CA's key, as ES256.
func (c *CA) SignMessage(t testing.TB, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	signature, err := c.Key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}
