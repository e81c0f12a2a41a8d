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
	waitingDesc   = clusterDesc("proposals_waiting", "Proposals that raft has not answered yet.")
)

func clusterDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("chancery_cluster_"+name, help, nil, nil)
}

// Collector shows this node's place in the cluster, read when it is scraped.
func (n *Node) Collector() prometheus.Collector { return collector{n} }

type collector struct{ node *Node }

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, termDesc, indexDesc, stalenessDesc, reachableDesc, waitingDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	s := c.node.Status()
	leads := 0.0
	if s.Ready {
		leads = 1
	}
	gauge(leaderDesc, leads)
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
	gauge(waitingDesc, float64(len(c.node.proposals)))
}
