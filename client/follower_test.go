package client

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// town is a cluster of one node with two faces, as a follower sees it: what it publishes
// of ci, and what it is told.
type town struct {
	t           testing.TB
	office      *office
	public, api *fakeNode

	mu     sync.Mutex // owns what follows
	keys   []*ecdsa.PrivateKey
	index  uint64
	signer *office                 // nil = office
	down   bool                    // both faces hang up
	told   []wire.ConfirmTrustSet  // the confirmations
	good   map[string][]int        // what the last challenge should be answered with
	refuse wire.Code               // of confirmations
	answer func(c *wire.Confirmed) // changes the answer
	jwks   []byte                  // as published
}

func newTown(t *testing.T) *town {
	w := &town{t: t, office: newOfficeAt(t, time.Now(), ourCluster), index: 50}
	w.public = startNode(t, w.locked(w.publish))
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.Path(wire.PathCanaryChallenge, "deploy-eu"), w.locked(w.challenge))
	mux.HandleFunc("POST "+wire.Path(wire.PathConfirmations, "deploy-eu"), w.locked(w.confirm))
	w.api = startNode(t, mux.ServeHTTP)
	w.rotate(p256(t))
	return w
}

// now does something to the town between two looks.
func (w *town) now(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

func (w *town) locked(handle http.HandlerFunc) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.down {
			hangUp(rw, r)
		}
		handle(rw, r)
	}
}

// rotate publishes keys, and a newer state.
func (w *town) rotate(keys ...*ecdsa.PrivateKey) {
	var each []string
	for _, k := range keys {
		set, _ := keySetOf(w.t, k)
		each = append(each, strings.TrimSuffix(strings.TrimPrefix(string(set), `{"keys":[`), `]}`))
	}
	w.now(func() {
		w.keys, w.index, w.jwks = keys, w.index+1, []byte(`{"keys":[`+strings.Join(each, ",")+`]}`)
	})
}

func (w *town) publish(rw http.ResponseWriter, r *http.Request) {
	about := claims().Statement
	about.Subject, about.Nonce, about.Position.Index = wire.TrustSetSubject("ci"), r.URL.Query().Get(wire.QueryNonce), w.index
	about.AsOf, about.ExpiresAt = wire.AsTime(time.Now()), wire.AsTime(time.Now().Add(time.Minute))
	o := w.office
	if w.signer != nil {
		o = w.signer
	}
	h := o.header()
	h["typ"] = wire.TypTrustSet
	_, _ = rw.Write([]byte(o.jws(h, wire.TrustSetClaims{Statement: about, Digest: digestOf(w.jwks), JWKS: w.jwks}))) // the client will see what arrived
}

// challenge has eight good canaries of each kid and eight by a stranger, and one of a kid
// that nobody has loaded.
func (w *town) challenge(rw http.ResponseWriter, r *http.Request) {
	c := wire.CanaryChallenge{Challenge: "c-1", Key: "ci", Instance: r.URL.Query().Get(wire.QueryInstance), Format: wire.FormatDER, Digest: digestOf(w.jwks)}
	w.good = map[string][]int{}
	for n, key := range w.keys {
		_, kid := keySetOf(w.t, key)
		k := wire.CanaryKID{KID: kid, Version: uint64(n + 1), Alg: "ES256"}
		for item := range 16 {
			message, by := fmt.Appendf(nil, "canary %d of %s", item, kid), p256(w.t)
			if item%3 != n%3 && len(w.good[kid]) < 8 {
				by = key
				w.good[kid] = append(w.good[kid], item)
			}
			k.Items = append(k.Items, wire.CanaryItem{Item: item, Message: message, Signature: derOf(w.t, by, message)})
		}
		c.KIDs = append(c.KIDs, k)
	}
	stranger := p256(w.t)
	_, kid := keySetOf(w.t, stranger)
	c.KIDs = append(c.KIDs, wire.CanaryKID{KID: kid, Alg: "ES256", Items: []wire.CanaryItem{{Message: []byte("m"), Signature: derOf(w.t, stranger, []byte("m"))}}})
	answer(rw, 1, w.index, c)
}

