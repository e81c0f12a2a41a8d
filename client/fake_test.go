package client

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// fakeNode is one node: it notes every request and answers with handle.
type fakeNode struct {
	*httptest.Server
	mu   sync.Mutex
	seen []*http.Request
}

func startNode(t *testing.T, handle http.HandlerFunc) *fakeNode {
	t.Helper()
	n := new(fakeNode)
	n.Server = httptest.NewServer(n.record(handle))
	t.Cleanup(n.Server.Close)
	return n
}

func (n *fakeNode) record(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		// net/http notices that a client is gone only after the body was read.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		n.mu.Lock()
		n.seen = append(n.seen, r.Clone(r.Context()))
		n.mu.Unlock()
		handle(w, r)
	}
}

func (n *fakeNode) requests() []*http.Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*http.Request(nil), n.seen...)
}

// deadAddr is an address where nobody listens.
func deadAddr(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.NotFoundHandler())
	s.Close()
	return s.URL
}

func newClient(t *testing.T, cfg Config) *Client {
	t.Helper()
	if cfg.Timeout == 0 {
		cfg.Timeout = 5 * time.Second
	}
	if cfg.Token == "" {
		cfg.Token = "chy_test"
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// answer writes v as a node at epoch-index would.
func answer(w http.ResponseWriter, epoch, index uint64, v any) {
	w.Header().Set(wire.HeaderEpoch, strconv.FormatUint(epoch, 10))
	w.Header().Set(wire.HeaderIndex, strconv.FormatUint(index, 10))
	w.Header().Set("Content-Type", wire.TypeJSON)
	_ = json.NewEncoder(w).Encode(v) // the client will see what arrived
}

func refuse(w http.ResponseWriter, code wire.Code) {
	e := wire.Errorf(code, "refused with %s", code)
	w.WriteHeader(e.HTTPStatus())
	_ = json.NewEncoder(w).Encode(e) // the client will see what arrived
}

func refusing(code wire.Code) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { refuse(w, code) }
}

func operating(verb string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(w, 1, 10, wire.Operation{RequestID: r.Header.Get(wire.HeaderRequestID), Verb: verb, Reached: wire.Committed})
	}
}

// hangUp closes the connection without a word, as a killed process does.
func hangUp(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }

// quietTLS is a TLS server that keeps failed handshakes to itself.
func quietTLS(t *testing.T, cfg *tls.Config, handle http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(handle)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = cfg
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}
