package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	ourCluster   = "00112233445566778899aabbccddeeff"
	otherCluster = "ffeeddccbbaa99887766554433221100"
)

var (
	ourNode = strings.Repeat("ab", 32)
	today   = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

// office is a CA instance with a node's status key below it.
type office struct {
	t    testing.TB
	ca   *x509.Certificate
	caK  *ecdsa.PrivateKey
	leaf *x509.Certificate
	key  *ecdsa.PrivateKey
}

func p256(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newOffice(t testing.TB, cluster string, change ...func(leaf *x509.Certificate)) *office {
	t.Helper()
	return newOfficeAt(t, today, cluster, change...)
}

func newOfficeAt(t testing.TB, today time.Time, cluster string, change ...func(leaf *x509.Certificate)) *office {
	t.Helper()
	o := &office{t: t, caK: p256(t), key: p256(t)}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{Organization: []string{"chancery " + cluster}, CommonName: "ca"}, NotBefore: today.Add(-time.Hour),
		NotAfter: today.Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign}
	o.ca = o.issue(ca, ca, o.caK.Public())
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: today.Add(-time.Hour), NotAfter: today.Add(time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		UnknownExtKeyUsage: []asn1.ObjectIdentifier{lifecycle.StatusUsage()}, URIs: []*url.URL{{Scheme: "chancery", Host: cluster, Path: "/status/" + ourNode}}}
	for _, c := range change {
		c(leaf)
	}
	o.leaf = o.issue(leaf, o.ca, o.key.Public())
	return o
}

func (o *office) issue(template, parent *x509.Certificate, public any) *x509.Certificate {
	o.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, o.caK)
	if err != nil {
		o.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		o.t.Fatal(err)
	}
	return c
}

func (o *office) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(o.ca)
	return p
}

func (o *office) expect() Expect {
	return Expect{Roots: o.pool(), Subject: wire.KeySubject("ci"), Nonce: "nonce-of-the-test", Now: today}
}

// claims of a good answer.
func claims() wire.StatusClaims {
	return wire.StatusClaims{Status: wire.Good, ActiveVersion: 1, Versions: []wire.VersionClaims{{Version: 1, Status: wire.Good, KIDs: []string{"k"}}},
		Statement: wire.Statement{Cluster: ourCluster, Subject: wire.KeySubject("ci"), Node: "n1", NodeID: ourNode, Position: wire.Position{Epoch: 1, Index: 50},
			AsOf: wire.AsTime(today), Freshness: wire.Bounded, ExpiresAt: wire.AsTime(today.Add(5 * time.Second)), Nonce: "nonce-of-the-test"}}
}

func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

type jwsHeader map[string]any

func (o *office) header() jwsHeader {
	return jwsHeader{"alg": "ES256", "typ": wire.TypStatus, "x5c": [][]byte{o.leaf.Raw, o.ca.Raw}}
}

func (o *office) jws(h jwsHeader, payload any) string {
	input := part(h) + "." + part(payload)
	return input + "." + base64.RawURLEncoding.EncodeToString(es256(o.key, input))
}

func es256(key *ecdsa.PrivateKey, input string) []byte {
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		panic(err)
	}
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return raw
}

