package public

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// site is a public listener's handler over one ledger.
type site struct {
	t      testing.TB
	ledger *ledgertest.Ledger
	store  hsm.KeyStore
	config Config
	public *Public
}

func start(t testing.TB, opts ...func(*Config)) *site {
	t.Helper()
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	c := Config{Node: "n1", Ledger: l, Clock: l.Clock().Now, PublicURL: "https://n1.test:7601", Metrics: prometheus.NewRegistry()}
	for _, o := range opts {
		o(&c)
	}
	return &site{t: t, ledger: l, store: hsmtest.Soft(t), config: c, public: New(c)}
}

// create makes a key with one ready, published and signing instance.
func (s *site) create(name lifecycle.KeyID, purpose lifecycle.Purpose, change func(*lifecycle.Policy)) *lifecycle.Instance {
	s.t.Helper()
	p := lifecycle.DefaultPolicy(purpose, lifecycle.ES256)
	if change != nil {
		change(&p)
	}
	id := ledgertest.CKAID(string(name))
	s.ledger.Must(s.t, &command.CreateKey{Name: name, Purpose: purpose, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "o", Reason: "r", Policy: p,
		Instances: []command.Intent{{Node: s.ledger.NodeID(), CKAID: id}}})
	o, err := s.store.Generate(hsmtest.Context(s.t), hsm.Spec{ID: hsm.ObjectID(id), Alg: lifecycle.ES256})
	if err != nil {
		s.t.Fatal(err)
	}
	kid, err := publish.Thumbprint(o.SPKI)
	if err != nil {
		s.t.Fatal(err)
	}
	s.ledger.Must(s.t, &command.BindInstance{Key: name, Version: 1, Node: s.ledger.NodeID(), CKAID: id, SPKI: o.SPKI, KID: kid, Driver: "soft"})
	s.ledger.Must(s.t, &command.ActivateVersion{Key: name, Version: 1})
	return s.ledger.View().Instance(name, 1, s.ledger.NodeID())
}

// ask sends a request over TLS; headers come in pairs.
func (s *site) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	r.TLS = &tls.ConnectionState{}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return s.serve(r)
}

func (s *site) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.public.ServeHTTP(w, r)
	return w
}

func (s *site) refused(w *httptest.ResponseRecorder, code wire.Code) {
	s.t.Helper()
	e := new(wire.Error)
	if err := json.Unmarshal(w.Body.Bytes(), e); err != nil || e.Code != code || w.Code != code.Info().Status || e.Message == "" {
		s.t.Errorf("answer %d %s, want %s", w.Code, w.Body, code)
	}
}

func status(t *testing.T, w *httptest.ResponseRecorder) (out wire.KeyStatus) {
	t.Helper()
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&out); err != nil || w.Code != 200 {
		t.Fatalf("%d: %v", w.Code, err)
	}
	if out.Signed {
		t.Error("an unsigned answer says it is signed")
	}
	return out
}

