package client

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

func TestFailover(t *testing.T) {
	good := startNode(t, operating("rotate"))
	busy := startNode(t, refusing(wire.NoLease))
	c := newClient(t, Config{Addrs: []string{deadAddr(t), busy.URL, good.URL}})
	op, err := c.Rotate(t.Context(), "ci", wire.Rotate{})
	if err != nil {
		t.Fatal(err)
	}
	first, second := busy.requests()[0], good.requests()[0]
	id := first.Header.Get(wire.HeaderRequestID)
	if id == "" || id != second.Header.Get(wire.HeaderRequestID) || op.RequestID != id {
		t.Errorf("attempts had ids %q and %q, the answer %q", id, second.Header.Get(wire.HeaderRequestID), op.RequestID)
	}
	if c.Addrs()[0] != good.URL {
		t.Errorf("preferred is %s, the node that answered is %s", c.Addrs()[0], good.URL)
	}
	if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err != nil {
		t.Fatal(err)
	}
	if len(busy.requests()) != 1 {
		t.Error("the node that had refused was asked first again")
	}
	if again := good.requests()[1].Header.Get(wire.HeaderRequestID); again == id {
		t.Error("two calls share a request id")
	}
}

func TestRefusalIsFinal(t *testing.T) {
	first, second := startNode(t, refusing(wire.KeyRevoked)), startNode(t, operating("rotate"))
	c := newClient(t, Config{Addrs: []string{first.URL, second.URL}})
	_, err := c.Rotate(t.Context(), "ci", wire.Rotate{})
	if wire.CodeOf(err) != wire.KeyRevoked || RequestIDOf(err) == "" {
		t.Errorf("err = %v with request id %q", err, RequestIDOf(err))
	}
	if len(second.requests()) != 0 {
		t.Error("a refusal by the state was tried on another node")
	}
}

func TestUnavailable(t *testing.T) {
	c := newClient(t, Config{Addrs: []string{deadAddr(t)}})
	_, err := c.Rotate(t.Context(), "ci", wire.Rotate{})
	var gone *Unavailable
	if !errors.As(err, &gone) || len(gone.Tried) == 0 || !strings.Contains(gone.Tried[0], "connection refused") {
		t.Errorf("err = %v", err)
	}
}

// TestNothingSentInTime: a node that is frozen takes connections and says nothing.
func TestNothingSentInTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // nobody else uses it
	c := newClient(t, Config{Addrs: []string{"https://" + l.Addr().String()}, CA: x509.NewCertPool()})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = c.Rotate(ctx, "ci", wire.Rotate{})
	var gone *Unavailable
	if !errors.As(err, &gone) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), l.Addr().String()+": no answer in time") {
		t.Errorf("err = %v", err)
	}
}

func TestOutcomeUnknown(t *testing.T) {
	gone := startNode(t, hangUp)
	c := newClient(t, Config{Addrs: []string{gone.URL}, Timeout: 300 * time.Millisecond})
	_, err := c.Revoke(t.Context(), "ci", wire.Revoke{Reason: "keyCompromise"})
	var unknown *OutcomeUnknown
	if !errors.As(err, &unknown) {
		t.Fatalf("err = %v", err)
	}
	for _, r := range gone.requests() {
		if r.Header.Get(wire.HeaderRequestID) != unknown.RequestID {
			t.Errorf("an attempt had id %q, the error says %q", r.Header.Get(wire.HeaderRequestID), unknown.RequestID)
		}
	}
	good := startNode(t, operating("revoke"))
	c = newClient(t, Config{Addrs: []string{good.URL}})
	op, err := c.Revoke(t.Context(), "ci", wire.Revoke{Reason: "keyCompromise"}, WithRequestID(unknown.RequestID))
	if err != nil || op.RequestID != unknown.RequestID {
		t.Errorf("the repeat = %+v, %v", op, err)
	}
}

