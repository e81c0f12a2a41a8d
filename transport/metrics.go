package transport

import (
	"errors"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts the requests of a node's listeners by route and status.
type Metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	Held     prometheus.Gauge // requests held for a level or an event

	withdrawals *prometheus.HistogramVec
}

// NewMetrics registers the metrics, or takes those that another listener of the
// node has registered. reg may be nil.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	return &Metrics{
		requests: registered(reg, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chancery_transport_requests_total",
			Help: "Requests by route and HTTP status."}, []string{"route", "code"})),
		took: registered(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chancery_transport_request_seconds",
			Help:    "Time from the headers to the answer, in seconds.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 60}}, []string{"route"})),
		Held: registered[prometheus.Gauge](reg, prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_transport_held_requests",
			Help: "Requests held for a level or an event."})),
		withdrawals: registered(reg, prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chancery_transport_withdrawal_seconds",
			Help:    "Time from a request that takes a right away to a level of it, or to giving up the wait (reached=false), in seconds.",
			Buckets: []float64{.001, .003, .005, .01, .02, .03, .05, .1, .3, 1, 2, 3, 4.25, 6, 8, 15, 30, 60}}, []string{"level", "reached"})),
	}
}

// Withdrawal observes that a request which takes a right away has waited for a level,
// and whether it was reached.
func (m *Metrics) Withdrawal(level string, reached bool, took time.Duration) {
	m.withdrawals.WithLabelValues(level, strconv.FormatBool(reached)).Observe(took.Seconds())
}

func registered[C prometheus.Collector](reg prometheus.Registerer, c C) C {
	if reg == nil {
		return c
	}
	if err := reg.Register(c); err != nil {
		var there prometheus.AlreadyRegisteredError
		if errors.As(err, &there) {
			return there.ExistingCollector.(C)
		}
		panic(err) // two metrics of one name and different labels: a mistake in the source
	}
	return c
}

// RouteMetrics are the metrics of one route. The counter of a status is looked up
// once and kept, because labels cost more than the request's own work.
type RouteMetrics struct {
	name   string
	all    *Metrics
	took   prometheus.Observer
	status [600]atomic.Pointer[prometheus.Counter]
}

// Route makes the metrics of one route.
func (m *Metrics) Route(name string) *RouteMetrics {
	return &RouteMetrics{name: name, all: m, took: m.took.WithLabelValues(name)}
}

// Observe counts one answer.
func (r *RouteMetrics) Observe(status int, took time.Duration) {
	r.took.Observe(took.Seconds())
	if status < 0 || status >= len(r.status) {
		status = http.StatusInternalServerError
	}
	c := r.status[status].Load()
	if c == nil {
		fresh := r.all.requests.WithLabelValues(r.name, strconv.Itoa(status))
		c = &fresh
		r.status[status].Store(c)
	}
	(*c).Inc()
}