func TestJWKS(t *testing.T) {
	s := start(t)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	s.create("tokens", lifecycle.ForToken, func(p *lifecycle.Policy) { p.Publish = true })
	s.create("quiet", lifecycle.ForToken, nil)
	w := s.ask("GET", "/keys/ci/jwks.json")
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0].KeyID != i.KID || !set.Keys[0].Valid() {
		t.Fatalf("go-jose reads %+v, %v", set, err)
	}
	tag := w.Header().Get("ETag")
	if !strings.HasPrefix(tag, `"sha256:`) || w.Header().Get("Content-Type") != wire.TypeJWKS || w.Header().Get("Cache-Control") != "public, max-age=300" ||
		w.Header().Get(wire.HeaderIndex) == "" || w.Header().Get(wire.HeaderFreshness) != wire.Bounded {
		t.Errorf("headers = %v", w.Header())
	}
	for _, match := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		if w := s.ask("GET", "/keys/ci/jwks.json", "If-None-Match", match); w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != tag || w.Header().Get("Cache-Control") == "" {
			t.Errorf("If-None-Match %s: %d %v", match, w.Code, w.Header())
		}
	}
	if w := s.ask("GET", "/keys/ci/jwks.json", "If-None-Match", `"other"`); w.Code != 200 {
		t.Errorf("another tag: %d", w.Code)
	}
	if h := s.ask("HEAD", "/keys/ci/jwks.json"); h.Code != 200 || h.Body.Len() != 0 || h.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) || h.Header().Get("ETag") != tag {
		t.Errorf("HEAD: %d %v", h.Code, h.Header())
	}
	known := s.ask("GET", wire.PathWellKnownJWKS)
	if err := json.Unmarshal(known.Body.Bytes(), &set); err != nil || len(set.Keys) != 1 || set.Keys[0].KeyID != s.ledger.View().Instance("tokens", 1, s.ledger.NodeID()).KID {
		t.Errorf("well-known = %s", known.Body)
	}
	pem := s.ask("GET", "/keys/ci/"+i.KID+".pem")
	if pem.Code != 200 || !bytes.Equal(pem.Body.Bytes(), publish.EncodePEM(i.SPKI)) {
		t.Errorf("pem = %d %s", pem.Code, pem.Body)
	}
	s.refused(s.ask("GET", "/keys/none/jwks.json"), wire.KeyNotFound)
	s.refused(s.ask("GET", "/keys/ci/short.pem"), wire.NotFound)
	s.refused(s.ask("GET", "/keys/ci/"+i.KID), wire.NotFound)
	s.refused(s.ask("GET", "/keys/ci/aaaaaaaaaaaa.pem"), wire.InstanceNotFound)
	s.refused(s.ask("POST", "/keys/ci/jwks.json"), wire.MethodNotAllowed)
	s.refused(s.ask("GET", "/keys/ci/jwks.json?x=1"), wire.Invalid)
	s.refused(s.ask("GET", "/nowhere"), wire.NotFound)
	s.refused(s.ask("GET", "/keys/ci/jwks.json", wire.HeaderConsistency, wire.Linearizable), wire.Invalid)
	s.refused(s.ask("GET", "/keys/ci/jwks.json", "X", strings.Repeat("x", 9000)), wire.HeaderTooLarge)

	s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	w = s.ask("GET", "/keys/ci/jwks.json", "If-None-Match", tag)
	if w.Code != 200 || w.Body.String() != `{"keys":[]}` || w.Header().Get("ETag") == tag {
		t.Errorf("after the revocation: %d %s", w.Code, w.Body)
	}
	s.refused(s.ask("GET", "/keys/ci/"+i.KID+".pem"), wire.InstanceNotFound)
}

func TestTrustAnchorsNeedTLS(t *testing.T) {
	s := start(t)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	paths := []string{"/keys/ci/jwks.json", wire.PathWellKnownJWKS, "/keys/ci/" + i.KID + ".pem"}
	plain := func(path, remote string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("GET", path, nil)
		r.RemoteAddr = remote
		return s.serve(r)
	}
	for _, path := range paths {
		s.refused(plain(path, "192.0.2.1:7"), wire.NeedsTLS)
		for _, loopback := range []string{"127.0.0.1:7", "[::1]:7"} {
			if w := plain(path, loopback); w.Code != 200 {
				t.Errorf("%s from %s: %d", path, loopback, w.Code)
			}
		}
	}
	if w := plain("/status/keys/ci", "192.0.2.1:7"); w.Code != 200 {
		t.Errorf("status over plain HTTP: %d", w.Code)
	}
	settings := lifecycle.DefaultSettings()
	settings.InsecureTrustAnchors = true
	s.ledger.Must(t, &command.SetSettings{Settings: settings})
	for _, path := range paths {
		if w := plain(path, "192.0.2.1:7"); w.Code != 200 {
			t.Errorf("%s with insecure_trust_anchors: %d", path, w.Code)
		}
	}
}