func derOf(t testing.TB, key *ecdsa.PrivateKey, message []byte) []byte {
	t.Helper()
	digest := sha256.Sum256(message)
	sig, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (w *town) confirm(rw http.ResponseWriter, r *http.Request) {
	var in wire.ConfirmTrustSet
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		w.t.Error(err)
	}
	if w.refuse != "" {
		refuse(rw, w.refuse)
		return
	}
	w.told = append(w.told, in)
	out := wire.Confirmed{Consumer: "deploy-eu", Key: in.Key, Instance: in.Instance, Digest: in.Digest, Current: in.Digest == digestOf(w.jwks), Proven: in.KIDs,
		ExpiresAt: wire.AsTime(time.Now().Add(time.Hour)), Recorded: true}
	if w.answer != nil {
		w.answer(&out)
	}
	answer(rw, 1, w.index, out)
}

// confirmations are what was told until now.
func (w *town) confirmations() (out []wire.ConfirmTrustSet) {
	w.now(func() { out = slices.Clone(w.told) })
	return out
}

// verifier is what a follower installs into.
type verifier struct {
	sets  [][]byte
	fails error
}

func (v *verifier) install(_ context.Context, set *KeySet, jwks []byte) error {
	if v.fails != nil {
		return v.fails
	}
	if len(set.KIDs()) == 0 {
		return errors.New("a set without keys")
	}
	v.sets = append(v.sets, bytes.Clone(jwks))
	return nil
}

func (w *town) follow(t *testing.T) (*Follower, *verifier) {
	v := &verifier{}
	c := newClient(t, Config{Addrs: []string{w.api.URL}, Public: []string{w.public.URL}, CA: w.office.pool(), Timeout: 2 * time.Second})
	return &Follower{Client: c, Consumer: "deploy-eu", Key: "ci", Instance: "web-01", Install: v.install}, v
}

