package api

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/transport/wire"
)

// writer is a ResponseWriter that costs nothing.
type writer struct {
	h http.Header
	n int
}

func (w *writer) Header() http.Header         { return w.h }
func (w *writer) Write(b []byte) (int, error) { w.n += len(b); return len(b), nil }
func (w *writer) WriteHeader(int)             {}

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

func benchmark(b *testing.B, n *node, as, method, path, body string) {
	b.Helper()
	b.ReportAllocs()
	h := n.api.Handler()
	for b.Loop() {
		r, err := http.NewRequest(method, path, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		r.RequestURI, r.RemoteAddr = path, "192.0.2.1:1"
		r.Header = http.Header{"Authorization": {"Bearer " + secrets[as]}, "Content-Type": {wire.TypeJSON}, "User-Agent": {"bench"}}
		w := &writer{h: http.Header{}}
		h.ServeHTTP(w, r)
		if w.n == 0 {
			b.Fatal("no answer")
		}
	}
}
