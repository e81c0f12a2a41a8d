package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestConnections(t *testing.T) {
	c := newConnections(2)
	conn := func() net.Conn {
		a, b := net.Pipe()
		t.Cleanup(func() { _, _ = a.Close(), b.Close() })
		return a
	}
	first, second, third, fourth := conn(), conn(), conn(), conn()
	for _, x := range []net.Conn{first, second} {
		if c.move(x, http.StateNew) != nil || c.move(x, http.StateActive) != nil {
			t.Fatal("two are within the bound")
		}
	}
	if c.move(third, http.StateNew) != third {
		t.Error("with all others busy the new one goes")
	}
	c.move(third, http.StateClosed)
	c.move(second, http.StateIdle)
	c.move(first, http.StateIdle)
	if c.move(third, http.StateNew) != second {
		t.Error("the longest idle one goes")
	}
	c.move(second, http.StateClosed)
	c.move(first, http.StateActive)
	if c.move(fourth, http.StateNew) != third {
		t.Error("one that never sent anything goes before one at work")
	}
	for _, x := range []net.Conn{first, third, fourth} {
		c.move(x, http.StateClosed)
	}
	if len(c.open) != 0 || c.idle.Len() != 0 {
		t.Errorf("%d open and %d idle after all have closed", len(c.open), c.idle.Len())
	}
}

func TestServeEndsInOrder(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	inside, release := make(chan struct{}), make(chan struct{})
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(inside)
		<-release
		_, _ = io.WriteString(w, "done")
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	shutdown := make(chan struct{})
	go func() { served <- Serve(ctx, l, h, ServerOptions{OnShutdown: func() { close(shutdown) }}) }()
	body := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + l.Addr().String())
		if err != nil {
			body <- err.Error()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		body <- string(b)
	}()
	<-inside
	cancel()
	<-shutdown
	close(release)
	if got := <-body; got != "done" {
		t.Errorf("a request in flight got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("Serve = %v", err)
	}
}

// TestSlowBody: a body that drips in holds a connection no longer than its time, whether
// the handler reads it or not.
func TestSlowBody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/read" {
			if _, err := io.ReadAll(r.Body); err != nil {
				WriteError(w, Failure(err))
			}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, l, h, ServerOptions{BodyTimeout: 50 * time.Millisecond}) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve = %v", err)
		}
	})
	for _, path := range []string{"/read", "/ignore"} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx", path); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(c) // until the server closes it
		if err != nil {
			t.Errorf("%s: the connection stays open: %v", path, err)
		}
		if path == "/read" && !bytes.Contains(answer, []byte("408 Request Timeout")) {
			t.Errorf("%s: %s", path, answer)
		}
	}
}

func TestBuckets(t *testing.T) {
	now := time.Unix(1000, 0)
	b := NewBuckets(Rate{PerSecond: 1, Burst: 2}, func() time.Time { return now })
	for range 2 {
		if err := b.Take("a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Take("a"); wire.CodeOf(err) != wire.RateLimited {
		t.Errorf("the third at once = %v", err)
	}
	if err := b.Take("b"); err != nil {
		t.Errorf("another name = %v", err)
	}
	now = now.Add(time.Second)
	if err := b.Take("a"); err != nil {
		t.Errorf("a second later = %v", err)
	}
	b.count.Store(maxBuckets) // as if so many more had come
	if err := b.Take("c"); err != nil {
		t.Fatal(err)
	}
	kept := 0
	b.buckets.Range(func(any, any) bool { kept++; return true })
	if kept != 0 || b.count.Load() != maxBuckets-2 {
		t.Errorf("%d names are kept past the bound, the count is %d", kept, b.count.Load())
	}
	if err := NewBuckets(Rate{}, nil).Take("x"); err != nil {
		t.Errorf("no rate = %v", err)
	}
}

func TestAddressOf(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.7:99": "192.0.2.7", "[2001:db8:1:2:3:4:5:6]:99": "2001:db8:1:2::/64", "[::ffff:192.0.2.7]:1": "192.0.2.7",
		"[fe80::1%eth0]:1": "fe80::/64", "pipe": "pipe", "x:1": "x"} {
		if got := AddressOf(in); got != want {
			t.Errorf("%s = %s, want %s", in, got, want)
		}
	}
}

