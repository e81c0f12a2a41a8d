package public

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// Config of a public listener.
type Config struct {
	Node    string // this node's name
	Ledger  ledger.Ledger
	Sets    *publish.Cache // shared with the API; nil = its own
	Clock   func() time.Time
	Logger  *slog.Logger
	Metrics prometheus.Registerer

	// Attestor signs status answers; nil = they go unsigned, and say so.
	Attestor *publish.Attestor
	// CRLs are served from; nil = none.
	CRLs *crl.Store
	// OCSP answers at /ocsp; nil = nothing there.
	OCSP *ocsp.Responder
	// PublicURL is the base of published links when the settings name none.
	PublicURL string
	// Ready says whether this node can do something, "" = answer reads, or "sign".
	// nil = always.
	Ready func(what string) error
	// Fetched is told of every fetch of a trust set; nil = nobody is.
	Fetched func(*state.View, consumer.Visit)
	// PerAddress bounds the requests from one address; zero = 100,000 a second.
	PerAddress transport.Rate
}

// Public answers the public listener.
type Public struct {
	Config
	mux       *http.ServeMux
	dispatch  http.Handler // mux, for paths that are clean
	reader    *transport.Reader
	stamper   *transport.Stamper
	addresses *transport.Buckets
	counters  *transport.Metrics
	answers   answers
	ocsp      *transport.RouteMetrics
}

// call is one request. It belongs to its goroutine.
type call struct {
	*Public
	w       http.ResponseWriter
	r       *http.Request
	metrics *transport.RouteMetrics
	name    string
	began   time.Time
	status  int
}

// New makes the handler of a public listener.
func New(c Config) *Public {
	p := newPublic(c)
	nonce := []string{wire.QueryNonce}
	for _, r := range []struct {
		pattern string
		query   []string
		handle  func(*call) error
	}{
		{wire.PathWellKnownJWKS, nil, (*call).wellKnown},
		{wire.PathKeyJWKS, nil, (*call).keySet},
		{wire.PathTrustSet, nonce, (*call).signedSet},
		{wire.PathKeyFile, nil, (*call).keyFile},
		{wire.PathKeyStatus, nonce, (*call).keyStatus},
		{wire.PathKIDStatus, nonce, (*call).kidStatus},
		{wire.PathCertStatus, nonce, (*call).certStatus},
		{wire.PathIssuerFile, nil, (*call).issuerFile},
		{wire.PathRoots, nil, (*call).roots},
		{wire.PathCRL, nil, (*call).list},
		{wire.PathCheckpoint, nil, (*call).checkpoint},
		{wire.PathTile, nil, (*call).tile},
		{wire.PathLive, nil, (*call).live},
		{wire.PathReady, []string{"for"}, (*call).ready},
	} {
		p.handle(r.pattern, r.query, r.handle)
	}
	return p
}

func newPublic(c Config) *Public {
	if c.Sets == nil {
		c.Sets = new(publish.Cache)
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.PerAddress == (transport.Rate{}) {
		c.PerAddress = transport.Rate{PerSecond: 100_000, Burst: 100_000}
	}
	p := &Public{Config: c, mux: http.NewServeMux(), reader: &transport.Reader{Ledger: c.Ledger}, stamper: transport.NewStamper(c.Node),
		addresses: transport.NewBuckets(c.PerAddress, nil), counters: transport.NewMetrics(c.Metrics)}
	p.dispatch = transport.Dispatch(p.mux)
	p.ocsp = p.counters.Route("public " + wire.PathOCSP)
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		transport.WriteError(w, wire.Errorf(wire.NotFound, "there is no path %.100q", r.URL.Path))
	})
	return p
}

// ServeHTTP implements http.Handler.
func (p *Public) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.OCSP != nil && strings.HasPrefix(r.URL.Path, wire.PathOCSP) {
		p.serveOCSP(w, r) // http.ServeMux would clean the path, which is base64
		return
	}
	p.dispatch.ServeHTTP(w, r)
}

