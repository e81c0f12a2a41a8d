package public

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// signing gives a site a status key, valid for an hour.
func signing(t testing.TB) (func(*Config), *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *Config) {
		now := c.Clock()
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour)}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		c.Attestor = publish.NewAttestor()
		if err := c.Attestor.Use(publish.StatusKey{Node: c.Ledger.NodeID(), Private: key, Leaf: der, NotAfter: template.NotAfter}); err != nil {
			t.Fatal(err)
		}
	}, key
}

// opened verifies a statement with an independent library.
func opened[Claims any](t *testing.T, jws, typ string, key *ecdsa.PrivateKey) (c Claims) {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(jws, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	head := parsed.Signatures[0].Protected
	payload, err := parsed.Verify(key.Public())
	if err != nil || head.ExtraHeaders[jose.HeaderType] != typ {
		t.Fatalf("typ %v, %v", head.ExtraHeaders[jose.HeaderType], err)
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(jws, ".")[0])
	if err != nil || !strings.Contains(string(raw), `"x5c":["`) {
		t.Errorf("header %s, %v", raw, err)
	}
	if err := wire.DecodeClaims(payload, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func signedStatus(t *testing.T, w *httptest.ResponseRecorder, key *ecdsa.PrivateKey) (wire.KeyStatus, wire.StatusClaims) {
	t.Helper()
	var out wire.KeyStatus
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || w.Code != 200 || !out.Signed {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	c := opened[wire.StatusClaims](t, out.JWS, wire.TypStatus, key)
	if c.Status != out.Status || c.Position.Index != out.Position.Index || c.AsOf != out.AsOf || c.Freshness != out.Freshness || len(c.Versions) != len(out.Versions) {
		t.Errorf("the statement says %+v, the answer %+v", c, out)
	}
	return out, c
}

const nonce = "0123456789-_abcdXYZ"

func TestSignedStatus(t *testing.T) {
	with, key := signing(t)
	s := start(t, with)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	now := s.ledger.Clock().Now()
	out, c := signedStatus(t, s.ask("GET", "/status/keys/ci"), key)
	if c.Status != wire.Good || c.Subject != "keys/ci" || c.Cluster != s.ledger.View().Cluster().ID || c.Node != "n1" || c.NodeID != string(s.ledger.NodeID()) ||
		c.Nonce != "" || c.TrustSetDigest != wire.Text(out.TrustSet.Digest) || c.ActiveVersion != 1 || c.ExpiresAt != wire.AsTime(now.Add(5*time.Second)) ||
		len(c.Versions) != 1 || c.Versions[0].Status != wire.Good || c.Versions[0].KIDs[0] != i.KID {
		t.Errorf("claims = %+v", c)
	}
	if _, c := signedStatus(t, s.ask("GET", "/status/kid/"+i.KID), key); c.Subject != "kid/"+i.KID || c.Status != wire.Good {
		t.Errorf("kid = %+v", c)
	}
	if _, c := signedStatus(t, s.ask("GET", "/status/kid/unheard-of"), key); c.Status != wire.Unknown {
		t.Errorf("no kid = %+v", c)
	}
	w := s.ask("GET", "/status/keys/ci?nonce="+nonce)
	if _, c := signedStatus(t, w, key); c.Nonce != nonce || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("nonce %q, %v", c.Nonce, w.Header())
	}
	if _, c := signedStatus(t, s.ask("GET", "/status/keys/ci", wire.HeaderConsistency, "bounded=2s"), key); c.ExpiresAt != wire.AsTime(now.Add(2*time.Second)) {
		t.Errorf("asked for 2 s, it expires at %s", c.ExpiresAt)
	}
	for _, bad := range []string{"nonce=", "nonce=short", "nonce=" + strings.Repeat("a", 65), "nonce=with%20space", "nonce=quo%22te1", "nonce=" + nonce + "&nonce=" + nonce, "once=" + nonce} {
		s.refused(s.ask("GET", "/status/keys/ci?"+bad), wire.Invalid)
	}
	s.refused(s.ask("GET", "/status/keys/ci", wire.HeaderConsistency, "linearizable"), wire.Invalid)

	// Too stale to say good: it still signs, and says so. A revocation it knows of is
	// told at any age.
	s.ledger.SetStale(true)
	if _, c := signedStatus(t, s.ask("GET", "/status/keys/ci?nonce="+nonce), key); c.Status != wire.Indeterminate || c.Freshness != wire.Stale || c.ActiveVersion != 0 ||
		c.TrustSetDigest != "" || c.Versions[0].Status != wire.Indeterminate || c.ExpiresAt.Time().Sub(now) > keepNothing {
		t.Errorf("stale = %+v", c)
	}
	s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise, Comment: "secret incident"})
	out, c = signedStatus(t, s.ask("GET", "/status/keys/ci"), key)
	if c.Status != wire.Revoked || c.Freshness != wire.Stale || c.Reason != wire.Text(lifecycle.KeyCompromise) || out.MaxAgeSeconds == 0 {
		t.Errorf("revoked, said from an old state = %+v", c)
	}
}

// TestHoldIsNotSaidFromAnOldState: it may have been lifted since.
func TestHoldIsNotSaidFromAnOldState(t *testing.T) {
	with, key := signing(t)
	s := start(t, with)
	s.create("ci", lifecycle.ForArtifact, nil)
	s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.CertificateHold})
	if _, c := signedStatus(t, s.ask("GET", "/status/keys/ci"), key); c.Status != wire.OnHold || c.Reason != wire.Text(lifecycle.CertificateHold) {
		t.Errorf("on hold = %+v", c)
	}
	s.ledger.SetStale(true)
	if _, c := signedStatus(t, s.ask("GET", "/status/keys/ci"), key); c.Status != wire.Indeterminate || c.Reason != "" {
		t.Errorf("on hold, from an old state = %+v", c)
	}
}