func TestStatus(t *testing.T) {
	s := start(t)
	i := s.create("ci", lifecycle.ForArtifact, nil)
	k := status(t, s.ask("GET", "/status/keys/ci"))
	if k.Status != wire.Good || k.Key != "ci" || k.ActiveVersion != 1 || len(k.Versions) != 1 || k.Versions[0].KIDs[0] != i.KID ||
		k.TrustSet.URL != "https://n1.test:7601/keys/ci/jwks.json" || k.Freshness != wire.Bounded || k.AsOf == 0 || k.Position.Index == 0 || k.MaxAgeSeconds != 5 {
		t.Errorf("status = %+v", k)
	}
	one := status(t, s.ask("GET", "/status/kid/"+i.KID))
	if one.Status != wire.Good || one.KID != wire.Text(i.KID) || one.Key != "ci" {
		t.Errorf("kid = %+v", one)
	}
	if none := status(t, s.ask("GET", "/status/kid/"+i.KID[:20])); none.Status != wire.Unknown || none.Key != "" {
		t.Errorf("a kid that is cut off = %+v", none)
	}
	if none := status(t, s.ask("GET", "/status/keys/none")); none.Status != wire.Unknown {
		t.Errorf("no key = %+v", none)
	}
	s.refused(s.ask("GET", "/status/keys/NONE"), wire.Invalid)
	s.refused(s.ask("GET", "/status/kid/"+strings.Repeat("a", 100)), wire.Invalid)

	// An old state is too careful, never too trusting.
	s.ledger.SetStale(true)
	for path, want := range map[string]string{"/status/keys/ci": wire.Indeterminate, "/status/kid/" + i.KID: wire.Indeterminate, "/status/kid/unheard-of": wire.Indeterminate} {
		w := s.ask("GET", path)
		if got := status(t, w); got.Status != want || got.Freshness != wire.Stale || got.MaxAgeSeconds != 0 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s from an old state = %+v", path, got)
		}
	}
	s.refused(s.ask("GET", "/keys/ci/jwks.json"), wire.IsStale)
	if w := s.ask("GET", "/keys/ci/jwks.json", wire.HeaderConsistency, wire.Stale); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get(wire.HeaderFreshness) != wire.Stale {
		t.Errorf("a stale trust set that was asked for: %d %v", w.Code, w.Header())
	}
	s.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise, Comment: "secret incident"})
	w := s.ask("GET", "/status/kid/"+i.KID)
	if strings.Contains(w.Body.String(), "secret incident") {
		t.Error("a comment made for colleagues is public")
	}
	if got := status(t, w); got.Status != wire.Revoked || got.Versions[0].Revocation == nil || got.MaxAgeSeconds == 0 {
		t.Errorf("revoked, said from an old state = %+v", got)
	}
}

func TestLog(t *testing.T) {
	s := start(t)
	for n := 0; s.ledger.View().Position().LogSize < 300; n++ {
		s.ledger.Must(t, &command.AddToken{ID: fmt.Sprintf("token-%04d", n), Principal: "admin", Hash: bytes.Repeat([]byte{byte(n), byte(n >> 8)}, 16), ExpiresAt: s.ledger.Clock().At().Add(lifecycle.Hour)})
	}
	p := s.ledger.View().Position()
	lines := strings.Split(s.ask("GET", wire.PathCheckpoint).Body.String(), "\n")
	if lines[0] != "chancery/00112233445566778899aabbccddeeff/log" || lines[1] != "300" || lines[2] != base64.StdEncoding.EncodeToString(p.LogRoot[:]) {
		t.Errorf("checkpoint = %q", lines)
	}
	// The tree computed from the served tiles alone has the root of the checkpoint.
	reader := tlog.TileHashReader(tlog.Tree{N: 300, Hash: p.LogRoot}, tiles{s})
	hash, err := tlog.TreeHash(300, reader)
	if err != nil || hash != tlog.Hash(p.LogRoot) {
		t.Errorf("root out of tiles: %v", err)
	}
	proof, err := tlog.ProveRecord(300, 17, reader)
	if err != nil {
		t.Fatal(err)
	}
	indexes := []int64{tlog.StoredHashIndex(0, 17)}
	leaf, err := reader.ReadHashes(indexes)
	if err != nil || tlog.CheckRecord(proof, 300, tlog.Hash(p.LogRoot), 17, leaf[0]) != nil {
		t.Errorf("inclusion of leaf 17: %v", err)
	}
	w := s.ask("GET", "/log/tile/0/000")
	if w.Code != 200 || w.Body.Len() != 256*32 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
		t.Errorf("tile: %d, %d bytes", w.Code, w.Body.Len())
	}
	for _, bad := range []string{"0/001", "0/001.p/45", "0/002", "1/000", "0/0", "x", "0/x001", "data/000", "9/000.p/1", "63/000.p/1", "0/x999/x999/x999/x999/x999/x999/999", "0/000.p/0", "0/000.p/256", "-1/000"} {
		if w := s.ask("GET", "/log/tile/"+bad); w.Code != http.StatusNotFound {
			t.Errorf("tile %s: %d %s", bad, w.Code, w.Body)
		}
	}
	s.refused(s.ask("GET", "/log/tile/entries/000"), wire.Denied)
}

// tiles fetches tiles as a client of the C2SP layout would.
type tiles struct{ s *site }

