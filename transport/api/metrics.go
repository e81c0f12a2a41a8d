package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts requests by route and status. The counter of a status is looked up
// once per route and kept, because labels cost more than the request's own work.
type metrics struct {
	requests *prometheus.CounterVec
	took     *prometheus.HistogramVec
	held     prometheus.Gauge
}

type routeMetrics struct {
	took   prometheus.Observer
	status [600]atomic.Pointer[prometheus.Counter]
}

func newMetrics(reg prometheus.Registerer, list []*route) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "chancery_transport_requests_total", Help: "API requests by route and HTTP status."}, []string{"route", "code"}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "chancery_transport_request_seconds", Help: "Time from the headers to the answer, in seconds.",
			Buckets: []float64{.0001, .0003, .001, .003, .01, .03, .1, .3, 1, 3, 10, 60}}, []string{"route"}),
		held: prometheus.NewGauge(prometheus.GaugeOpts{Name: "chancery_transport_held_requests", Help: "Requests held for a level or an event."}),
	}
	if reg != nil {
		reg.MustRegister(m.requests, m.took, m.held)
	}
	for _, r := range list {
		r.metrics = &routeMetrics{took: m.took.WithLabelValues(r.name)}
	}
	return m
}

func (m *metrics) observe(r *route, status int, took time.Duration) {
	r.metrics.took.Observe(took.Seconds())
	if status < 0 || status >= len(r.metrics.status) {
		status = http.StatusInternalServerError
	}
	c := r.metrics.status[status].Load()
	if c == nil {
		fresh := m.requests.WithLabelValues(r.name, strconv.Itoa(status))
		c = &fresh
		r.metrics.status[status].Store(c)
	}
	(*c).Inc()
}