func step(t *testing.T, f *Follower) *wire.Confirmed {
	t.Helper()
	done, err := f.Step(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return done
}

// TestFollowerConfirms what it has installed, once, and tells good canaries from broken
// ones, those of a key that it does not have from both.
func TestFollowerConfirms(t *testing.T) {
	w := newTown(t)
	f, v := w.follow(t)
	done := step(t, f)
	told := w.confirmations()
	if done == nil || !done.Current || len(told) != 1 || len(v.sets) != 1 || !bytes.Equal(v.sets[0], w.jwks) {
		t.Fatalf("%+v, told %+v, installed %q", done, told, v.sets)
	}
	got := told[0]
	if got.Key != "ci" || got.Instance != "web-01" || got.Digest != digestOf(w.jwks) || got.Challenge != "c-1" || len(got.KIDs) != 1 || got.Empty || !reflect.DeepEqual(got.Verified, w.good) {
		t.Errorf("told %+v, the good ones are %v", got, w.good)
	}
	if n := len(w.good[got.KIDs[0]]); n != 8 {
		t.Fatalf("the test has %d good canaries", n)
	}
	// Nothing has changed: nothing is installed, nothing is said.
	if done = step(t, f); done != nil || len(v.sets) != 1 || len(w.confirmations()) != 1 {
		t.Errorf("again: %+v, installed %d times, told %d", done, len(v.sets), len(w.confirmations()))
	}
	// A changed set is installed and confirmed at once, though the old confirmation stands.
	w.rotate(w.keys[0], p256(t))
	if done = step(t, f); done == nil || len(v.sets) != 2 || !bytes.Equal(v.sets[1], w.jwks) || len(done.Proven) != 2 {
		t.Errorf("after a rotation: %+v, installed %d times", done, len(v.sets))
	}
	if told = w.confirmations(); !reflect.DeepEqual(told[1].Verified, w.good) {
		t.Errorf("told %v, the good ones are %v", told[1].Verified, w.good)
	}
}

// TestFollowerConfirmsAgain at the next look while something is missing, and before half
// of a confirmation's life is left otherwise.
func TestFollowerConfirmsAgain(t *testing.T) {
	w := newTown(t)
	f, _ := w.follow(t)
	for _, lacks := range []func(c *wire.Confirmed){func(c *wire.Confirmed) { c.Unproven = []string{"k"} }, func(c *wire.Confirmed) { c.Current = false }} {
		w.now(func() { w.answer = lacks })
		before := len(w.confirmations())
		if once, again := step(t, f), step(t, f); once == nil || again == nil || len(w.confirmations()) != before+2 {
			t.Errorf("told %d times", len(w.confirmations())-before)
		}
	}
	w.now(func() { w.answer = nil })
	begun := time.Now()
	step(t, f)
	if in := f.next.Sub(begun); in <= 30*time.Minute || in >= 45*time.Minute {
		t.Errorf("the next of an hour is in %s", in)
	}
}

// TestFollowerKeepsTheLastSet whatever comes instead of a newer one: nothing, a forgery,
// an older one.
func TestFollowerKeepsTheLastSet(t *testing.T) {
	w := newTown(t)
	f, v := w.follow(t)
	old := w.keys[0]
	w.rotate(old, p256(t))
	step(t, f)
	latest, digest := w.index, f.digest
	forger := newOfficeAt(t, time.Now(), ourCluster)
	for _, bad := range []struct {
		name string
		want error
		do   func()
	}{
		{"nobody answers", nil, func() { w.down = true }},
		{"signed by another CA", ErrForged, func() { w.signer = forger }},
		{"an older state", ErrWentBack, func() { w.index = latest - 1 }},
	} {
		set, _ := keySetOf(t, old)
		was := w.jwks
		w.now(func() { w.jwks = set; bad.do() })
		done, err := f.Step(t.Context())
		if err == nil || bad.want != nil && !errors.Is(err, bad.want) || done != nil {
			t.Errorf("%s: %+v, %v", bad.name, done, err)
		}
		if len(v.sets) != 1 || f.digest != digest || len(w.confirmations()) != 1 {
			t.Errorf("%s: installed %d times, told %d times", bad.name, len(v.sets), len(w.confirmations()))
		}
		w.now(func() { w.down, w.signer, w.index, w.jwks = false, nil, latest, was })
		if done := step(t, f); done != nil || len(v.sets) != 1 {
			t.Errorf("after %s: %+v, installed %d times", bad.name, done, len(v.sets))
		}
	}
}

// TestFollowerSaysNothingThatIsNotSo: no confirmation of what could not be installed, or
// is not what is in use.
func TestFollowerSaysNothingThatIsNotSo(t *testing.T) {
	w := newTown(t)
	f, v := w.follow(t)
	v.fails = errors.New("nginx -s reload: exit status 1")
	for range 2 { // it is tried again at each look
		if done, err := f.Step(t.Context()); !errors.Is(err, v.fails) || done != nil {
			t.Errorf("%+v, %v", done, err)
		}
	}
	v.fails = nil
	var inUse []byte
	f.Loaded = func() ([]byte, error) { return inUse, nil }
	if _, err := f.Step(t.Context()); err == nil || !strings.Contains(err.Error(), "somebody else writes there") {
		t.Errorf("another file is in use: %v", err)
	}
	unreadable := errors.New("permission denied")
	f.Loaded = func() ([]byte, error) { return nil, unreadable }
	if _, err := f.Step(t.Context()); !errors.Is(err, unreadable) {
		t.Errorf("%v", err)
	}
	if told := w.confirmations(); len(told) != 0 {
		t.Fatalf("told %+v", told)
	}
	f.Loaded = func() ([]byte, error) { return v.sets[len(v.sets)-1], nil }
	if before := len(v.sets); step(t, f) == nil || len(v.sets) != before+1 {
		t.Errorf("what was lost is not installed again")
	}
	// A confirmation that is refused is made again at the next look.
	w.rotate(p256(t))
	w.now(func() { w.refuse = wire.WrongDigest })
	if _, err := f.Step(t.Context()); wire.CodeOf(err) != wire.WrongDigest {
		t.Errorf("%v", err)
	}
	w.now(func() { w.refuse = "" })
	if step(t, f) == nil {
		t.Error("it was not confirmed again")
	}
}

// TestFollowerRuns over a cluster that is away and comes back, until its context ends,
// and leaves nothing behind.
func TestFollowerRuns(t *testing.T) {
	w := newTown(t)
	f, _ := w.follow(t)
	f.Every = time.Millisecond
	w.now(func() { w.down = true })
	before := runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	eventually(t, "it looks while nobody answers", func() bool { return len(w.public.requests()) > 2 })
	w.now(func() { w.down = false })
	eventually(t, "it confirms when they are back", func() bool { return len(w.confirmations()) == 1 })
	looks := len(w.public.requests())
	eventually(t, "it goes on looking", func() bool { return len(w.public.requests()) > looks+2 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := len(w.confirmations()); n != 1 {
		t.Errorf("told %d times", n)
	}
	f.Client.Close()
	w.public.CloseClientConnections()
	w.api.CloseClientConnections()
	eventually(t, "its goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
