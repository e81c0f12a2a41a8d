package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// says answers as a public listener does; change gets the truth before it is signed.
func (o *office) says(change func(r *http.Request, c *wire.StatusClaims)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, now := claims(), time.Now()
		c.AsOf, c.ExpiresAt, c.Nonce = wire.AsTime(now), wire.AsTime(now.Add(5*time.Second)), r.URL.Query().Get(wire.QueryNonce)
		if change != nil {
			change(r, &c)
		}
		// What stands around the statement is whatever a liar would like.
		w.Header().Set(wire.HeaderEpoch, "7")
		w.Header().Set(wire.HeaderIndex, "999999")
		_ = json.NewEncoder(w).Encode(wire.KeyStatus{Status: wire.Good, Signed: true, JWS: o.jws(o.header(), c)}) // the client will see what arrived
	}
}

func statusClient(t *testing.T, o *office, nodes ...*fakeNode) *Client {
	t.Helper()
	cfg := Config{Addrs: []string{deadAddr(t)}, CA: o.pool(), Timeout: 2 * time.Second}
	for _, n := range nodes {
		cfg.Public = append(cfg.Public, n.URL)
	}
	return newClient(t, cfg)
}

func TestKeyStatus(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	n := startNode(t, o.says(nil))
	c := statusClient(t, o, n)
	s, err := c.KeyStatus(t.Context(), "ci")
	if err != nil || !s.Good() || s.Node != "n1" || s.JWS == "" {
		t.Fatalf("%+v, %v", s, err)
	}
	if epoch, index := c.Seen(); epoch != 1 || index != 50 {
		t.Errorf("seen %d-%d: only what is signed counts", epoch, index)
	}
	if _, err := c.KeyStatus(t.Context(), "ci"); err != nil {
		t.Fatal(err)
	}
	all := n.requests()
	first, second := all[0], all[1]
	if a, b := first.URL.Query().Get("nonce"), second.URL.Query().Get("nonce"); wire.CheckNonce(a) != nil || a == b {
		t.Errorf("nonces %q and %q", a, b)
	}
	if first.Header.Get("Authorization") != "" || first.Header.Get(wire.HeaderMinIndex) != "" || second.Header.Get(wire.HeaderMinIndex) != "50" {
		t.Errorf("asked with %v, then %v", first.Header, second.Header)
	}
	if one, err := statusClient(t, o, startNode(t, o.says(func(r *http.Request, c *wire.StatusClaims) {
		if c.Subject = wire.KIDSubject("the-kid"); r.URL.Path != "/status/kid/the-kid" {
			t.Errorf("asked for %s", r.URL.Path)
		}
	}))).KIDStatus(t.Context(), "the-kid"); err != nil || !one.Good() {
		t.Errorf("kid: %+v, %v", one, err)
	}
	if (*Status)(nil).Good() {
		t.Error("nothing is good")
	}
}