// handle adds a route for GET and HEAD.
func (p *Public) handle(pattern string, query []string, handle func(*call) error) {
	m := p.counters.Route("public " + pattern)
	p.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		c := &call{Public: p, w: w, r: r, metrics: m, name: pattern, began: time.Now()}
		defer c.recover()
		if err := c.admit(query); err != nil {
			c.fail(err)
		} else if err := handle(c); err != nil {
			c.fail(err)
		}
		m.Observe(c.status, time.Since(c.began))
	})
}

func (c *call) admit(query []string) error {
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		c.w.Header()["Allow"] = []string{"GET, HEAD"}
		return wire.Errorf(wire.MethodNotAllowed, "%s takes GET and HEAD", c.r.URL.Path)
	}
	if err := transport.CheckHeader(c.r); err != nil {
		return err
	}
	if c.r.ContentLength > 0 {
		return wire.Errorf(wire.Malformed, "%s takes no body", c.r.URL.Path)
	}
	if c.r.URL.RawQuery != "" {
		for name := range c.r.URL.Query() {
			if !slices.Contains(query, name) {
				return wire.Errorf(wire.Invalid, "unknown query parameter %.40q", name)
			}
		}
	}
	return c.addresses.Take(transport.AddressOf(c.r.RemoteAddr))
}

// read pins a state that is as fresh as asked for.
func (c *call) read() (ledger.Snapshot, error) {
	f, err := transport.ParseFreshness(c.r.Header, false)
	if err != nil {
		return ledger.Snapshot{}, err
	}
	return c.reader.Read(c.r.Context(), f)
}

// readAny is read, but gives an old state, marked, rather than none: for answers
// that say less the older they are.
func (c *call) readAny() (ledger.Snapshot, ledger.Freshness, error) {
	f, err := transport.ParseFreshness(c.r.Header, false)
	if err != nil {
		return ledger.Snapshot{}, f, err
	}
	snap, err := c.reader.Read(c.r.Context(), f)
	if errors.Is(err, ledger.ErrStale) {
		f.Level = ledger.Stale
		snap, err = c.reader.Read(c.r.Context(), f)
	}
	return snap, f, err
}

// anchorsAllowed refuses to hand out what a verifier will trust over a connection
// that somebody else may have written on.
func (c *call) anchorsAllowed(snap ledger.Snapshot) error {
	if c.r.TLS != nil || isLoopback(c.r.RemoteAddr) {
		return nil
	}
	if row := snap.Cluster(); row != nil && row.Settings.InsecureTrustAnchors {
		return nil
	}
	return wire.Errorf(wire.NeedsTLS, "public keys that a verifier will trust are served over TLS or loopback only").
		WithHint("use https; or, knowing what it means: chancery cluster set --insecure-trust-anchors=true")
}

func isLoopback(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c *call) fail(err error) {
	e := transport.Failure(err)
	if e.Code == wire.Internal {
		c.Logger.Error("answer a public request", "route", c.name, "err", err)
	}
	if c.status = e.HTTPStatus(); c.status == http.StatusNotFound {
		e.Hint = "" // hints name commands of people who have an identity
	}
	c.stamper.Refusal(c.r.Context(), c.w.Header(), c.Ledger)
	transport.WriteError(c.w, e)
}

func (c *call) recover() {
	p := recover()
	switch {
	case p == nil:
		return
	case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares it like this
		panic(p)
	}
	c.Logger.Error("a public request panicked", "route", c.name, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	c.fail(errors.New("panic"))
	c.metrics.Observe(c.status, time.Since(c.began))
}

// publicURL is the base of published links.
func (c *call) publicURL(snap ledger.Snapshot) string {
	if row := snap.Cluster(); row != nil && row.Settings.PublicURL != "" {
		return strings.TrimSuffix(row.Settings.PublicURL, "/")
	}
	return strings.TrimSuffix(c.PublicURL, "/")
}
