package publish

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// The modulus of the example in RFC 7638 section 3.1.
const rfc7638Modulus = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"

func decode(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestThumbprintVectors(t *testing.T) {
	for name, v := range map[string]struct {
		pub crypto.PublicKey
		kid string
	}{
		"RFC 7638 section 3.1": {&rsa.PublicKey{N: new(big.Int).SetBytes(decode(t, rfc7638Modulus)), E: 65537},
			"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		"RFC 8037 appendix A.3": {ed25519.PublicKey(fromHex(t, "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")),
			"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		spki, err := hsm.MarshalSPKI(v.pub)
		if err != nil {
			t.Fatal(name, err)
		}
		if kid, err := Thumbprint(spki); err != nil || kid != v.kid {
			t.Errorf("%s: kid %q, %v; want %q", name, kid, err, v.kid)
		}
	}
}

// Two libraries that share no code with us must read the same key and the same kid.
func TestJWKReadByOthers(t *testing.T) {
	for _, alg := range lifecycle.Algorithms {
		for range 20 { // coordinates with leading zeros turn up now and then
			spki := newKey(t, alg)
			kid, err := Thumbprint(spki)
			if err != nil || len(kid) != 43 {
				t.Fatalf("%s: kid %q, %v", alg, kid, err)
			}
			b, err := JWK(alg, kid, spki)
			if err != nil {
				t.Fatal(err)
			}
			checkJose(t, alg, b, kid, spki)
			checkJWX(t, alg, b, kid, spki)
			if alg.IsRSA() {
				break
			}
		}
	}
}

func checkJose(t *testing.T, alg lifecycle.Algorithm, b []byte, kid string, spki []byte) {
	t.Helper()
	var k jose.JSONWebKey
	if err := k.UnmarshalJSON(b); err != nil {
		t.Fatalf("go-jose reads %s: %v", b, err)
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil || b64(sum) != kid || k.KeyID != kid || k.Algorithm != string(alg) || k.Use != "sig" || !k.Valid() {
		t.Errorf("go-jose read %+v with thumbprint %s (%v), want %s", k, b64(sum), err, kid)
	}
	if back, err := hsm.MarshalSPKI(k.Key); err != nil || string(back) != string(spki) {
		t.Errorf("%s: go-jose read another key (%v)", alg, err)
	}
}

func checkJWX(t *testing.T, alg lifecycle.Algorithm, b []byte, kid string, spki []byte) {
	t.Helper()
	k, err := jwk.ParseKey(b)
	if err != nil {
		t.Fatalf("jwx reads %s: %v", b, err)
	}
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil || b64(sum) != kid {
		t.Errorf("jwx computes thumbprint %s (%v), want %s", b64(sum), err, kid)
	}
	if id, _ := k.KeyID(); id != kid {
		t.Errorf("jwx reads kid %q", id)
	}
	if a, ok := k.Algorithm(); !ok || a.String() != string(alg) {
		t.Errorf("jwx reads alg %v, want %s", a, alg)
	}
	var pub any
	if err := jwk.Export(k, &pub); err != nil {
		t.Fatal(err)
	}
	if back, err := hsm.MarshalSPKI(pub); err != nil || string(back) != string(spki) {
		t.Errorf("%s: jwx read another key (%v)", alg, err)
	}
}

func TestThumbprintRefuses(t *testing.T) {
	good := newKey(t, lifecycle.ES256)
	for name, spki := range map[string][]byte{
		"nothing": nil, "a byte more": append(append([]byte{}, good...), 0), "a byte less": good[:len(good)-1], "text": []byte("-----BEGIN"),
	} {
		if kid, err := Thumbprint(spki); err == nil {
			t.Errorf("%s: kid %q", name, kid)
		}
	}
}
