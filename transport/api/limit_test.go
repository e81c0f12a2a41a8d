package api

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

func TestLimits(t *testing.T) {
	n := start(t)
	n.create(createCI)
	sign := wire.Path(wire.PathSign, "ci")
	big := strings.Repeat("x", 70<<10)
	for _, c := range []struct {
		name string
		r    reply
		code wire.Code
	}{
		{"message too large", n.ask("signer", "POST", sign, wire.SignRequest{Message: []byte(big)[:65<<10]}), wire.TooLarge},
		{"sign body too large", n.ask("signer", "POST", sign, wire.SignRequest{Message: []byte(strings.Repeat("x", 80<<10))}), wire.TooLarge},
		{"batch too large", n.ask("signer", "POST", sign, `{"items":[{"message":"`+strings.Repeat("A", 1<<20)+`"}]}`), wire.TooLarge},
		{"too many items", n.ask("signer", "POST", sign, wire.SignRequest{Items: make([]wire.SignItem, 1025)}), wire.Invalid},
		{"admin body too large", n.ask("admin", "POST", wire.PathKeys, `{"name":"`+strings.Repeat("a", 1<<20)+`"}`), wire.TooLarge},
		{"login too large", n.ask("", "POST", wire.PathLogin, `{"challenge":"`+strings.Repeat("a", 20<<10)+`"}`), wire.TooLarge},
		{"header too large", n.ask("admin", "GET", wire.PathKeys, nil, "X-Long", strings.Repeat("h", 9<<10)), wire.HeaderTooLarge},
		{"a body where none belongs", n.ask("admin", "GET", wire.PathKeys, `{}`), wire.Malformed},
		{"not JSON", n.ask("admin", "POST", wire.PathKeys, `name=ci`), wire.Malformed},
		{"unknown field", n.ask("admin", "POST", wire.PathKeys, `{"name":"x","color":"red"}`), wire.Malformed},
		{"wrong type", n.ask("admin", "POST", wire.PathKeys, `{"name":7}`), wire.Malformed},
		{"two values", n.ask("admin", "POST", wire.PathKeys, `{"name":"x"}{"name":"y"}`), wire.Malformed},
		{"a name twice", n.ask("admin", "POST", wire.PathKeys, `{"name":"x","name":"y"}`), wire.Malformed},
		{"nested", n.ask("admin", "POST", wire.PathKeys, `{"policy":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`}`), wire.Malformed},
		{"array", n.ask("admin", "POST", wire.PathKeys, `[]`), wire.Malformed},
		{"another media type", n.ask("admin", "POST", wire.PathKeys, `{}`, "Content-Type", "text/plain"), wire.UnsupportedMedia},
		{"another path", n.ask("admin", "GET", "/v2/keys", nil), wire.NotFound},
		{"another method", n.ask("admin", "DELETE", wire.PathKeys, nil), wire.MethodNotAllowed},
		{"a key name that is none", n.ask("admin", "GET", "/v1/keys/UPPER", nil), wire.Invalid},
		{"a key name that climbs", n.ask("admin", "GET", "/v1/keys/..%2f..%2fetc", nil), wire.Invalid},
		{"no owner", n.ask("admin", "POST", wire.PathKeys, `{"name":"x","purpose":"code","alg":"ES256"}`), wire.Invalid},
		{"unknown algorithm", n.ask("admin", "POST", wire.PathKeys, `{"name":"x","purpose":"code","alg":"HS256","owner":"o","business_reason":"r"}`), wire.Invalid},
		{"unknown policy field", n.ask("admin", "POST", wire.PathKeys, `{"name":"x","purpose":"code","alg":"ES256","owner":"o","business_reason":"r","policy":{"magic":1}}`), wire.Malformed},
		{"linear is no consistency", n.ask("admin", "GET", wire.PathKeys, nil, wire.HeaderConsistency, "linear"), wire.Invalid},
		{"min index is no number", n.ask("admin", "GET", wire.PathKeys, nil, wire.HeaderMinIndex, "-1"), wire.Invalid},
		{"min index of another world", n.ask("admin", "GET", wire.PathKeys, nil, wire.HeaderMinIndex, "99999999999"), wire.Behind},
		{"another epoch", n.ask("admin", "GET", wire.PathKeys, nil, wire.HeaderMinIndex, "1", wire.HeaderMinEpoch, "9"), wire.EpochChanged},
	} {
		t.Run(c.name, func(t *testing.T) {
			if refused(t, c.r, c.code); c.r.status/100 != 4 {
				t.Errorf("status %d", c.r.status)
			}
		})
	}
	if r := n.ask("signer", "POST", sign, wire.SignRequest{Message: []byte(big)[:64<<10]}); r.status != 200 {
		t.Errorf("64 KiB: %d %s", r.status, r.body)
	}
}

func TestMinIndexWaits(t *testing.T) {
	n := start(t)
	here := n.ledger.View().Position().Index
	done := make(chan reply, 1)
	go func() {
		done <- n.ask("admin", "GET", wire.PathKeys, nil, wire.HeaderMinIndex, fmt.Sprint(here+1), wire.HeaderMinEpoch, "1")
	}()
	get[wire.Operation](t, n.ask("admin", "POST", wire.PathKeys, createCI))
	if l := get[wire.List[wire.KeySummary]](t, <-done); len(l.Items) != 1 {
		t.Errorf("a read asked for a position and was answered from before it: %+v", l)
	}
}

func TestFreshness(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.ledger.SetStale(true)
	path := wire.Path(wire.PathKey, "ci")
	refused(t, n.ask("signer", "GET", path, nil), wire.IsStale)
	refused(t, n.ask("signer", "GET", path, nil, wire.HeaderConsistency, wire.Linearizable), wire.IsStale)
	r := n.ask("signer", "GET", path, nil, wire.HeaderConsistency, wire.Stale)
	if k := get[wire.Key](t, r); k.Freshness != wire.Stale || r.header.Get(wire.HeaderFreshness) != wire.Stale {
		t.Errorf("stale read = %+v", k)
	}
	n.ledger.TakeLease("test") // what gives the right to sign; the age of the state does not
	e := refused(t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci"), wire.SignRequest{Message: []byte("x")}), wire.NoLease)
	if e.Hint == "" {
		t.Error("no hint")
	}
	n.ledger.SetStale(false)
	if r := n.ask("signer", "GET", path, nil, wire.HeaderConsistency, wire.Linearizable); r.header.Get(wire.HeaderFreshness) != wire.Linearizable {
		t.Errorf("linearizable read = %v", r.header)
	}
}

// listen serves the API on a listener of its own, with short limits.
func (n *node) listen(c *tls.Config) string {
	n.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- n.api.Serve(ctx, l, c) }()
	n.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			n.t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	n := start(t, func(c *Config) { c.Limits.Server.HeaderTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", n.listen(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/keys HTTP/1.1\r\nHost: x\r\n"); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) || err != nil && strings.Contains(err.Error(), "timeout") {
		t.Errorf("a header that never ends holds the connection: %v", err)
	}
}

func TestSlowBody(t *testing.T) {
	n := start(t, func(c *Config) { c.Limits.Server.BodyTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", n.listen(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"name\":", secrets["admin"])
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if e := wire.ReadError(resp.StatusCode, resp.Body); e.Code != wire.BodyTimedOut || resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("a body that never ends: %d %+v", resp.StatusCode, e)
	}
}

func TestBrokenBody(t *testing.T) {
	n := start(t)
	conn, err := net.Dial("tcp", n.listen(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: 100\r\n\r\n{\"name\":", secrets["admin"])
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if e := wire.ReadError(resp.StatusCode, resp.Body); e.Code != wire.Malformed {
		t.Errorf("a body that broke off: %+v", e)
	}
}

func TestPanicIsA500(t *testing.T) {
	n := start(t, func(c *Config) { c.Cluster = func(context.Context) ClusterStatus { panic("secret detail") } })
	r := n.ask("admin", "GET", wire.PathStatus, nil)
	if refused(t, r, wire.Internal); strings.Contains(string(r.body), "secret") || !strings.Contains(n.log.String(), "secret detail") {
		t.Errorf("panic: %s", r.body)
	}
	get[wire.WhoAmI](t, n.ask("admin", "GET", wire.PathWhoAmI, nil))
}

// FuzzRequest sends any path and body through the whole handler: bad input is the
// caller's fault, never a 5xx.
func FuzzRequest(f *testing.F) {
	for _, rt := range routes() {
		f.Add(rt.method, strings.ReplaceAll(rt.pattern, "{name}", "ci"), `{"name":"x","version":1}`)
	}
	body, err := json.Marshal(createCI)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("POST", wire.PathKeys+"?plan=true", string(body))
	f.Add("GET", "/v1/keys/%00?cursor=%ff", "")
	f.Add("POST", "/v1/keys/ci/verify", `{"token":"eyJhbGciOiJFUzI1NiIsImtpZCI6IngifQ.e30.AA"}`)
	f.Add("GET", "/v1/events?from=18446744073709551615-18446744073709551615", "")
	n := start(f)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if !strings.HasPrefix(path, "/") {
			path = "/" + path
		}
		req, err := http.NewRequest(method, "http://x"+path, strings.NewReader(body))
		if err != nil || strings.Contains(path, "wait=") {
			return
		}
		req.RequestURI = req.URL.RequestURI()
		req.RemoteAddr = "192.0.2.1:1"
		if body != "" {
			req.Header.Set("Content-Type", wire.TypeJSON)
		}
		req.Header.Set("Authorization", "Bearer "+secrets["admin"])
		w := &discard{h: http.Header{}}
		n.api.Handler().ServeHTTP(w, req)
		if w.status >= 500 && w.status != http.StatusNotImplemented {
			t.Errorf("%s %s %q = %d %s", method, path, body, w.status, n.log.String())
		}
	})
}

type discard struct {
	h      http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.h }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
