package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

func TestParseCSR(t *testing.T) {
	names := Names{DNS: []string{"a.test", "*.b.test"}, IPs: []string{"10.1.2.3", "fd00::1"}, URIs: []string{"spiffe://corp.test/x"}, Emails: []string{"a@b.test"}}
	for _, kind := range KeyTypes {
		der := csr(t, keyOf(t, kind), "a.test", names)
		for form, b := range map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})} {
			r, err := ParseCSR(b)
			if err != nil {
				t.Errorf("%s, %s: %v", kind, form, err)
				continue
			}
			if r.KeyType != kind || r.CommonName != "a.test" || !reflect.DeepEqual(r.Names, names) {
				t.Errorf("%s, %s: %+v", kind, form, r)
			}
		}
	}
}

// TestExtensionsIgnored shows that a request cannot make itself a CA.
func TestExtensionsIgnored(t *testing.T) {
	value, err := cryptobyteBytes(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddASN1Boolean(true) })
	})
	if err != nil {
		t.Fatal(err)
	}
	key := keyOf(t, KeyP256)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.test"},
		ExtraExtensions: []pkix.Extension{{Id: []int{2, 5, 29, 19}, Critical: true, Value: value}}}, key)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseCSR(der)
	if err != nil {
		t.Fatal(err)
	}
	ca := newRoot(t, "ES256").issuing(t, "ES256", nil)
	d, err := ca.Draft(Order{Request: r, Requester: operator, Profile: Builtin("server"), Serial: serial(t), Now: now})
	if err != nil {
		t.Fatal(err)
	}
	if c := ca.sign(t, d); c.IsCA || c.KeyUsage&x509.KeyUsageCertSign != 0 {
		t.Error("the request made itself a CA")
	}
}

func cryptobyteBytes(fn func(*cryptobyte.Builder)) ([]byte, error) {
	var b cryptobyte.Builder
	fn(&b)
	return b.Bytes()
}

func TestRefusedCSRs(t *testing.T) {
	good := csr(t, keyOf(t, KeyP256), "", Names{DNS: []string{"a.test"}})
	forged := bytes.Clone(good)
	forged[len(forged)-5] ^= 1
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := cryptobyteBytes(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(cbasn1.Tag(8).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte{0x2a, 3}) }) // registeredID
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	odd, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		ExtraExtensions: []pkix.Extension{{Id: oidSubjectAltName, Value: other}}}, keyOf(t, KeyP256))
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	for name, c := range map[string]struct {
		in   []byte
		says string
	}{
		"empty":               {nil, "0 bytes"},
		"oversize":            {make([]byte, MaxCSRBytes+1), "allowed are 1 to"},
		"text":                {[]byte("hello"), "neither DER nor PEM"},
		"another block":       {block("CERTIFICATE", good), "CERTIFICATE REQUEST is needed"},
		"two blocks":          {append(block("CERTIFICATE REQUEST", good), block("CERTIFICATE REQUEST", good)...), "something follows"},
		"cut off":             {good[:len(good)-1], "not a PKCS#10 request"},
		"bytes behind":        {append(bytes.Clone(good), 0), "not a PKCS#10 request"},
		"no possession":       {forged, "does not hold the private key"},
		"curve":               {csr(t, p224, "", Names{}), "curve P-224"},
		"small RSA key":       {csr(t, rsaKeys[1024](), "", Names{}), "1024 bits"},
		"other kinds of name": {odd, "leave it out"},
	} {
		if _, err := ParseCSR(c.in); !errors.Is(err, ErrRequest) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

// TestOpenSSLRequest reads what openssl req makes.
func TestOpenSSLRequest(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "csr.pem")
	if b, err := exec.Command("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a.test",
		"-addext", "subjectAltName=DNS:a.test,IP:10.0.0.1", "-keyout", filepath.Join(dir, "key.pem"), "-out", out).CombinedOutput(); err != nil {
		t.Fatalf("openssl req (scripts/deps installs it): %v\n%s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ParseCSR(b); err != nil || r.CommonName != "a.test" || len(r.Names.DNS) != 1 || len(r.Names.IPs) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestWeakRSA(t *testing.T) {
	n, ok := new(big.Int), false
	if n, ok = n.SetString(rocaModulus, 16); !ok {
		t.Fatal("bad constant")
	}
	prime, err := rand.Prime(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	near := new(big.Int).Add(prime, big.NewInt(2))
	for !near.ProbablyPrime(20) {
		near.Add(near, big.NewInt(2))
	}
	good := rsaKeys[2048]().N
	for name, c := range map[string]struct {
		key  rsa.PublicKey
		want error
	}{
		"good":         {rsa.PublicKey{N: good, E: 65537}, nil},
		"exponent 3":   {rsa.PublicKey{N: good, E: 3}, errExponent},
		"factor 743":   {rsa.PublicKey{N: new(big.Int).Mul(prime, new(big.Int).Mul(prime, big.NewInt(743))), E: 65537}, errFactor},
		"ROCA":         {rsa.PublicKey{N: n, E: 65537}, errROCA},
		"close primes": {rsa.PublicKey{N: new(big.Int).Mul(prime, near), E: 65537}, errFermat},
	} {
		if err := checkRSA(&c.key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzParseCSR(f *testing.F) {
	f.Add(csr(f, keyOf(f, KeyP256), "a.test", Names{DNS: []string{"a.test"}, URIs: []string{"spiffe://a/b"}}))
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr(f, keyOf(f, KeyEd25519), "", Names{IPs: []string{"::1"}})}))
	f.Add(csr(f, keyOf(f, KeyRSA2048), "x", Names{Emails: []string{"a@b.test"}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ParseCSR(in)
		if err != nil {
			return
		}
		if n, err := r.Names.Normalize(); err == nil {
			again, err := n.Normalize()
			if err != nil || !reflect.DeepEqual(again, n) {
				t.Errorf("%+v becomes %+v: %v", n, again, err)
			}
		}
	})
}