func TestMetricsAreShared(t *testing.T) {
	reg := prometheus.NewRegistry()
	a, b := NewMetrics(reg).Route("x"), NewMetrics(reg).Route("x")
	a.Observe(200, time.Millisecond)
	b.Observe(200, time.Millisecond)
	b.Observe(-7, time.Millisecond)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() == "chancery_transport_requests_total" {
			for _, m := range f.GetMetric() {
				got[m.GetLabel()[0].GetValue()] = m.GetCounter().GetValue()
			}
		}
	}
	if got["200"] != 2 || got["500"] != 1 {
		t.Errorf("counters = %v", got)
	}
}

func TestRenderedAge(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	type answer struct {
		Name      string        `json:"name"`
		Position  wire.Position `json:"position"`
		AsOf      wire.Time     `json:"as_of"`
		Freshness string        `json:"freshness"`
	}
	var b Bodies
	made := 0
	render := func() []byte {
		snap, err := l.Read(context.Background(), ledger.Freshness{})
		if err != nil {
			t.Fatal(err)
		}
		body, tail, err := b.Render("x", snap, l.Clock().Now(), func() ([]byte, error) {
			made++
			whole, err := json.Marshal(answer{Name: `"position":` + fmt.Sprint(made)})
			return Open(whole), err
		})
		if err != nil {
			t.Fatal(err)
		}
		out := append(bytes.Clone(body), tail...)
		want, err := json.Marshal(answer{Name: `"position":` + fmt.Sprint(made), Position: Position(snap.Position()), AsOf: wire.AsTime(snap.AsOf), Freshness: wire.Bounded})
		if err != nil || !bytes.Equal(bytes.TrimSpace(out), want) {
			t.Errorf("rendered %s\nwant     %s", out, want)
		}
		return out
	}
	render()
	if render(); made != 1 {
		t.Errorf("made %d times at one position", made)
	}
	ledgertest.Join(t, l, "another")
	if render(); made != 2 {
		t.Error("an old body was given at a new position")
	}
	l.Clock().Advance(time.Second)
	if render(); made != 3 {
		t.Error("a body was given for longer than a second")
	}
}

func TestParseFreshness(t *testing.T) {
	h := func(kv ...string) http.Header {
		out := http.Header{}
		for i := 0; i < len(kv); i += 2 {
			out.Add(kv[i], kv[i+1])
		}
		return out
	}
	f, err := ParseFreshness(h(wire.HeaderConsistency, wire.Linearizable, wire.HeaderMinIndex, "7", wire.HeaderMinEpoch, "2"), true)
	if err != nil || f.Level != ledger.Linearizable || f.MinIndex != 7 || f.MinEpoch != 2 {
		t.Errorf("%+v, %v", f, err)
	}
	for _, bad := range []http.Header{h(wire.HeaderConsistency, "x"), h(wire.HeaderConsistency, "stale", wire.HeaderConsistency, "bounded"),
		h(wire.HeaderMinIndex, "x"), h(wire.HeaderMinIndex, "1", wire.HeaderMinIndex, "2"), h(wire.HeaderMinEpoch, "-1")} {
		if _, err := ParseFreshness(bad, true); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%v = %v", bad, err)
		}
	}
	if _, err := ParseFreshness(h(wire.HeaderConsistency, wire.Linearizable), false); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("linearizable where it is not offered = %v", err)
	}
}

func TestWaitersAreBounded(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	r := &Reader{Ledger: l}
	r.waiting.Store(maxWaiting)
	here := l.View().Position().Index
	if _, err := r.Read(context.Background(), ledger.Freshness{MinIndex: here + 1}); err != ledger.ErrBusy { //nolint:errorlint // returned as it is
		t.Errorf("one waiter too many = %v", err)
	}
	if _, err := r.Read(context.Background(), ledger.Freshness{MinIndex: here}); err != nil {
		t.Errorf("what need not wait = %v", err)
	}
	if r.waiting.Load() != maxWaiting {
		t.Error("the count of waiters drifts")
	}
}

func TestCheckHeader(t *testing.T) {
	r := &http.Request{Method: "GET", RequestURI: "/", Header: http.Header{"X": {strings.Repeat("a", wire.MaxHeaderBytes)}}}
	if wire.CodeOf(CheckHeader(r)) != wire.HeaderTooLarge {
		t.Error("a header past the limit was let through")
	}
	r.Header = http.Header{"X": {"a"}}
	if err := CheckHeader(r); err != nil {
		t.Error(err)
	}
}
