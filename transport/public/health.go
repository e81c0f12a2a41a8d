package public

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/chancery-project/chancery/transport/wire"
)

// live says that the process answers; it looks at nothing else, or a supervisor
// would restart a node whose peers are down.
func (c *call) live() error { return c.health(nil) }

// ready says whether this node can answer reads, or with ?for=sign also sign.
func (c *call) ready() error {
	what := c.r.URL.Query().Get("for")
	if what != "" && what != "sign" {
		return wire.Errorf(wire.Invalid, "for: %.20q is nothing a node can be ready for; leave it out, or ask for sign", what)
	}
	if c.Ready == nil {
		return c.health(nil)
	}
	return c.health(c.Ready(what))
}

func (c *call) health(why error) error {
	out := wire.Health{OK: why == nil, Node: c.Node, Index: c.Ledger.View().Position().Index}
	if why != nil {
		out.Why = wire.Text(why.Error())
	}
	b, err := json.Marshal(out)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	h := c.w.Header()
	h["Cache-Control"] = noStore
	if why == nil {
		c.body(jsonType, append(b, '\n'))
		return nil
	}
	h["Content-Type"] = jsonType
	h["Retry-After"] = []string{"1"}
	c.status = http.StatusServiceUnavailable
	c.w.WriteHeader(c.status)
	_, _ = c.w.Write(append(b, '\n')) // the caller has gone: nobody is left to tell
	return nil
}

// Metrics is the handler of the metrics listener: /metrics for Prometheus, and the
// probes.
func Metrics(c Config, g prometheus.Gatherer) http.Handler {
	p := newPublic(c)
	p.handle(wire.PathLive, nil, (*call).live)
	p.handle(wire.PathReady, []string{"for"}, (*call).ready)
	p.mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{ErrorLog: printer{p.Config}, MaxRequestsInFlight: 4}))
	return p
}

// printer gives promhttp's complaints to the node's log.
type printer struct{ Config }

func (p printer) Println(v ...any) {
	p.Logger.Warn("gather metrics", "err", strings.TrimSpace(fmt.Sprintln(v...)))
}
