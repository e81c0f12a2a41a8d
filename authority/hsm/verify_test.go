package hsm_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"math/big"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func spkiOf(t testing.TB, public crypto.PublicKey) []byte {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

func ecdsaKey(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestParsedKeyOwnsItsBytes: x509 returns Ed25519 keys as slices of the input, and
// the cache once kept one that pointed into a buffer the next request reused.
func TestParsedKeyOwnsItsBytes(t *testing.T) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki := spkiOf(t, public)
	buffer := bytes.Clone(spki)
	sig := ed25519.Sign(private, []byte("m"))
	if err := hsm.VerifySignature(lifecycle.EdDSA, buffer, []byte("m"), sig); err != nil {
		t.Fatal(err)
	}
	clear(buffer)
	if err := hsm.VerifySignature(lifecycle.EdDSA, spki, []byte("m"), sig); err != nil {
		t.Errorf("after the first caller reused its buffer: %v", err)
	}
}

func TestParseSPKIRefuses(t *testing.T) {
	p256 := spkiOf(t, &ecdsaKey(t, elliptic.P256()).PublicKey)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	x25519, err := hex.DecodeString("302a300506032b656e032100" + "0900000000000000000000000000000000000000000000000000000000000000")
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"nothing":          nil,
		"trailing byte":    append(bytes.Clone(p256), 0),
		"truncated":        p256[:len(p256)-1],
		"point off curve":  append(bytes.Clone(p256[:len(p256)-1]), p256[len(p256)-1]^1),
		"P-521":            spkiOf(t, &ecdsaKey(t, elliptic.P521()).PublicKey),
		"P-224":            spkiOf(t, &ecdsaKey(t, elliptic.P224()).PublicKey),
		"RSA 1024":         spkiOf(t, &weak.PublicKey),
		"RSA exponent 3":   spkiOf(t, &rsa.PublicKey{N: strong.N, E: 3}),
		"long-form length": append([]byte{0x30, 0x81, p256[1]}, p256[2:]...),
		"X25519":           x25519,
	} {
		if pub, err := hsm.ParseSPKI(bad); err == nil {
			t.Errorf("%s: accepted as %T", name, pub)
		}
	}
	for name, good := range map[string][]byte{
		"P-256": p256, "P-384": spkiOf(t, &ecdsaKey(t, elliptic.P384()).PublicKey), "RSA 2048": spkiOf(t, &strong.PublicKey),
	} {
		pub, err := hsm.ParseSPKI(good)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again, err := hsm.MarshalSPKI(pub); err != nil || !bytes.Equal(again, good) {
			t.Errorf("%s encodes to %x (%v), want %x", name, again, err, good)
		}
	}
}

func TestVerifySignatureSaysWhatIsWrong(t *testing.T) {
	key := ecdsaKey(t, elliptic.P256())
	spki := spkiOf(t, &key.PublicKey)
	digest := sha256.Sum256([]byte("m"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		alg   lifecycle.Algorithm
		input []byte
		want  error
	}{
		"right":             {lifecycle.ES256, digest[:], nil},
		"short digest":      {lifecycle.ES256, digest[:31], hsm.ErrInput},
		"another algorithm": {lifecycle.RS256, digest[:], hsm.ErrMismatch},
		"another curve":     {lifecycle.ES384, make([]byte, 48), hsm.ErrMismatch},
		"no algorithm":      {"", digest[:], hsm.ErrUnsupported},
		"HS256":             {"HS256", digest[:], hsm.ErrUnsupported},
	} {
		if err := hsm.VerifySignature(test.alg, spki, test.input, sig); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestPS256SaltLengthIsTheHash(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("m"))
	for _, salt := range []int{0, 20, 32, 64} {
		sig, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: salt})
		if err != nil && salt == 0 {
			continue // PSSSaltLengthAuto: as long as fits
		} else if err != nil {
			t.Fatal(err)
		}
		err = hsm.VerifySignature(lifecycle.PS256, spkiOf(t, &key.PublicKey), digest[:], sig)
		if ok := err == nil; ok != (salt == 32) {
			t.Errorf("salt of %d bytes: %v", salt, err)
		}
	}
}