// TestStatusFailsClosed: whatever a single node answers, nothing comes of it but an
// error, and another node's good answer is found behind it.
func TestStatusFailsClosed(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	stranger := newOfficeAt(t, time.Now(), ourCluster)
	recorded := claims()
	recorded.AsOf, recorded.ExpiresAt, recorded.Nonce = wire.AsTime(time.Now()), wire.AsTime(time.Now().Add(time.Minute)), "recorded-earlier"
	replay := o.jws(o.header(), recorded)
	plain := func(v any) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(v) } // the client will see what arrived
	}
	said := func(f func(c *wire.StatusClaims)) http.HandlerFunc {
		return o.says(func(_ *http.Request, c *wire.StatusClaims) { f(c) })
	}
	for name, c := range map[string]struct {
		handle http.HandlerFunc
		want   error
	}{
		"unsigned":            {plain(wire.KeyStatus{Status: wire.Good}), ErrUnsigned},
		"says it is signed":   {plain(wire.KeyStatus{Status: wire.Good, Signed: true}), ErrUnsigned},
		"signed, says it not": {plain(wire.KeyStatus{Status: wire.Good, JWS: replay}), ErrUnsigned},
		"another CA":          {stranger.says(nil), ErrForged},
		"replayed":            {plain(wire.KeyStatus{Signed: true, JWS: replay}), ErrOtherQuestion},
		"another key's":       {said(func(c *wire.StatusClaims) { c.Subject = wire.KeySubject("other") }), ErrOtherQuestion},
		"an older state":      {said(func(c *wire.StatusClaims) { c.Position.Index = 39 }), ErrWentBack},
		"old":                 {said(func(c *wire.StatusClaims) { c.ExpiresAt = wire.AsTime(time.Now().Add(-2 * time.Minute)) }), ErrExpired},
		"good and stale":      {said(func(c *wire.StatusClaims) { c.Freshness = wire.Stale }), ErrForged},
		"a page":              {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, nil},
		"hangs up":            {hangUp, nil},
		"behind":              {refusing(wire.Behind), &wire.Error{Code: wire.Behind}},
		"redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1:1/", http.StatusTemporaryRedirect)
		}, nil},
		"epoch, without proof": {refusing(wire.EpochChanged), &wire.Error{Code: wire.EpochChanged}},
	} {
		bad, good := startNode(t, c.handle), startNode(t, o.says(nil))
		alone := statusClient(t, o, bad)
		alone.Anchor(1, 40)
		s, err := alone.KeyStatus(t.Context(), "ci")
		if err == nil || s.Good() || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, s, err, c.want)
		}
		if _, index := alone.Seen(); index != 40 {
			t.Errorf("%s: it moved what was seen to %d", name, index)
		}
		both := statusClient(t, o, bad, good)
		both.Anchor(1, 40)
		if s, err := both.KeyStatus(t.Context(), "ci"); err != nil || !s.Good() {
			t.Errorf("%s: the other node was not heard: %v", name, err)
		}
	}
	blind, err := New(Config{Addrs: []string{"http://127.0.0.1:1"}, Public: []string{"http://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := blind.KeyStatus(t.Context(), "ci"); !errors.Is(err, ErrForged) {
		t.Errorf("without a CA: %v", err)
	}
}

func TestStatusPrefersWhoKnows(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	stale := startNode(t, o.says(func(_ *http.Request, c *wire.StatusClaims) { c.Status, c.Freshness = wire.Indeterminate, wire.Stale }))
	revoked := startNode(t, o.says(func(_ *http.Request, c *wire.StatusClaims) { c.Status, c.Freshness = wire.Revoked, wire.Stale }))
	good := startNode(t, o.says(nil))
	if s, err := statusClient(t, o, stale).KeyStatus(t.Context(), "ci"); err != nil || s.Good() || s.Status != wire.Indeterminate {
		t.Errorf("only a stale node: %+v, %v", s, err)
	}
	if s, err := statusClient(t, o, stale, good).KeyStatus(t.Context(), "ci"); err != nil || !s.Good() {
		t.Errorf("a fresh node behind it: %+v, %v", s, err)
	}
	if s, err := statusClient(t, o, stale, revoked, good).KeyStatus(t.Context(), "ci"); err != nil || s.Status != wire.Revoked {
		t.Errorf("a revocation: %+v, %v", s, err)
	}
}

// TestStatusAfterARestore: the refusal is not believed, the signed answer is.
func TestStatusAfterARestore(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	restored := o.says(func(_ *http.Request, c *wire.StatusClaims) { c.Position = wire.Position{Epoch: 2, Index: 9} })
	n := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		if e := r.Header.Get(wire.HeaderMinEpoch); e != "" && e != "2" {
			refuse(w, wire.EpochChanged)
			return
		}
		restored(w, r)
	})
	c := statusClient(t, o, n)
	c.Anchor(1, 40)
	var changed *EpochChanged
	if s, err := c.KeyStatus(t.Context(), "ci"); !errors.Is(err, ErrEpoch) || !errors.As(err, &changed) || changed.Was != 1 || changed.Now != 2 || s != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	c.ReAnchor()
	if s, err := c.KeyStatus(t.Context(), "ci"); err != nil || !s.Good() {
		t.Errorf("after ReAnchor: %v", err)
	}
}

func TestPublicListenersAreFound(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	api := startNode(t, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 1, 40, wire.List[wire.Node]{Items: []wire.Node{{Name: "gone", Status: lifecycle.Removed, Addrs: lifecycle.Addrs{Public: "192.0.2.1:7601"}},
			{Name: "n1", Status: lifecycle.Member, Addrs: lifecycle.Addrs{Public: "node1.test:7601"}}}})
	})
	c := newClient(t, Config{Addrs: []string{api.URL}, CA: o.pool()})
	for range 2 {
		if l, err := c.publicNodes(t.Context(), &call{}); err != nil || len(l) != 1 || l[0] != "https://node1.test:7601" {
			t.Errorf("found %v, %v", l, err)
		}
	}
	if len(api.requests()) != 1 {
		t.Errorf("asked %d times", len(api.requests()))
	}
	for _, bad := range []string{"ftp://x:1", "http://u:p@x:1", "http://x:1/path", "http://x:1?q", "://", "http://"} {
		if _, err := New(Config{Addrs: []string{"http://127.0.0.1:1"}, Public: []string{bad}}); err == nil {
			t.Errorf("public address %q was taken", bad)
		}
	}
}

func TestTrustSet(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	jwks, kid := keySetOf(t, p256(t))
	var lie atomic.Bool
	n := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		about := claims().Statement
		about.Subject, about.Nonce, about.ExpiresAt = wire.TrustSetSubject("ci"), r.URL.Query().Get("nonce"), wire.AsTime(time.Now().Add(time.Minute))
		h := o.header()
		h["typ"] = wire.TypTrustSet
		c := wire.TrustSetClaims{Statement: about, Digest: digestOf(jwks), JWKS: jwks}
		if lie.Load() {
			c.Nonce = "another-nonce"
		}
		_, _ = w.Write([]byte(o.jws(h, c))) // the client will see what arrived
	})
	c := statusClient(t, o, n)
	set, cl, err := c.TrustSet(t.Context(), "ci")
	if err != nil || len(set.KIDs()) != 1 || set.KIDs()[0] != kid || cl.Node != "n1" {
		t.Fatalf("%v, %v", set, err)
	}
	lie.Store(true)
	if set, _, err := c.TrustSet(t.Context(), "ci"); !errors.Is(err, ErrOtherQuestion) || set != nil {
		t.Errorf("a recorded set: %v", err)
	}
	if got := n.requests()[0].URL.Path; got != "/keys/ci/trust-set" {
		t.Errorf("asked for %s", got)
	}
}