// TestStatementsAreKept: one signature serves everybody who asks the same of the same
// state, and nobody after that.
func TestStatementsAreKept(t *testing.T) {
	with, key := signing(t)
	s := start(t, with)
	s.create("ci", lifecycle.ForArtifact, nil)
	signed := func() uint64 { return s.config.Attestor.Signed.Load() }
	var asking sync.WaitGroup
	for range 8 {
		asking.Go(func() {
			for range 20 {
				if w := s.ask("GET", "/status/keys/ci"); w.Code != 200 {
					t.Error(w.Code)
				}
			}
		})
	}
	asking.Wait()
	if signed() != 1 {
		t.Errorf("%d signatures for one answer", signed())
	}
	step := func(what string, change func(), want string) {
		t.Helper()
		before := signed()
		change()
		_, c := signedStatus(t, s.ask("GET", "/status/keys/ci"), key)
		if signed() != before+1 || c.Status != want {
			t.Errorf("%s: %d signatures, %s", what, signed()-before, c.Status)
		}
	}
	step("another proof of freshness", func() { s.ledger.Clock().Advance(time.Millisecond) }, wire.Good)
	step("another state", func() { s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.CertificateHold}) }, wire.OnHold)
	step("and back", func() { s.ledger.Must(t, &command.ResumeVersion{Key: "ci", Version: 1}) }, wire.Good)
	step("dropped by a fence", s.public.Drop, wire.Good)
	step("stale", func() { s.ledger.SetStale(true) }, wire.Indeterminate)
	step("revoked", func() { s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise}) }, wire.Revoked)
	before := signed()
	for range 3 {
		signedStatus(t, s.ask("GET", "/status/keys/ci?nonce="+nonce), key)
	}
	if signed() != before+3 {
		t.Error("an answer to a nonce was given twice")
	}
	for n := range maxAnswers + 10 {
		s.ask("GET", fmt.Sprintf("/status/kid/%d", n))
	}
	kept := 0
	s.public.answers.found.Range(func(any, any) bool { kept++; return true })
	if kept > maxAnswers {
		t.Errorf("%d answers are kept", kept)
	}
}

func TestSignedTrustSet(t *testing.T) {
	with, key := signing(t)
	s := start(t, with)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	r := httptest.NewRequest("GET", "/keys/ci/trust-set", nil)
	r.RemoteAddr = "192.0.2.1:7" // plain HTTP from far away: it is signed
	w := s.serve(r)
	if w.Code != 200 || w.Header().Get("Content-Type") != wire.TypeJOSE || w.Header().Get("Cache-Control") != "public, max-age=300" {
		t.Fatalf("%d %s %v", w.Code, w.Body, w.Header())
	}
	c := opened[wire.TrustSetClaims](t, w.Body.String(), wire.TypTrustSet, key)
	if plain := s.ask("GET", "/keys/ci/jwks.json"); !bytes.Equal(c.JWKS, plain.Body.Bytes()) || plain.Header().Get("ETag") != `"`+c.Digest+`"` {
		t.Errorf("signed %s, plain %s", c.JWKS, plain.Body)
	}
	if c.Subject != "trust-set/ci" || !strings.Contains(string(c.JWKS), i.KID) || c.MaxAgeSeconds != 300 || c.ExpiresAt.Time().Sub(s.ledger.Clock().Now()) != 300*time.Second {
		t.Errorf("claims = %+v", c)
	}
	if c := opened[wire.TrustSetClaims](t, s.ask("GET", "/keys/ci/trust-set?nonce="+nonce).Body.String(), wire.TypTrustSet, key); c.Nonce != nonce {
		t.Errorf("nonce = %q", c.Nonce)
	}
	s.refused(s.ask("GET", "/keys/none/trust-set"), wire.KeyNotFound)
	s.refused(s.ask("GET", "/keys/NONE/trust-set"), wire.Invalid)
	s.refused(s.ask("GET", "/keys/ci/trust-set", wire.HeaderConsistency, wire.Stale), wire.Invalid)
	s.ledger.SetStale(true)
	w = s.ask("GET", "/keys/ci/trust-set")
	if s.refused(w, wire.IsStale); w.Header().Get("Retry-After") == "" || w.Header().Get(wire.HeaderFreshness) != wire.Stale || w.Header().Get(wire.HeaderAsOf) == "" {
		t.Errorf("a refusal with %v", w.Header())
	}
	s.ledger.SetStale(false)
	s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	if c := opened[wire.TrustSetClaims](t, s.ask("GET", "/keys/ci/trust-set").Body.String(), wire.TypTrustSet, key); string(c.JWKS) != `{"keys":[]}` {
		t.Errorf("after the revocation: %s", c.JWKS)
	}
}

