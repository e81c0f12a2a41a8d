//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// TestDecodePublic: tokens disagree on how a point is wrapped.
func TestDecodePublic(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	octets := append([]byte{0x04, byte(len(point))}, point...)
	ed := bytes.Repeat([]byte{7}, ed25519.PublicKeySize)
	for name, test := range map[string]struct {
		kind          uint
		first, second []byte
		ok            bool
	}{
		"P-256 wrapped":         {pkcs11.CKK_EC, oidP256, octets, true},
		"P-256 bare":            {pkcs11.CKK_EC, oidP256, point, true},
		"P-256 with a tail":     {pkcs11.CKK_EC, oidP256, append(bytes.Clone(octets), 0), false},
		"P-256 compressed":      {pkcs11.CKK_EC, oidP256, append([]byte{2}, point[1:33]...), false},
		"P-256 as P-384":        {pkcs11.CKK_EC, oidP384, octets, false},
		"infinity":              {pkcs11.CKK_EC, oidP256, []byte{4, 1, 0}, false},
		"off the curve":         {pkcs11.CKK_EC, oidP256, append(bytes.Clone(octets[:len(octets)-1]), octets[len(octets)-1]^1), false},
		"unknown curve":         {pkcs11.CKK_EC, []byte{6, 1, 1}, octets, false},
		"Ed25519 wrapped":       {ckkECEdwards, oidEd25519, append([]byte{4, 32}, ed...), true},
		"Ed25519 bare":          {ckkECEdwards, oidEd25519, ed, true},
		"Ed25519 by name":       {ckkECEdwards, []byte(ed25519PrintableParams), ed, true},
		"Ed448":                 {ckkECEdwards, []byte{6, 3, 0x2b, 0x65, 0x71}, ed, false},
		"RSA of 0 bits":         {pkcs11.CKK_RSA, nil, []byte{1, 0, 1}, false},
		"RSA, endless exponent": {pkcs11.CKK_RSA, bytes.Repeat([]byte{0xff}, 256), bytes.Repeat([]byte{0xff}, 99), false},
		"RSA":                   {pkcs11.CKK_RSA, bytes.Repeat([]byte{0xff}, 256), []byte{1, 0, 1}, true},
		"DSA":                   {pkcs11.CKK_DSA, nil, nil, false},
	} {
		pub, err := decodePublic(test.kind, test.first, test.second)
		if err == nil {
			_, err = hsm.MarshalSPKI(pub)
		}
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodePublic(f *testing.F) {
	f.Add(uint(pkcs11.CKK_EC), oidP256, append([]byte{4, 65, 4}, make([]byte, 64)...))
	f.Add(uint(ckkECEdwards), oidEd25519, append([]byte{4, 32}, make([]byte, 32)...))
	f.Add(uint(pkcs11.CKK_RSA), bytes.Repeat([]byte{0xff}, 256), []byte{1, 0, 1})
	f.Fuzz(func(t *testing.T, kind uint, first, second []byte) {
		pub, err := decodePublic(kind, first, second)
		if err != nil {
			return
		}
		spki, err := hsm.MarshalSPKI(pub)
		if err != nil {
			return
		}
		if _, err := hsm.ParseSPKI(spki); err != nil {
			t.Fatalf("made an SPKI that does not parse: %x: %v", spki, err)
		}
	})
}

func TestUlong(t *testing.T) {
	for _, n := range []int{0, 1, 3, 5, 7, 9} {
		if v, ok := ulong(make([]byte, n)); ok {
			t.Errorf("%d bytes read as %d", n, v)
		}
	}
}
