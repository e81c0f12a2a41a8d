package api

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// writer is a ResponseWriter that costs nothing.
type writer struct {
	h      http.Header
	n      int
	status int
}

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }
func (w *writer) WriteHeader(status int)      { w.status = status }

// BenchmarkShowKey is the API's own work for one read, without the network.
func BenchmarkShowKey(b *testing.B) {
	n := start(b, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	n.create(createCI)
	benchmark(b, n, "signer", "GET", wire.Path(wire.PathKey, "ci"), "")
}

// BenchmarkSign includes the software key store and the verification.
func BenchmarkSign(b *testing.B) {
	n := start(b, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	n.create(createCI)
	benchmark(b, n, "signer", "POST", wire.Path(wire.PathSign, "ci"), `{"digest":"LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}`)
}

// BenchmarkSetPolicy is a change, from the request to the answer, with a ledger in memory
// and an audit journal on the disk.
func BenchmarkSetPolicy(b *testing.B) {
	n := start(b, func(c *Config) { c.Logger = slog.New(slog.DiscardHandler) })
	n.create(createCI)
	body, err := json.Marshal(wire.SetPolicy{Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)})
	if err != nil {
		b.Fatal(err)
	}
	revision := uint64(0)
	benchmarkEach(b, n, "admin", "PUT", wire.Path(wire.PathPolicy, "ci"), func(r *http.Request) {
		revision++
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header["If-Match"] = []string{wire.ETag(revision)}
	})
}

func benchmark(b *testing.B, n *node, as, method, path, body string) {
	b.Helper()
	benchmarkEach(b, n, as, method, path, func(r *http.Request) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
	})
}

func benchmarkEach(b *testing.B, n *node, as, method, path string, fill func(*http.Request)) {
	b.Helper()
	b.ReportAllocs()
	h := n.api.Handler()
	for b.Loop() {
		r, err := http.NewRequest(method, path, nil)
		if err != nil {
			b.Fatal(err)
		}
		r.RequestURI, r.RemoteAddr = path, "192.0.2.1:1"
		r.Header = http.Header{"Authorization": {"Bearer " + secrets[as]}, "Content-Type": {wire.TypeJSON}, "User-Agent": {"bench"}}
		fill(r)
		w := &writer{h: http.Header{}}
		h.ServeHTTP(w, r)
		if w.n == 0 || w.status/100 > 2 {
			b.Fatalf("answered %d, %d bytes", w.status, w.n)
		}
	}
}
