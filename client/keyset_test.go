package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// jwk is a public key as Chancery publishes it.
func jwk(t *testing.T, public any, alg lifecycle.Algorithm) jose.JSONWebKey {
	t.Helper()
	k := jose.JSONWebKey{Key: public, Algorithm: string(alg), Use: "sig"}
	thumb, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	k.KeyID = base64.RawURLEncoding.EncodeToString(thumb)
	return k
}

func keySetJSON(t *testing.T, keys ...jose.JSONWebKey) []byte {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parseKeySet(t *testing.T, keys ...jose.JSONWebKey) *KeySet {
	t.Helper()
	ks, err := ParseKeySet(keySetJSON(t, keys...))
	if err != nil {
		t.Fatal(err)
	}
	return ks
}

func TestKeySetVerifies(t *testing.T) {
	message := []byte("the message")
	digest := sha256.Sum256(message)
	ec, rsaKey := newKey(t), newRSA(t)
	edPublic, edPrivate, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	must := func(b []byte, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r, s, err := ecdsa.Sign(rand.Reader, ec, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	for _, c := range []struct {
		alg    lifecycle.Algorithm
		public any
		sig    []byte
		format string
	}{
		{lifecycle.ES256, ec.Public(), must(ecdsa.SignASN1(rand.Reader, ec, digest[:])), wire.FormatDER},
		{lifecycle.ES256, ec.Public(), raw, wire.FormatRaw},
		{lifecycle.RS256, rsaKey.Public(), must(rsa.SignPKCS1v15(rand.Reader, rsaKey, crypto.SHA256, digest[:])), ""},
		{lifecycle.PS256, rsaKey.Public(), must(rsa.SignPSS(rand.Reader, rsaKey, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: 32})), ""},
		{lifecycle.EdDSA, edPublic, ed25519.Sign(edPrivate, message), ""},
	} {
		key := jwk(t, c.public, c.alg)
		ks := parseKeySet(t, jwk(t, newKey(t).Public(), lifecycle.ES256), key)
		if kid, err := ks.Verify(bytes.NewReader(message), c.sig, c.format, ""); err != nil || kid != key.KeyID {
			t.Errorf("%s %s: kid %q, %v", c.alg, c.format, kid, err)
		}
		if _, err := ks.Verify(bytes.NewReader(message), c.sig, c.format, ks.KIDs()[0]); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with another kid: %v", c.alg, err)
		}
		if _, err := ks.Verify(strings.NewReader("another message"), c.sig, c.format, ""); !errors.Is(err, ErrSignature) {
			t.Errorf("%s over another message: %v", c.alg, err)
		}
		if _, err := ks.VerifyDigest(lifecycle.SHA256, digest[:], c.sig, c.format, key.KeyID[:8]); (err == nil) != (c.alg != lifecycle.EdDSA) {
			t.Errorf("%s over the digest: %v", c.alg, err)
		}
	}
}

func TestKeySetRefuses(t *testing.T) {
	good := jwk(t, newKey(t).Public(), lifecycle.ES256)
	otherKID, noAlg, wrongAlg := good, good, good
	otherKID.KeyID, noAlg.Algorithm, wrongAlg.Algorithm = "kid-1", "", "ES384"
	private := jwk(t, newKey(t), lifecycle.ES256)
	secret := jose.JSONWebKey{Key: []byte("0123456789abcdef"), Algorithm: "HS256", KeyID: "x"}
	for what, k := range map[string]jose.JSONWebKey{
		"a kid that is no thumbprint": otherKID, "no algorithm": noAlg, "another curve": wrongAlg,
		"a private key": private, "a shared secret": secret,
	} {
		if _, err := ParseKeySet(keySetJSON(t, good, k)); err == nil {
			t.Errorf("a set with %s was accepted", what)
		}
	}
	if _, err := ParseKeySet([]byte(`{"keys":7}`)); err == nil {
		t.Error("nonsense was accepted")
	}
}

func TestVerifyJWT(t *testing.T) {
	key := newKey(t)
	k := jwk(t, key.Public(), lifecycle.ES256)
	ks := parseKeySet(t, k)
	now := time.Unix(1_800_000_000, 0)
	sign := func(claims string, kid string, alg jose.SignatureAlgorithm, with any) string {
		t.Helper()
		opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", kid)
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: with}, opts)
		if err != nil {
			t.Fatal(err)
		}
		obj, err := signer.Sign([]byte(claims))
		if err != nil {
			t.Fatal(err)
		}
		s, err := obj.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	claims := func(format string, at int64) string { return fmt.Sprintf(format, now.Unix()+at) }
	good := sign(claims(`{"sub":"x","exp":%d}`, 300), k.KeyID, jose.ES256, key)
	c, err := ks.VerifyJWT(good, now)
	if err != nil || c.KID != k.KeyID || c.Type != "JWT" || !strings.Contains(string(c.Payload), `"sub":"x"`) {
		t.Fatalf("a good token: %+v, %v", c, err)
	}
	parts := strings.Split(good, ".")
	for what, token := range map[string]string{
		"expired":               sign(claims(`{"exp":%d}`, -61), k.KeyID, jose.ES256, key),
		"expired, EXP says not": sign(fmt.Sprintf(`{"exp":%d,"EXP":%d}`, now.Unix()-61, now.Unix()+900), k.KeyID, jose.ES256, key),
		"without exp":           sign(`{"sub":"x"}`, k.KeyID, jose.ES256, key),
		"exp is a text":         sign(`{"exp":"never"}`, k.KeyID, jose.ES256, key),
		"exp beyond all time":   sign(`{"exp":1e300}`, k.KeyID, jose.ES256, key),
		"not yet":               sign(fmt.Sprintf(`{"exp":%d,"nbf":%d}`, now.Unix()+300, now.Unix()+90), k.KeyID, jose.ES256, key),
		"from the future":       sign(fmt.Sprintf(`{"exp":%d,"iat":%d}`, now.Unix()+300, now.Unix()+90), k.KeyID, jose.ES256, key),
		"another kid":           sign(claims(`{"exp":%d}`, 300), "other", jose.ES256, key),
		"another key":           sign(claims(`{"exp":%d}`, 300), k.KeyID, jose.ES256, newKey(t)),
		"HMAC with the kid":     sign(claims(`{"exp":%d}`, 300), k.KeyID, jose.HS256, []byte("0123456789abcdef0123456789abcdef")),
		"none":                  base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+k.KeyID+`"}`)) + "." + parts[1] + ".",
		"cut":                   good[:len(good)-4],
		"no token":              "hello",
		"too long":              good + strings.Repeat("x", wire.MaxTokenBytes),
	} {
		if c, err := ks.VerifyJWT(token, now); err == nil {
			t.Errorf("%s: accepted %+v", what, c)
		}
	}
}

