package daemon

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	reports "github.com/chancery-project/chancery/authority/report" // a verb of the peers has the name
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// findingsFor is how long a look at all keys is good for. With 100,000 of them it takes
// a third of a second, and what it finds changes over hours.
const findingsFor = time.Minute

// findings are the reports as metrics: how many keys are inside their policy, and how
// many of each kind of finding there are. Every node says the same of the same state, so
// alerts take the greatest. The labels are the kinds, and nothing that callers choose.
type findings struct {
	view  func() *state.View
	clock func() time.Time

	mu     sync.Mutex // guards what follows; held while keys are looked at, so that scrapes share a look
	at     time.Time
	totals reports.Totals
	kept   map[reports.Code]int // of instances
}

var (
	reportKeys   = prometheus.NewDesc("chancery_report_keys", "Keys that have not ended.", nil, nil)
	reportWithin = prometheus.NewDesc("chancery_report_keys_within_policy", "Keys that have not ended and of which report rotation warns of nothing.", nil, nil)
	reportFound  = prometheus.NewDesc("chancery_report_findings", "Keys or instances of which a report finds this; chancery report rotation and report inventory list them.", []string{"code", "severity"}, nil)
)

// Describe is part of prometheus.Collector.
func (f *findings) Describe(ch chan<- *prometheus.Desc) {
	ch <- reportKeys
	ch <- reportWithin
	ch <- reportFound
}

// Collect is part of prometheus.Collector. Before genesis there is nothing to say.
func (f *findings) Collect(ch chan<- prometheus.Metric) {
	v := f.view()
	if v.Cluster() == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.clock(); f.at.IsZero() || now.Sub(f.at) >= findingsFor || now.Before(f.at) {
		f.totals, f.kept, f.at = reports.Total(v, lifecycle.Instant(now.UnixMilli())), reports.Instances(v), now
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	gauge(reportKeys, f.totals.Keys)
	gauge(reportWithin, f.totals.WithinPolicy)
	for _, k := range reports.Kinds {
		switch k.About {
		case reports.AboutKey:
			gauge(reportFound, f.totals.ByCode[k.Code], string(k.Code), string(k.Severity))
		case reports.AboutInstance:
			gauge(reportFound, f.kept[k.Code], string(k.Code), string(k.Severity))
		}
	}
}
