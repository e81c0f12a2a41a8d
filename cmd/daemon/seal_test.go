package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestSealLocally seals a key and then the node over its socket, restarts it in
// between, and lifts both through the API.
func TestSealLocally(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	conf := configure(t, "n1")
	admin := filepath.Join(t.TempDir(), "admin")
	if _, err := Init(ctx, conf, admin, "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	n := start(t, conf)
	c, err := client.New(client.Config{Addrs: []string{conf.Advertise.API}, CAFile: filepath.Join(admin, "ca.pem"),
		CertFile: filepath.Join(admin, "admin.crt"), KeyFile: filepath.Join(admin, "admin.key"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"ci", "other"} {
		if _, err := c.CreateKey(ctx, wire.CreateKey{Name: key, Purpose: "artifact", Alg: "ES256", Owner: "me@example.com", BusinessReason: "test"}, client.Wait("active", 30*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	sign := func(key string) error {
		// The client would try again until its time is up: the node may be unsealed.
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := c.Sign(ctx, key, wire.SignRequest{Message: []byte("x")}, client.At(conf.Advertise.API))
		return err
	}
	for _, key := range []string{"ci", "other"} {
		if err := sign(key); err != nil {
			t.Fatal(err)
		}
	}
	socket := AdminSocket(conf)
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
	seal := func(key string) *SealAnswer {
		t.Helper()
		a, err := SealLocally(ctx, socket, SealRequest{Key: key, Reason: "drill"})
		if err != nil {
			t.Fatal(err)
		}
		if !a.Kept || a.Key != key || a.Reason != "drill" || !strings.HasPrefix(a.By, fmt.Sprintf("uid %d", os.Getuid())) {
			t.Errorf("answer = %+v", a)
		}
		return a
	}
	one := seal("ci")
	if err := sign("ci"); wire.CodeOf(err) != wire.Sealed {
		t.Fatalf("signed with a sealed key: %v", err)
	}
	if err := sign("other"); err != nil {
		t.Errorf("another key: %v", err)
	}
	if again := seal("ci"); again.ID != one.ID {
		t.Error("the same order is kept twice")
	}
	refusedOrders(ctx, t, socket)

	n.stop(t)
	start(t, conf)
	await(t, "the other key signs again", func() bool { return sign("other") == nil })
	if err := sign("ci"); wire.CodeOf(err) != wire.Sealed {
		t.Fatalf("after a restart: %v", err)
	}
	await(t, "the cluster knows the seal", func() bool {
		row, err := c.Node(ctx, "n1")
		return err == nil && len(row.Seals) == 1 && row.Seals[0].ID == one.ID && row.Seals[0].LiftedAt == 0
	})
	await(t, "status names it", func() bool {
		s, err := c.Status(ctx)
		return err == nil && strings.Contains(fmt.Sprint(s.Problems), "node_sealed")
	})
	if _, err := c.Unseal(ctx, "n1", wire.Unseal{}); wire.CodeOf(err) != wire.Invalid {
		t.Errorf("unsealed without a reason: %v", err)
	}
	if _, err := c.Unseal(ctx, "n1", wire.Unseal{ID: "0011223344556677", Reason: "over"}); wire.CodeOf(err) != wire.SealNotFound {
		t.Errorf("another seal: %v", err)
	}
	if _, err := c.Unseal(ctx, "n1", wire.Unseal{Reason: "over"}); err != nil {
		t.Fatal(err)
	}
	await(t, "the key signs again", func() bool { return sign("ci") == nil })

	seal("")
	if err := sign("other"); wire.CodeOf(err) != wire.Sealed && wire.CodeOf(err) != wire.NoLease {
		t.Fatalf("a sealed node signs: %v", err)
	}
	await(t, "health says that it does not sign", func() bool {
		resp, err := http.Get("http://" + conf.Advertise.Public + "/readyz?for=sign")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	await(t, "status says why", func() bool {
		s, err := c.Status(ctx)
		return err == nil && !s.Nodes[0].Lease.Usable && strings.Contains(string(s.Nodes[0].Lease.Why), "sealed at")
	})
	await(t, "it is lifted", func() bool {
		_, err := c.Unseal(ctx, "n1", wire.Unseal{Reason: "over"})
		return err == nil
	})
	await(t, "the node signs again", func() bool { return sign("ci") == nil })
	kinds := map[string]int{}
	events, err := c.Events(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		kinds[e.Kind]++
	}
	if kinds["node.sealed"] != 2 || kinds["node.unsealed"] != 2 {
		t.Errorf("events: %v", kinds)
	}
}

// refusedOrders are ways not to seal a node.
func refusedOrders(ctx context.Context, t *testing.T, socket string) {
	t.Helper()
	for name, c := range map[string]struct {
		req  SealRequest
		want wire.Code
	}{
		"no reason":     {SealRequest{Key: "ci"}, wire.Invalid},
		"no such key":   {SealRequest{Key: "none", Reason: "r"}, wire.KeyNotFound},
		"no name":       {SealRequest{Key: "../x", Reason: "r"}, wire.KeyNotFound},
		"a control":     {SealRequest{Reason: "a\x01b"}, wire.Invalid},
		"a long reason": {SealRequest{Reason: strings.Repeat("a", 2000)}, wire.Invalid},
		"a huge one":    {SealRequest{Reason: strings.Repeat("a", 1<<20)}, wire.TooLarge},
	} {
		if _, err := SealLocally(ctx, socket, c.req); wire.CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	post := func(method, path, body string) int {
		t.Helper()
		h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			short, done, err := shortPath(socket)
			if err != nil {
				return nil, err
			}
			defer done()
			return new(net.Dialer).DialContext(ctx, "unix", short)
		}}}
		r, err := http.NewRequest(method, "http://node"+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	for _, body := range []string{"", "{", `{"reason":"r"}{}`, `{"reason":"r","x":1}`, `[]`, `{"reason":1}`} {
		if status := post("POST", adminPathSeal, body); status != http.StatusBadRequest {
			t.Errorf("%q: status %d", body, status)
		}
	}
	if post("GET", adminPathSeal, "") != http.StatusMethodNotAllowed || post("POST", "/", "{}") != http.StatusNotFound {
		t.Error("something else is answered too")
	}
	if _, err := SealLocally(ctx, socket+".none", SealRequest{Reason: "r"}); wire.CodeOf(err) != wire.NotAvailable {
		t.Errorf("no socket: %v", err)
	}
}

// TestVisitors lets root and the node's own user in, and nobody else.
func TestVisitors(t *testing.T) {
	if !(visitor{uid: 0}).allowed() || !(visitor{uid: uint32(os.Geteuid())}).allowed() || (visitor{uid: uint32(os.Geteuid()) + 1000}).allowed() {
		t.Error("the wrong ones are let in")
	}
	d := &Daemon{}
	w := &mute{header: http.Header{}}
	r, err := http.NewRequest("POST", adminPathSeal, strings.NewReader(`{"reason":"r"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, ctx := range map[string]context.Context{
		"nobody known": context.Background(),
		"another user": context.WithValue(context.Background(), visitorKey{}, visitor{uid: uint32(os.Geteuid()) + 1000}),
	} {
		d.adminHandler().ServeHTTP(w, r.WithContext(ctx))
		if w.status != http.StatusForbidden {
			t.Errorf("%s: status %d", name, w.status)
		}
	}
}

type mute struct {
	header http.Header
	status int
}

func (r *mute) Header() http.Header         { return r.header }
func (r *mute) Write(b []byte) (int, error) { return len(b), nil }
func (r *mute) WriteHeader(status int)      { r.status = status }

// TestSocketPathOfAnyLength: a data directory may lie deeper than a socket's address
// is long.
func TestSocketPathOfAnyLength(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "admin.sock")
	for range 2 { // the second takes the place of what the first left behind
		l, err := listenAdmin(path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_ = c.Close()
			}
		}()
		short, done, err := shortPath(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", short)
		if err != nil {
			t.Fatal(err)
		}
		done()
		_ = c.Close()
		_ = l.Close()
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
