package api

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// Config of an API. What is nil is answered with not_available, unless said
// otherwise.
type Config struct {
	Node      string // this node's name
	Service   *authority.Service
	Signer    *signing.Signer
	Office    *issuing.Office  // nil = no certificates are issued here
	Consumers *consumer.Desk   // nil = none confirms here
	Sets      *publish.Cache   // shared with the public listener; nil = its own
	Clock     func() time.Time // wall time; nil = time.Now
	Logger    *slog.Logger     // nil = slog.Default
	Metrics   prometheus.Registerer

	// ForwardTransport reaches the other nodes' API listeners over TLS with the
	// cluster's CA, without a client certificate. nil = callers are told to go there.
	ForwardTransport http.RoundTripper
	// PublicURL is the base of published links when the settings name none; "" =
	// https and this node's public address.
	PublicURL string

	// Journal reads this node's audit journal.
	Journal Journal
	// Ledger asks a node what its ledger says of a key.
	Ledger evidence.Fetch
	// Tally counts what an instance of this node has signed; false when it is not known.
	// nil = only what the nodes have reported is known.
	Tally func(kid string) (evidence.Count, bool)
	// Cluster tells what the cluster layer knows.
	Cluster func(ctx context.Context) ClusterStatus
	// Fencing tells how far the fence of an entry is, on the node that drives it; nil
	// elsewhere, and for a fence that is not open.
	Fencing func(index uint64) []FenceProgress
	// Snapshot streams a snapshot of the state.
	Snapshot func(ctx context.Context, w io.Writer) error
	// EncodeJoinToken makes the text of a join token, with the CA pin and addresses
	// inside, and the command that uses it.
	EncodeJoinToken func(s authority.JoinSecret) (token, command string, err error)

	Limits Limits
}

// Limits of one API; zero values take the defaults.
type Limits struct {
	PerPrincipal transport.Rate // requests of one principal
	PerAddress   transport.Rate // requests from one address, whoever they are of
	Failures     transport.Rate // failed log-ins and credentials from one address
	Server       transport.ServerOptions
}

func (l Limits) withDefaults() Limits {
	def := func(r *transport.Rate, perSecond float64, burst int) {
		if *r == (transport.Rate{}) {
			*r = transport.Rate{PerSecond: perSecond, Burst: burst}
		}
	}
	// Far above what a node can serve: they keep one caller's loop from filling the
	// node's queues, they are no quota.
	def(&l.PerPrincipal, 50_000, 50_000)
	def(&l.PerAddress, 100_000, 100_000)
	// A secret has 256 random bits; this only keeps a broken client from filling logs.
	def(&l.Failures, 10, 100)
	return l
}

// API answers the API listener.
type API struct {
	Config
	reader     *transport.Reader
	stamper    *transport.Stamper
	principals *transport.Buckets
	addresses  *transport.Buckets
	failures   *transport.Buckets
	counters   *transport.Metrics
	streams    streams
	keys       transport.Bodies
	operations []*route
	describes  func() ([]byte, error) // the OpenAPI description, made at the first request
	handler    http.Handler

	stopOnce sync.Once
	stopping chan struct{} // closed when held requests are to end
}

// New makes an API; it starts nothing.
func New(c Config) *API {
	c.Limits = c.Limits.withDefaults()
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Sets == nil {
		c.Sets = new(publish.Cache)
	}
	a := &API{
		Config:     c,
		reader:     &transport.Reader{Ledger: c.Service.Ledger()},
		stamper:    transport.NewStamper(c.Node),
		principals: transport.NewBuckets(c.Limits.PerPrincipal, nil),
		addresses:  transport.NewBuckets(c.Limits.PerAddress, nil),
		failures:   transport.NewBuckets(c.Limits.Failures, nil),
		stopping:   make(chan struct{}),
	}
	a.operations = routes()
	a.describes = sync.OnceValues(func() ([]byte, error) { return json.MarshalIndent(describe(a.operations), "", " ") })
	a.counters = transport.NewMetrics(c.Metrics)
	for _, r := range a.operations {
		r.metrics = a.counters.Route(r.name)
	}
	a.handler = a.mux()
	return a
}

// Handler is the API as a handler, without the listener's limits.
func (a *API) Handler() http.Handler { return a.handler }

// Stop lets go of requests that are held for a level or an event.
func (a *API) Stop() { a.stopOnce.Do(func() { close(a.stopping) }) }

// Drop forgets what was rendered: called when a fence passes.
func (a *API) Drop() {
	a.keys.Drop()
	a.Sets.Drop()
}

// Serve answers on the listener until ctx ends. Client certificates are asked for
// and not required; whose they are stands in the state.
func (a *API) Serve(ctx context.Context, l net.Listener, c *tls.Config) error {
	o := a.Limits.Server
	o.Logger, o.OnShutdown = a.Logger, a.Stop
	if c != nil {
		c = c.Clone()
		c.ClientAuth = tls.RequestClientCert
		o.TLS = c
	}
	return transport.Serve(ctx, l, a.handler, o)
}

// mux dispatches by method and path; what matches nothing gets an error object too.
func (a *API) mux() http.Handler {
	m := http.NewServeMux()
	byPath := map[string][]string{}
	for _, r := range a.operations {
		m.HandleFunc(r.method+" "+r.pattern, a.serve(r))
		byPath[r.pattern] = append(byPath[r.pattern], r.method)
	}
	for pattern, methods := range byPath {
		m.HandleFunc(pattern, a.wrongMethod(methods))
	}
	m.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		transport.WriteError(w, wire.Errorf(wire.NotFound, "there is no path %.100q", r.URL.Path).WithHint("GET "+wire.PathOpenAPI))
	})
	return transport.Dispatch(m)
}

func (a *API) wrongMethod(methods []string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Allow"] = methods
		transport.WriteError(w, wire.Errorf(wire.MethodNotAllowed, "%s takes %v, not %.20q", r.URL.Path, methods, r.Method))
	}
}