func TestVerifyStatus(t *testing.T) {
	o := newOffice(t, ourCluster)
	c, err := VerifyStatus(o.jws(o.header(), claims()), o.expect())
	if err != nil || c.Status != wire.Good || c.Position.Index != 50 || c.Node != "n1" {
		t.Fatalf("%+v, %v", c, err)
	}
	for name, change := range map[string]func(*wire.StatusClaims, *Expect){
		"a cluster id that was expected": func(_ *wire.StatusClaims, e *Expect) { e.Cluster = ourCluster },
		"the position that was seen":     func(_ *wire.StatusClaims, e *Expect) { e.Epoch, e.Index = 1, 50 },
		"no nonce":                       func(c *wire.StatusClaims, e *Expect) { c.Nonce, e.Nonce = "", "" },
		"a clock that is a little ahead": func(_ *wire.StatusClaims, e *Expect) { e.Now = today.Add(50 * time.Second) },
		"a clock that is a little slow":  func(_ *wire.StatusClaims, e *Expect) { e.Now = today.Add(-50 * time.Second) },
		"revoked, out of an old state": func(c *wire.StatusClaims, _ *Expect) {
			c.Status, c.Freshness, c.AsOf = wire.Revoked, wire.Stale, 0
		},
		"indeterminate": func(c *wire.StatusClaims, _ *Expect) { c.Status, c.Freshness = wire.Indeterminate, wire.Stale },
	} {
		c, e := claims(), o.expect()
		change(&c, &e)
		if got, err := VerifyStatus(o.jws(o.header(), c), e); err != nil || got.Status != c.Status {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestStatementsRefused: each is authentic and wrong, or looks right and is not.
func TestStatementsRefused(t *testing.T) {
	o, stranger, sister := newOffice(t, ourCluster), newOffice(t, ourCluster), newOffice(t, otherCluster)
	both := o.pool()
	both.AddCert(sister.ca)
	said := func(change func(*wire.StatusClaims)) string {
		c := claims()
		change(&c)
		return o.jws(o.header(), c)
	}
	good := o.jws(o.header(), claims())
	parts := strings.Split(good, ".")
	with := func(h jwsHeader) string { return o.jws(h, claims()) }
	head := func(name string, value any) jwsHeader {
		h := o.header()
		if h[name] = value; value == nil {
			delete(h, name)
		}
		return h
	}
	leafOf := func(change func(*x509.Certificate)) (string, Expect) {
		f := newOffice(t, ourCluster, change)
		return f.jws(f.header(), claims()), f.expect()
	}
	type row struct {
		jws  string
		e    Expect
		want error
	}
	rows := map[string]row{
		"nothing":              {"", o.expect(), ErrForged},
		"no JWS":               {"a.b", o.expect(), ErrForged},
		"no signature":         {parts[0] + "." + parts[1] + ".", o.expect(), ErrForged},
		"another CA":           {stranger.jws(stranger.header(), claims()), o.expect(), ErrForged},
		"another key":          {stranger.jws(o.header(), claims()), o.expect(), ErrForged},
		"another payload":      {parts[0] + "." + part(wire.StatusClaims{}) + "." + parts[2], o.expect(), ErrForged},
		"its own x5c":          {with(head("x5c", [][]byte{stranger.leaf.Raw, stranger.ca.Raw})), o.expect(), ErrForged},
		"the CA as signer":     {with(head("x5c", [][]byte{o.ca.Raw})), o.expect(), ErrForged},
		"no x5c":               {with(head("x5c", nil)), o.expect(), ErrForged},
		"x5c of text":          {with(head("x5c", []string{"bm8="})), o.expect(), ErrForged},
		"x5c without end":      {with(head("x5c", [][]byte{o.leaf.Raw, o.ca.Raw, o.ca.Raw, o.ca.Raw})), o.expect(), ErrForged},
		"alg none":             {part(head("alg", "none")) + "." + parts[1] + ".", o.expect(), ErrForged},
		"alg none, signed":     {with(head("alg", "none")), o.expect(), ErrForged},
		"alg ES384":            {with(head("alg", "ES384")), o.expect(), ErrForged},
		"no alg":               {with(head("alg", nil)), o.expect(), ErrForged},
		"no typ":               {with(head("typ", nil)), o.expect(), ErrForged},
		"a token's typ":        {with(head("typ", "JWT")), o.expect(), ErrForged},
		"a trust set's typ":    {with(head("typ", wire.TypTrustSet)), o.expect(), ErrForged},
		"crit":                 {with(head("crit", []string{"b64"})), o.expect(), ErrForged},
		"a jwk of its own":     {with(head("jwk", map[string]string{"kty": "EC"})), o.expect(), ErrForged},
		"a line break":         {good[:40] + "\n" + good[40:], o.expect(), ErrForged},
		"padding":              {good + "=", o.expect(), ErrForged},
		"too long":             {good + strings.Repeat("A", maxStatement), o.expect(), ErrForged},
		"another cluster's CA": {sister.jws(sister.header(), claims()), Expect{Roots: both, Subject: wire.KeySubject("ci"), Nonce: "nonce-of-the-test", Now: today}, ErrForged},
		"another cluster":      {sister.jws(sister.header(), func() wire.StatusClaims { c := claims(); c.Cluster = otherCluster; return c }()), Expect{Roots: both, Cluster: ourCluster, Subject: wire.KeySubject("ci"), Nonce: "nonce-of-the-test", Now: today}, ErrForged},
		"claims of another":    {said(func(c *wire.StatusClaims) { c.Cluster = otherCluster }), o.expect(), ErrForged},
		"another node's name":  {said(func(c *wire.StatusClaims) { c.NodeID = strings.Repeat("cd", 32) }), o.expect(), ErrForged},
		"another subject":      {said(func(c *wire.StatusClaims) { c.Subject = wire.KeySubject("cx") }), o.expect(), ErrOtherQuestion},
		"a kid for a key":      {said(func(c *wire.StatusClaims) { c.Subject = wire.KIDSubject("ci") }), o.expect(), ErrOtherQuestion},
		"another nonce":        {said(func(c *wire.StatusClaims) { c.Nonce = "nonce-of-another" }), o.expect(), ErrOtherQuestion},
		"no nonce":             {said(func(c *wire.StatusClaims) { c.Nonce = "" }), o.expect(), ErrOtherQuestion},
		"expired":              {good, func() Expect { e := o.expect(); e.Now = today.Add(66 * time.Second); return e }(), ErrExpired},
		"expired, strict":      {good, func() Expect { e := o.expect(); e.Now, e.Skew = today.Add(6*time.Second), time.Millisecond; return e }(), ErrExpired},
		"without end":          {said(func(c *wire.StatusClaims) { c.ExpiresAt = 0 }), o.expect(), ErrExpired},
		"of tomorrow":          {said(func(c *wire.StatusClaims) { c.AsOf = wire.AsTime(today.Add(2 * time.Minute)) }), o.expect(), ErrExpired},
		"expired certificate":  {said(func(c *wire.StatusClaims) { c.ExpiresAt = wire.AsTime(today.Add(3 * time.Hour)) }), func() Expect { e := o.expect(); e.Now = today.Add(2 * time.Hour); return e }(), ErrExpired},
		"an older state":       {good, func() Expect { e := o.expect(); e.Epoch, e.Index = 1, 51; return e }(), ErrWentBack},
		"another epoch":        {good, func() Expect { e := o.expect(); e.Epoch, e.Index = 2, 1; return e }(), ErrEpoch},
		"no position":          {said(func(c *wire.StatusClaims) { c.Position = wire.Position{} }), o.expect(), ErrForged},
		"stale and good":       {said(func(c *wire.StatusClaims) { c.Freshness = wire.Stale }), o.expect(), ErrForged},
		"stale and unknown":    {said(func(c *wire.StatusClaims) { c.Status, c.Freshness = wire.Unknown, wire.Stale }), o.expect(), ErrForged},
		"good since never":     {said(func(c *wire.StatusClaims) { c.AsOf = 0 }), o.expect(), ErrForged},
		"a status of its own":  {said(func(c *wire.StatusClaims) { c.Status = "fine" }), o.expect(), ErrForged},
		"no roots":             {good, Expect{Subject: wire.KeySubject("ci"), Now: today}, ErrForged},
		"no subject":           {good, Expect{Roots: o.pool(), Now: today}, ErrForged},
	}
	mac := hmac.New(sha256.New, o.leaf.RawSubjectPublicKeyInfo)
	input := part(head("alg", "HS256")) + "." + parts[1]
	_, _ = mac.Write([]byte(input)) // a hash takes everything
	rows["alg HS256 with the public key"] = row{input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), o.expect(), ErrForged}
	twice := base64.RawURLEncoding.EncodeToString([]byte(`{"status":"revoked","status":"good"}`))
	rows["a claim twice"] = row{parts[0] + "." + twice + "." + base64.RawURLEncoding.EncodeToString(es256(o.key, parts[0]+"."+twice)), o.expect(), ErrForged}
	for name, change := range map[string]func(*x509.Certificate){
		"for TLS":          func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"of no usage":      func(c *x509.Certificate) { c.UnknownExtKeyUsage = nil },
		"of another usage": func(c *x509.Certificate) { c.UnknownExtKeyUsage = []asn1.ObjectIdentifier{{2, 25, 7}} },
		"of a node":        func(c *x509.Certificate) { c.URIs[0].Path = "/node/" + ourNode },
		"of a principal":   func(c *x509.Certificate) { c.URIs[0].Path = "/principal/alice" },
		"of nobody":        func(c *x509.Certificate) { c.URIs = nil },
		"of two": func(c *x509.Certificate) {
			c.URIs = append(c.URIs, &url.URL{Scheme: "chancery", Host: ourCluster, Path: "/status/" + strings.Repeat("cd", 32)})
		},
		"of another cluster":  func(c *x509.Certificate) { c.URIs[0].Host = otherCluster },
		"of a longer path":    func(c *x509.Certificate) { c.URIs[0].Path += "/x" },
		"that does not sign":  func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement },
		"that is not yet one": func(c *x509.Certificate) { c.NotBefore = today.Add(time.Minute) },
	} {
		jws, e := leafOf(change)
		want := ErrForged
		if name == "that is not yet one" {
			want = ErrExpired
		}
		rows["a certificate "+name] = row{jws, e, want}
	}
	for name, r := range rows {
		if c, err := VerifyStatus(r.jws, r.e); !errors.Is(err, r.want) || c != nil {
			t.Errorf("%s: %v, %v, want %v", name, c, err, r.want)
		}
	}
}

func TestVerifyTrustSet(t *testing.T) {
	o := newOffice(t, ourCluster)
	jwks, kid := keySetOf(t, p256(t))
	about := claims().Statement
	about.Subject = wire.TrustSetSubject("ci")
	c := wire.TrustSetClaims{Statement: about, Digest: digestOf(jwks), MaxAgeSeconds: 5, JWKS: jwks}
	h := o.header()
	h["typ"] = wire.TypTrustSet
	e := o.expect()
	e.Subject = about.Subject
	set, got, err := VerifyTrustSet(o.jws(h, c), e)
	if err != nil || len(set.KIDs()) != 1 || set.KIDs()[0] != kid || got.Digest != c.Digest {
		t.Fatalf("%v, %v", set, err)
	}
	bad := c
	bad.Digest = "sha256:00"
	if _, _, err := VerifyTrustSet(o.jws(h, bad), e); !errors.Is(err, ErrForged) {
		t.Errorf("another digest: %v", err)
	}
	bad = c
	bad.Freshness = wire.Stale
	if _, _, err := VerifyTrustSet(o.jws(h, bad), e); !errors.Is(err, ErrForged) {
		t.Errorf("of an old state: %v", err)
	}
	if _, _, err := VerifyTrustSet(o.jws(o.header(), c), e); !errors.Is(err, ErrForged) {
		t.Errorf("in the guise of a status: %v", err)
	}
	if _, err := VerifyStatus(o.jws(h, c), e); !errors.Is(err, ErrForged) {
		t.Errorf("as a status: %v", err)
	}
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// keySetOf is the JWK Set of one key as a node writes it.
func keySetOf(t testing.TB, key *ecdsa.PrivateKey) (jwks []byte, kid string) {
	t.Helper()
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	required := fmt.Sprintf(`"crv":"P-256","kty":"EC","x":"%s","y":"%s"`, b64(point[1:33]), b64(point[33:]))
	h := crypto.SHA256.New()
	fmt.Fprintf(h, "{%s}", required)
	kid = b64(h.Sum(nil))
	return fmt.Appendf(nil, `{"keys":[{"alg":"ES256","kid":"%s","use":"sig",%s}]}`, kid, required), kid
}

// FuzzVerifyStatus: no panic, and nothing but the one signed text is believed.
func FuzzVerifyStatus(f *testing.F) {
	o := newOffice(f, ourCluster)
	good := o.jws(o.header(), claims())
	e := o.expect()
	want, err := VerifyStatus(good, e)
	if err != nil {
		f.Fatal(err)
	}
	wanted, err := json.Marshal(want)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(good, ".")
	for _, s := range []string{good, "", "..", parts[0] + "..", parts[0] + "." + parts[1] + ".AA", part(jwsHeader{"alg": "none"}) + ".e30.", good + "." + parts[2],
		part(jwsHeader{"alg": "ES256", "typ": wire.TypStatus, "x5c": []string{"AA=="}}) + ".e30.AA"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := VerifyStatus(s, e)
		if err != nil {
			return
		}
		if got, err := json.Marshal(c); err != nil || !bytes.Equal(got, wanted) {
			t.Errorf("%q was believed: %s", s, got)
		}
	})
}