func (tiles) Height() int                     { return 8 }
func (tiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (t tiles) ReadTiles(list []tlog.Tile) (out [][]byte, err error) {
	for _, tile := range list {
		path := strings.TrimPrefix(tile.Path(), "tile/8/")
		w := t.s.ask("GET", "/log/tile/"+path)
		if w.Code != 200 {
			return nil, fmt.Errorf("tile %s: %d %s", path, w.Code, w.Body)
		}
		out = append(out, w.Body.Bytes())
	}
	return out, nil
}

func TestProbesAndMetrics(t *testing.T) {
	var why error
	reg := prometheus.NewRegistry()
	s := start(t, func(c *Config) {
		c.Metrics = reg
		c.Ready = func(what string) error {
			if what == "sign" {
				return errors.New("no usable key store")
			}
			return why
		}
	})
	metrics := Metrics(s.config, reg)
	for _, h := range []http.Handler{s.public, metrics} {
		probe := func(path string) (int, wire.Health) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			var out wire.Health
			if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil && w.Code != 400 {
				t.Fatal(err)
			}
			return w.Code, out
		}
		if code, out := probe("/livez"); code != 200 || !out.OK || out.Node != "n1" {
			t.Errorf("livez = %d %+v", code, out)
		}
		if code, _ := probe("/readyz"); code != 200 {
			t.Errorf("readyz = %d", code)
		}
		if code, out := probe("/readyz?for=sign"); code != 503 || out.OK || out.Why != "no usable key store" {
			t.Errorf("readyz?for=sign = %d %+v", code, out)
		}
		if code, _ := probe("/readyz?for=tea"); code != 400 {
			t.Errorf("readyz?for=tea = %d", code)
		}
	}
	w := httptest.NewRecorder()
	metrics.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 || !strings.Contains(w.Body.String(), `chancery_transport_requests_total{code="200",route="public /livez"} 2`) {
		t.Errorf("metrics = %d %s", w.Code, w.Body)
	}
	if w := s.ask("GET", "/metrics"); w.Code != 404 {
		t.Errorf("metrics on the public listener: %d", w.Code)
	}
}

func TestLimits(t *testing.T) {
	s := start(t, func(c *Config) { c.PerAddress = transport.Rate{PerSecond: 0.001, Burst: 1} })
	if w := s.ask("GET", "/livez"); w.Code != 200 {
		t.Fatal(w.Code)
	}
	w := s.ask("GET", "/livez")
	if s.refused(w, wire.RateLimited); w.Header().Get("Retry-After") == "" {
		t.Error("a 429 without Retry-After")
	}
	r := httptest.NewRequest("GET", "/livez", strings.NewReader("body"))
	r.RemoteAddr = "192.0.2.9:1"
	s.refused(s.serve(r), wire.Malformed)
}

func TestPanicIsA500(t *testing.T) {
	s := start(t, func(c *Config) {
		c.Ready, c.Logger = func(string) error { panic("secret") }, slog.New(slog.DiscardHandler)
	})
	w := s.ask("GET", "/readyz")
	if s.refused(w, wire.Internal); strings.Contains(w.Body.String(), "secret") {
		t.Error("a panic speaks to strangers")
	}
}

func FuzzPath(f *testing.F) {
	s := start(f)
	s.create("ci", lifecycle.ForArtifact, nil)
	for _, p := range []string{"/keys/ci/jwks.json", "/log/tile/0/000.p/7", "/log/tile/0/x001/x999/000", "/status/kid/%ff", "/readyz?for=%00", "/keys/%2e%2e/x.pem", "/log/checkpoint"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		r, err := http.NewRequest("GET", "http://x/"+strings.TrimPrefix(path, "/"), nil)
		if err != nil {
			return
		}
		r.RemoteAddr, r.RequestURI = "127.0.0.1:1", r.URL.RequestURI()
		if w := s.serve(r); w.Code >= 500 {
			t.Errorf("%q = %d %s", path, w.Code, w.Body)
		}
	})
}

// BenchmarkStatus is the handler's own work for one status read, without the network
// and without a signature.
func BenchmarkStatus(b *testing.B) {
	benchmarkStatus(b, "/status/keys/ci", start(b))
}

// writer is a ResponseWriter that costs nothing.
type writer struct {
	h http.Header
	n int
}

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }
func (w *writer) WriteHeader(int)             {}
