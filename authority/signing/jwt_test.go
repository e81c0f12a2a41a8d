package signing_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestJWT(t *testing.T) {
	w := build(t)
	i := w.create("ci-tokens", lifecycle.ForToken, lifecycle.ES256, func(p *lifecycle.Policy) {
		p.Issuer, p.Audiences, p.Types = "https://issuer.test", []string{"a", "b"}, []string{"at+jwt", "JWT"}
	})
	tok, err := w.signer.SignJWT(ctx, w.request("ci-tokens"), []byte(`{"sub":"build-7","aud":["a","b"],"n":{"deep":[1,2.5]},"html":"<&>"}`), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	// Read by another library, with nothing but the public key.
	pub, err := hsm.ParseSPKI(i.SPKI)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(tok.Compact, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := parsed.Claims(pub, &claims); err != nil {
		t.Fatal(err)
	}
	h := parsed.Headers[0]
	now := w.ledger.Clock().Now().Unix()
	if h.KeyID != i.KID || h.Algorithm != "ES256" || h.ExtraHeaders["typ"] != "at+jwt" || claims["sub"] != "build-7" || claims["iss"] != "https://issuer.test" ||
		claims["iat"] != float64(now) || claims["exp"] != float64(now+300) || claims["html"] != "<&>" {
		t.Errorf("header %+v, claims %v", h, claims)
	}
	if tok.Type != "at+jwt" || tok.KID != i.KID {
		t.Errorf("token = %+v", tok)
	}
	for name, c := range map[string]struct {
		claims, typ, want string
		ttl               lifecycle.Milliseconds
	}{
		"not JSON":          {`{`, "", "claims_refused", 0},
		"no object":         {`[1]`, "", "claims_refused", 0},
		"trailing":          {`{"aud":"a"} {}`, "", "claims_refused", 0},
		"twice":             {`{"aud":"a","aud":"b"}`, "", "claims_refused", 0},
		"twice inside":      {`{"aud":"a","x":{"y":1,"y":2}}`, "", "claims_refused", 0},
		"deep":              {`{"aud":"a","x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "", "claims_refused", 0},
		"large":             {`{"x":"` + strings.Repeat("a", signing.MaxClaimsBytes) + `"}`, "", "too_large", 0},
		"no audience":       {`{}`, "", "claims_refused", 0},
		"other audience":    {`{"aud":["a","evil"]}`, "", "claims_refused", 0},
		"audience a number": {`{"aud":7}`, "", "claims_refused", 0},
		"other issuer":      {`{"aud":"a","iss":"evil"}`, "", "claims_refused", 0},
		"other type":        {`{"aud":"a"}`, "evil+jwt", "claims_refused", 0},
		"expired":           {`{"aud":"a","exp":1}`, "", "claims_refused", 0},
		"exp a text":        {`{"aud":"a","exp":"soon"}`, "", "claims_refused", 0},
		"exp too late":      {fmt.Sprintf(`{"aud":"a","exp":%d}`, now+7200), "", "claims_refused", 0},
		"ttl too long":      {`{"aud":"a"}`, "", "claims_refused", 2 * lifecycle.Hour},
		"issued tomorrow":   {fmt.Sprintf(`{"aud":"a","iat":%d}`, now+86400), "", "claims_refused", 0},
		"not before exp":    {fmt.Sprintf(`{"aud":"a","nbf":%d}`, now+86400), "", "claims_refused", 0},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.signer.SignJWT(ctx, w.request("ci-tokens"), []byte(c.claims), c.typ, c.ttl)
			code(t, err, c.want)
		})
	}
	_, err = w.signer.Sign(ctx, w.request("ci-tokens"), []signing.Input{hello})
	code(t, err, "wrong_purpose")
	_, err = w.signer.SignJWS(ctx, w.request("ci-tokens"), []signing.Input{hello})
	code(t, err, "wrong_purpose")
}

// TestWrongClock: a node whose clock is wrong signs no token, and what bears no date.
func TestWrongClock(t *testing.T) {
	w := build(t)
	w.create("ci-tokens", lifecycle.ForToken, lifecycle.ES256, nil)
	w.clock = errors.New("off by a year")
	before := w.store.Calls(hsmtest.OpSign)
	_, err := w.signer.SignJWT(ctx, w.request("ci-tokens"), []byte(`{}`), "", 0)
	code(t, err, "clock_unsure")
	if w.store.Calls(hsmtest.OpSign) != before || w.audit.count(audit.SignRefused) != 1 {
		t.Errorf("the key was used %d times, %d refusals are in the audit", w.store.Calls(hsmtest.OpSign)-before, w.audit.count(audit.SignRefused))
	}
	if _, err := w.signer.Sign(ctx, w.request("ci"), []signing.Input{hello}); err != nil {
		t.Errorf("a message: %v", err)
	}
	w.clock = nil
	if _, err := w.signer.SignJWT(ctx, w.request("ci-tokens"), []byte(`{}`), "", 0); err != nil {
		t.Error(err)
	}
}

func TestJWS(t *testing.T) {
	w := build(t)
	i := w.create("ci-jws", lifecycle.ForArtifact, lifecycle.ES384, func(p *lifecycle.Policy) { p.Inputs = []string{lifecycle.InputJWS} })
	items, err := w.signer.SignJWS(ctx, w.request("ci-jws"), []signing.Input{hello, {Message: []byte("two")}})
	if err != nil || len(items) != 2 {
		t.Fatal(err)
	}
	pub, err := hsm.ParseSPKI(i.SPKI)
	if err != nil {
		t.Fatal(err)
	}
	for n, payload := range []string{"hello", "two"} {
		parsed, err := jose.ParseDetached(string(items[n].JWS), []byte(payload), []jose.SignatureAlgorithm{jose.ES384})
		if err != nil {
			t.Fatal(err)
		}
		if err := parsed.DetachedVerify([]byte(payload), pub); err != nil || parsed.Signatures[0].Header.KeyID != i.KID {
			t.Errorf("%q: %v", payload, err)
		}
		if items[n].Kind != lifecycle.InputJWS {
			t.Errorf("kind = %s", items[n].Kind)
		}
	}
	header, _, _ := strings.Cut(string(items[0].JWS), ".")
	b, err := base64.RawURLEncoding.DecodeString(header)
	var fields map[string]string
	if err != nil || json.Unmarshal(b, &fields) != nil || len(fields) != 2 {
		t.Errorf("header = %s", b)
	}
	_, err = w.signer.SignJWS(ctx, w.request("ci-jws"), []signing.Input{{Digest: make([]byte, 48)}})
	code(t, err, "invalid")
	_, err = w.signer.SignJWS(ctx, w.request("ci-jws"), []signing.Input{{Message: make([]byte, signing.MaxPayloadBytes+1)}})
	code(t, err, "too_large")
	if _, err = w.signer.SignJWS(ctx, w.request("ci-jws"), []signing.Input{{Message: make([]byte, signing.MaxPayloadBytes)}}); err != nil {
		t.Errorf("the largest payload = %v", err)
	}
	_, err = w.signer.Sign(ctx, w.request("ci-jws"), []signing.Input{hello})
	code(t, err, "input_refused")
}
