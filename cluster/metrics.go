package cluster

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// reachableFor is how long a node counts as reachable after its last word.
const reachableFor = 3 * time.Second

var (
	leaderDesc    = clusterDesc("leader", "1 while this node leads and is ready.")
	termDesc      = clusterDesc("term", "Raft term this node knows.")
	indexDesc     = clusterDesc("fsm_index", "Index of the newest entry whose state is published here.")
	stalenessDesc = clusterDesc("staleness_seconds", "Age of the newest proof of freshness; absent before the first.")
	reachableDesc = clusterDesc("peers_reachable", "Other nodes heard from by the leader within 3 s, as this node knows it.")
	datedDesc     = clusterDesc("wall_clock_usable", "1 while this node's wall clock may date what it signs.")
	waitingDesc   = clusterDesc("proposals_waiting", "Proposals that raft has not answered yet.")

	usableDesc   = clusterDesc("lease_usable", "1 while this node may release signatures.")
	expiresDesc  = clusterDesc("lease_expires_seconds", "Time until this node's lease ends, by its own count; 0 without one.")
	openDesc     = clusterDesc("fences_open", "Withdrawals that a node may not have heard of yet.")
	settlingDesc = clusterDesc("fences_settling", "Withdrawals that stand, with signatures from before still on their way.")
	grantedDesc  = clusterDesc("leases_granted_total", "Leases that this node granted as leader.")
	refusedDesc  = clusterDesc("leases_refused_total", "Leases that this node refused as leader.", "reason")
	rejectedDesc = clusterDesc("lease_messages_rejected_total", "Messages about leases and fences that were not what they had to be.", "role", "reason")
)

func clusterDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chancery_cluster_"+name, help, labels, nil)
}

// fenceMetrics measure the phases of fences that this node drove to their end.
type fenceMetrics struct{ *prometheus.HistogramVec }

func newFenceMetrics() *fenceMetrics {
	return &fenceMetrics{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "chancery_cluster_fence_seconds",
		Help: "Time from the application of a withdrawal to a phase of its fence: bounded, done, recorded, settled.",
		// From one fsync to the longest wait for the longest lease.
		Buckets: []float64{.001, .0025, .005, .01, .02, .03, .04, .05, .075, .1, .25, .5, 1, 2, 4, 8, 16, 75},
	}, []string{"phase"})}
}

func (m *fenceMetrics) phase(name string, after time.Duration) {
	m.WithLabelValues(name).Observe(after.Seconds())
}

// Collector shows this node's place in the cluster, read when it is scraped.
func (n *Node) Collector() prometheus.Collector { return collector{n} }

type collector struct{ node *Node }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, termDesc, indexDesc, stalenessDesc, reachableDesc, datedDesc, waitingDesc,
		usableDesc, expiresDesc, openDesc, settlingDesc, grantedDesc, refusedDesc, rejectedDesc} {
		out <- d
	}
	c.node.fences.metrics.Describe(out)
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	s := c.node.Status()
	gauge(leaderDesc, truth(s.Ready))
	gauge(termDesc, float64(s.Term))
	gauge(indexDesc, float64(c.node.View().Position().Index))
	if p := c.node.freshest.Load(); p != nil {
		gauge(stalenessDesc, (c.node.Elapsed() - p.begun).Seconds())
	}
	reachable := 0.0
	for _, r := range s.Reports {
		if r.Node != c.node.ID && r.AgeMS < reachableFor.Milliseconds() {
			reachable++
		}
	}
	gauge(reachableDesc, reachable)
	gauge(datedDesc, truth(c.node.Dated() == nil))
	gauge(waitingDesc, float64(len(c.node.proposals)))
	c.leases(out, gauge)
}

func (c collector) leases(out chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64)) {
	v := c.node.View()
	r := c.node.leaseReport(v.Position().Index)
	gauge(usableDesc, truth(r.Usable))
	gauge(expiresDesc, float64(r.ExpiresInMS)/1000)
	gauge(openDesc, float64(len(v.OpenFences())))
	gauge(settlingDesc, float64(len(v.UnsettledFences())))
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	granted, refused, rejected := c.node.office.counts()
	counter(grantedDesc, granted)
	for reason, n := range refused {
		counter(refusedDesc, n, reason)
	}
	for reason, n := range rejected {
		counter(rejectedDesc, n, "leader", reason)
	}
	for reason, n := range c.node.holder.Rejected() {
		counter(rejectedDesc, n, "holder", reason)
	}
	c.node.fences.metrics.Collect(out)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