// TestWithoutAStatusKey: answers say that they are unsigned, and what is nothing but a
// statement is refused.
func TestWithoutAStatusKey(t *testing.T) {
	with, _ := signing(t)
	expired := start(t, with)
	expired.create("ci", lifecycle.ForArtifact, nil)
	expired.ledger.Clock().Advance(2 * time.Hour)
	never := start(t)
	never.create("ci", lifecycle.ForArtifact, nil)
	off, _ := signing(t)
	wrong := start(t, off, func(c *Config) { c.Attestor.Dated = func() error { return errors.New("off by a year") } })
	wrong.create("ci", lifecycle.ForArtifact, nil)
	wrong.refused(wrong.ask("GET", "/keys/ci/trust-set"), wire.ClockUnsure)
	if k := status(t, wrong.ask("GET", "/status/keys/ci")); k.JWS != "" || k.Status != wire.Good {
		t.Errorf("by a wrong clock: %+v", k)
	}
	for name, s := range map[string]*site{"none": never, "expired": expired} {
		for _, path := range []string{"/status/keys/ci", "/status/keys/ci?nonce=" + nonce} {
			if k := status(t, s.ask("GET", path)); k.JWS != "" || k.Status != wire.Good {
				t.Errorf("%s: %+v", name, k)
			}
		}
		w := s.ask("GET", "/keys/ci/trust-set")
		if s.refused(w, wire.NoStatusKey); w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", name)
		}
	}
}

// TestStatusKeyStaysHidden looks for the private key in everything that is answered
// and logged.
func TestStatusKeyStaysHidden(t *testing.T) {
	with, key := signing(t)
	s := start(t, with)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	var all bytes.Buffer
	for _, path := range []string{"/status/keys/ci", "/status/kid/" + i.KID, "/keys/ci/trust-set", "/status/keys/ci?nonce=" + nonce, "/keys/ci/jwks.json", "/status/keys/NONE"} {
		w := s.ask("GET", path)
		fmt.Fprintln(&all, w.Header(), w.Body)
		for _, part := range strings.FieldsFunc(w.Body.String(), func(r rune) bool { return strings.ContainsRune(`."`, r) }) {
			if b, err := base64.RawURLEncoding.DecodeString(part); err == nil {
				all.Write(b)
			}
		}
	}
	fmt.Fprintf(&all, "%v", publish.ErrNoStatusKey)
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{string(d), fmt.Sprintf("%x", d), new(big.Int).SetBytes(d).String(), base64.StdEncoding.EncodeToString(d), base64.RawURLEncoding.EncodeToString(d)} {
		if strings.Contains(all.String(), form) {
			t.Error("the private status key stands in an answer")
		}
	}
}

// BenchmarkSignedStatus is BenchmarkStatus with a signature, kept; BenchmarkNonce has
// each answer signed.
func BenchmarkSignedStatus(b *testing.B) {
	with, _ := signing(b)
	benchmarkStatus(b, "/status/keys/ci", start(b, with))
}

func BenchmarkNonce(b *testing.B) {
	with, _ := signing(b)
	benchmarkStatus(b, "/status/keys/ci?nonce="+nonce, start(b, with))
}

func benchmarkStatus(b *testing.B, path string, s *site) {
	s.create("ci", lifecycle.ForArtifact, nil)
	b.ReportAllocs()
	for b.Loop() {
		r, err := http.NewRequest("GET", path, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.RequestURI, r.RemoteAddr = path, "192.0.2.1:1"
		w := &writer{h: http.Header{}}
		if s.public.ServeHTTP(w, r); w.n == 0 {
			b.Fatal("no answer")
		}
	}
}