// TestUnknownThenRefused: after an attempt whose fate is unknown, a refusal that
// the first attempt need not have met settles nothing; one by the state does.
func TestUnknownThenRefused(t *testing.T) {
	for code, settles := range map[wire.Code]bool{wire.Denied: false, wire.IllegalTransition: true} {
		c := newClient(t, Config{Addrs: []string{startNode(t, hangUp).URL, startNode(t, refusing(code)).URL}})
		_, err := c.Suspend(t.Context(), "ci", wire.VersionVerb{})
		var unknown *OutcomeUnknown
		if errors.As(err, &unknown) == settles || wire.CodeOf(err) != code {
			t.Errorf("%s after a lost answer: %v", code, err)
		}
	}
	c := newClient(t, Config{Addrs: []string{startNode(t, refusing(wire.OutcomeUnknown)).URL}, Timeout: 200 * time.Millisecond})
	var unknown *OutcomeUnknown
	if _, err := c.Suspend(t.Context(), "ci", wire.VersionVerb{}); !errors.As(err, &unknown) {
		t.Errorf("the server's outcome_unknown = %v", err)
	}
	if _, err := c.Suspend(t.Context(), "ci", wire.VersionVerb{}, Plan()); errors.As(err, &unknown) {
		t.Errorf("a plan has an unknown outcome: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	c := newClient(t, Config{Addrs: []string{node.URL}})
	_, err := c.Rotate(ctx, "ci", wire.Rotate{})
	var unknown *OutcomeUnknown
	if !errors.As(err, &unknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the middle of a write: %v", err)
	}
	if _, err := c.Key(ctx, "ci"); !errors.Is(err, context.Canceled) || errors.As(err, &unknown) {
		t.Errorf("cancelled before a read: %v", err)
	}
}

func TestRedirect(t *testing.T) {
	leader := startNode(t, operating("rotate"))
	follower := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", leader.URL+"/v1/somewhere/else?x=1")
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	c := newClient(t, Config{Addrs: []string{follower.URL}})
	for range 2 {
		if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err != nil {
			t.Fatal(err)
		}
	}
	got := leader.requests()[0]
	if got.URL.Path != "/v1/keys/ci/rotate" || got.URL.RawQuery != "" || got.Header.Get("Authorization") != "Bearer chy_test" {
		t.Errorf("the leader was asked for %s as %q", got.URL, got.Header.Get("Authorization"))
	}
	if len(follower.requests()) != 1 || len(leader.requests()) != 2 {
		t.Error("the leader was not remembered")
	}
}

// TestRedirectToDeadLeader: until a new leader is elected, followers point to the old
// one. They are alive, so the call waits for the election instead of giving up.
func TestRedirectToDeadLeader(t *testing.T) {
	dead := deadAddr(t)
	var asked atomic.Int32
	follower := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > deadRounds {
			operating("rotate")(w, r)
			return
		}
		w.Header().Set("Location", dead)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	c := newClient(t, Config{Addrs: []string{dead, follower.URL}, Timeout: 30 * time.Second})
	if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err != nil {
		t.Errorf("during an election: %v", err)
	}
}

func TestRedirectLoop(t *testing.T) {
	var a, b *fakeNode
	point := func(to **fakeNode) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", (*to).URL)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
	a, b = startNode(t, point(&b)), startNode(t, point(&a))
	c := newClient(t, Config{Addrs: []string{a.URL}, Timeout: 200 * time.Millisecond})
	_, err := c.Rotate(t.Context(), "ci", wire.Rotate{})
	if wire.CodeOf(err) != wire.NotLeader {
		t.Errorf("err = %v", err)
	}
	if na, nb := len(a.requests()), len(b.requests()); na != nb {
		t.Errorf("%d and %d requests: a redirect was followed twice", na, nb)
	}
}

// TestCredentialsStayInTheCluster: a redirect to a server that the cluster's CA
// does not vouch for, or to plain HTTP, never sees the token.
func TestCredentialsStayInTheCluster(t *testing.T) {
	plain := startNode(t, operating("rotate"))
	var location string
	node := quietTLS(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	foreign := new(fakeNode)
	foreign.Server = quietTLS(t, foreignTLS(t), foreign.record(operating("rotate")))
	pool := x509.NewCertPool()
	pool.AddCert(node.Certificate())
	c := newClient(t, Config{Addrs: []string{node.URL}, CA: pool, Timeout: 200 * time.Millisecond})
	for _, to := range []string{plain.URL, foreign.URL, "https://", "https://user@" + foreign.Listener.Addr().String()} {
		location = to
		if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err == nil {
			t.Errorf("redirected to %s and back with an answer", to)
		}
	}
	if len(plain.requests())+len(foreign.requests()) != 0 {
		t.Error("a request with credentials left the cluster")
	}
}

func TestTLS(t *testing.T) {
	node := quietTLS(t, nil, operating("rotate"))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: node.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	c := newClient(t, Config{Addrs: []string{node.Listener.Addr().String()}, CAFile: ca})
	if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err != nil {
		t.Errorf("over TLS with the right CA: %v", err)
	}
	c = newClient(t, Config{Addrs: []string{node.URL}, CA: x509.NewCertPool(), Timeout: 200 * time.Millisecond})
	if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err == nil || !strings.Contains(err.Error(), "not by the cluster's CA") {
		t.Errorf("over TLS with another CA: %v", err)
	}
}

func TestConfig(t *testing.T) {
	for want, cfg := range map[string]Config{
		"no address":             {},
		"no CA":                  {Addrs: []string{"127.0.0.1:7600"}},
		"has no port":            {Addrs: []string{"node1"}},
		"http is for loopback":   {Addrs: []string{"http://192.0.2.1:7600"}},
		"the scheme is https":    {Addrs: []string{"ftp://127.0.0.1:7600"}},
		"write it like":          {Addrs: []string{"https://node1:7600/v1"}},
		"read the cluster's CA":  {Addrs: []string{"node1:7600"}, CAFile: "no-such-file"},
		"read the token":         {Addrs: []string{"http://127.0.0.1:1"}, TokenFile: "no-such-file"},
		"read the client certif": {Addrs: []string{"http://127.0.0.1:1"}, CertFile: "no-such-file", KeyFile: "no-such-file"},
		"--cert and --cert-key":  {Addrs: []string{"http://127.0.0.1:1"}, CertFile: "no-such-file"},
	} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: err = %v, want %q", cfg, err, want)
		}
	}
}

func TestTokenFile(t *testing.T) {
	node := startNode(t, operating("rotate"))
	file := filepath.Join(t.TempDir(), "token")
	write := func(s string, at time.Time) {
		if err := os.WriteFile(file, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("chy_one\n", time.Unix(1000, 0))
	c, err := New(Config{Addrs: []string{node.URL}, TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	for _, token := range []string{"chy_one", "chy_two"} {
		write(token, time.Unix(int64(1000+len(node.requests())), 0))
		if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err != nil {
			t.Fatal(err)
		}
		all := node.requests()
		if got := all[len(all)-1].Header.Get("Authorization"); got != "Bearer "+token {
			t.Errorf("sent %q, the file says %q", got, token)
		}
	}
	write("two\nlines", time.Unix(2000, 0))
	if _, err := c.Rotate(t.Context(), "ci", wire.Rotate{}); err == nil || !strings.Contains(err.Error(), "one line") {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestPatience: whoever has another way to stop a key does not look for a leader until
// the time is up.
func TestPatience(t *testing.T) {
	n := startNode(t, refusing(wire.NotLeader))
	c := newClient(t, Config{Addrs: []string{n.URL, deadAddr(t)}, Timeout: time.Minute}) // the quorum is lost because nodes are
	began := time.Now()
	_, err := c.Revoke(context.Background(), "ci", wire.Revoke{Reason: "keyCompromise"}, Patience(300*time.Millisecond))
	var gone *Unavailable
	if !errors.As(err, &gone) || wire.CodeOf(err) != wire.NotLeader {
		t.Errorf("without a leader: %v", err)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 30*time.Second {
		t.Errorf("gave up after %s", took)
	}
	if gone != nil && len(gone.Tried) != 2 {
		t.Errorf("tried %q: each outcome once", gone.Tried)
	}
	if len(n.requests()) < 2 {
		t.Error("asked only once: an election takes a moment")
	}
}