func TestFetchKeySet(t *testing.T) {
	k := jwk(t, newKey(t).Public(), lifecycle.ES256)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/keys/ci/jwks.json" {
			refuse(w, wire.KeyNotFound)
			return
		}
		_, _ = w.Write(keySetJSON(t, k)) // seen by the client
	}))
	defer s.Close()
	ks, err := FetchKeySet(s.Client(), s.URL+"/keys/ci/jwks.json")
	if err != nil || ks.KIDs()[0] != k.KeyID {
		t.Errorf("got %v, %v", ks, err)
	}
	if _, err := FetchKeySet(s.Client(), s.URL+"/keys/xx/jwks.json"); wire.CodeOf(err) != wire.KeyNotFound {
		t.Errorf("err = %v", err)
	}
}

func FuzzVerifyJWT(f *testing.F) {
	ks, err := ParseKeySet([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","use":"sig","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg")
	f.Add("e30..")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, token string) {
		if c, err := ks.VerifyJWT(token, time.Unix(0, 0)); err == nil {
			t.Fatalf("%q verifies: %+v", token, c) // nobody here has the private key
		}
	})
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AQ"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ks, err := ParseKeySet(b)
		if err != nil {
			return
		}
		for _, k := range ks.keys { // whatever is accepted is a public key that fits its algorithm
			if err := k.check(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ks.VerifyAny(strings.NewReader("x"), []byte("y"), ""); err == nil {
			t.Fatal("a signature of one byte verifies")
		}
	})
}
