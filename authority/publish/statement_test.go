package publish

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"math/big"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func newAttestor(t testing.TB) (*Attestor, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: noon, NotAfter: noon.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a := NewAttestor()
	if err := a.Use(StatusKey{Node: "n", Private: key, Leaf: der, NotAfter: template.NotAfter}); err != nil {
		t.Fatal(err)
	}
	return a, key
}

// TestStatementsVerify asks an independent library, often enough to meet an r or s
// with leading zeros.
func TestStatementsVerify(t *testing.T) {
	a, key := newAttestor(t)
	const payload = `{"status":"good"}`
	for range 600 {
		s, err := a.Sign(t.Context(), "x+jwt", []byte(payload), noon)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jose.ParseSignedCompact(s, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parsed.Verify(key.Public()); err != nil || string(got) != payload || parsed.Signatures[0].Protected.ExtraHeaders[jose.HeaderType] != "x+jwt" {
			t.Fatalf("go-jose: %s, %v", got, err)
		}
	}
	if a.Signed.Load() != 600 {
		t.Errorf("%d counted", a.Signed.Load())
	}
}

func TestAttestorWithoutAKey(t *testing.T) {
	var none *Attestor
	if _, _, ok := none.Ready(noon); ok {
		t.Error("no attestor is ready")
	}
	if _, err := NewAttestor().Sign(t.Context(), "t", nil, noon); !errors.Is(err, ErrNoStatusKey) {
		t.Errorf("no key: %v", err)
	}
	a, key := newAttestor(t)
	if until, node, ok := a.Ready(noon); !ok || node != "n" || !until.Equal(noon.Add(time.Hour)) {
		t.Errorf("ready %v, %s until %s", ok, node, until)
	}
	if _, err := a.Sign(t.Context(), "t", nil, noon.Add(time.Hour)); !errors.Is(err, ErrNoStatusKey) {
		t.Errorf("an expired certificate: %v", err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, k := range map[string]StatusKey{"no key": {Leaf: []byte{1}}, "no certificate": {Private: key}, "P-384": {Private: other, Leaf: []byte{1}}} {
		if err := a.Use(k); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func TestAttestorWithAWrongClock(t *testing.T) {
	a, _ := newAttestor(t)
	a.Dated = func() error { return errors.New("off by a year") }
	if _, err := a.Sign(t.Context(), "t", nil, noon); !errors.Is(err, ErrNotDated) {
		t.Errorf("signed: %v", err)
	}
}

// TestSigningIsBounded: with every slot taken a statement is refused soon, whoever
// asks, and a caller who goes away is not waited for.
func TestSigningIsBounded(t *testing.T) {
	a, _ := newAttestor(t)
	for range cap(a.slots) {
		a.slots <- struct{}{}
	}
	if _, err := a.Sign(t.Context(), "t", nil, noon); !errors.Is(err, ErrSigningBusy) {
		t.Errorf("no slot: %v", err)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Sign(gone, "t", nil, noon); !errors.Is(err, context.Canceled) {
		t.Errorf("nobody is there: %v", err)
	}
	<-a.slots
	if _, err := a.Sign(t.Context(), "t", nil, noon); err != nil || len(a.slots) != cap(a.slots)-1 {
		t.Errorf("a slot is free: %v, %d taken", err, len(a.slots))
	}
}

// TestANewCertificateIsUsed while statements are being signed.
func TestANewCertificateIsUsed(t *testing.T) {
	a, key := newAttestor(t)
	var signers sync.WaitGroup
	for range 4 {
		signers.Go(func() {
			for range 50 {
				if _, err := a.Sign(context.Background(), "t", []byte("{}"), noon); err != nil && !errors.Is(err, ErrSigningBusy) {
					t.Error(err)
				}
			}
		})
	}
	if err := a.Use(StatusKey{Node: "n", Private: key, Leaf: []byte("another"), NotAfter: noon.Add(2 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	signers.Wait()
	s, err := a.Sign(t.Context(), "t", []byte("{}"), noon.Add(90*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	if first := strings.Split(s, ".")[0]; !strings.Contains(decoded(t, first), `"YW5vdGhlcg=="`) {
		t.Errorf("header %s", first)
	}
}

func decoded(t *testing.T, s string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func BenchmarkSign(b *testing.B) {
	a, _ := newAttestor(b)
	payload := []byte(strings.Repeat("x", 600))
	for b.Loop() {
		if _, err := a.Sign(b.Context(), "t", payload, noon); err != nil {
			b.Fatal(err)
		}
	}
}