// TestECDSAForms converts edge values both ways and holds DER to its strict form.
func TestECDSAForms(t *testing.T) {
	order := elliptic.P256().Params().N
	for _, r := range []*big.Int{big.NewInt(1), big.NewInt(127), big.NewInt(128), big.NewInt(256), new(big.Int).Sub(order, big.NewInt(1)), new(big.Int).Rsh(order, 9)} {
		raw := make([]byte, 64)
		r.FillBytes(raw[:32])
		big.NewInt(0x80).FillBytes(raw[32:])
		der, err := hsm.DERFromRaw(raw)
		if err != nil {
			t.Fatal(err)
		}
		back, err := hsm.RawECDSA(lifecycle.ES256, der)
		if err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%x -> %x -> %x, %v", raw, der, back, err)
		}
	}
	for name, der := range map[string]string{
		"empty":             "",
		"one integer":       "3003020101",
		"three integers":    "3009020101020101020101",
		"trailing byte":     "300602010102010100",
		"negative r":        "3006020181020101",
		"padded r":          "300702020001020101",
		"empty integer":     "300502000201" + "01",
		"long-form length":  "308106020101020101",
		"indefinite length": "30800201010201010000",
		"r of 33 bytes":     "302602210100000000000000000000000000000000000000000000000000000000000000000201" + "01",
	} {
		in, err := hex.DecodeString(der)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err := hsm.RawECDSA(lifecycle.ES256, in); !errors.Is(err, hsm.ErrSignature) {
			t.Errorf("%s: %x, %v; want ErrSignature", name, raw, err)
		}
	}
	for _, n := range []int{0, 1, 63, 98} {
		if _, err := hsm.DERFromRaw(make([]byte, n)); !errors.Is(err, hsm.ErrSignature) {
			t.Errorf("DER from %d bytes: %v", n, err)
		}
	}
	if _, err := hsm.RawECDSA(lifecycle.EdDSA, nil); !errors.Is(err, hsm.ErrUnsupported) {
		t.Errorf("raw form of EdDSA: %v", err)
	}
}

func FuzzRawECDSA(f *testing.F) {
	f.Add([]byte{0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01})
	f.Add([]byte{0x30, 0x08, 0x02, 0x02, 0x00, 0x80, 0x02, 0x02, 0x00, 0xff})
	f.Fuzz(func(t *testing.T, der []byte) {
		for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384} {
			raw, err := hsm.RawECDSA(alg, der)
			if err != nil {
				continue
			}
			if again, err := hsm.DERFromRaw(raw); err != nil || !bytes.Equal(again, der) {
				t.Fatalf("%s accepted %x, which is %x in strict DER (%v)", alg, der, again, err)
			}
		}
	})
}

func FuzzParseSPKI(f *testing.F) {
	f.Add(spkiOf(f, &ecdsaKey(f, elliptic.P256()).PublicKey))
	f.Add(spkiOf(f, ed25519.PublicKey(make([]byte, 32))))
	f.Fuzz(func(t *testing.T, spki []byte) {
		pub, err := hsm.ParseSPKI(spki)
		if err != nil {
			return
		}
		if again, err := hsm.MarshalSPKI(pub); err != nil || !bytes.Equal(again, spki) {
			t.Fatalf("accepted %x, which encodes to %x (%v)", spki, again, err)
		}
	})
}

func BenchmarkVerifyES256(b *testing.B) {
	key := ecdsaKey(b, elliptic.P256())
	spki := spkiOf(b, &key.PublicKey)
	digest := sha256.Sum256([]byte("m"))
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := hsm.VerifySignature(lifecycle.ES256, spki, digest[:], sig); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
				b.Fatal("does not verify")
			}
		}
	})
}
