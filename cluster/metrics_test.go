package cluster

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape reads a member's gauges and counters by name, and how much its histograms
// have seen.
func (m *member) scrape() map[string]float64 {
	m.lab.t.Helper()
	r := prometheus.NewPedanticRegistry()
	if err := r.Register(m.node.Load().Collector()); err != nil {
		m.lab.t.Fatal(err)
	}
	families, err := r.Gather()
	if err != nil {
		m.lab.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		out[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return out
}

func TestMetricsAndStatus(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	away := l.others(leader)[0]
	for _, m := range l.all() {
		l.eventually("both others are heard", func() bool {
			s := m.scrape()
			_, known := s["chancery_cluster_staleness_seconds"]
			return known && s["chancery_cluster_peers_reachable"] == 2
		})
	}
	l.awaitLease(l.all()...)
	leader.fenced(l.withdraw(l.principal()))
	l.eventually("the leader has measured a fence", func() bool {
		s := leader.scrape()
		return s["chancery_cluster_fence_seconds"] > 0 && s["chancery_cluster_leases_granted_total"] > 0 && s["chancery_cluster_lease_usable"] == 1 &&
			s["chancery_cluster_fences_open"] == 0
	})
	away.stop()
	leader.pastBound() // which is past reachableFor too
	l.eventually("one of them is gone", func() bool { return leader.scrape()["chancery_cluster_peers_reachable"] == 1 })
	got := leader.scrape()
	at := leader.node.Load().Leadership()
	if got["chancery_cluster_leader"] != 1 || got["chancery_cluster_term"] != float64(at.Term) || got["chancery_cluster_fsm_index"] == 0 {
		t.Errorf("%v", got)
	}
	s := leader.node.Load().Status()
	if s.State != "leader" || len(s.Servers) != 3 || len(s.Reports) != 3 {
		t.Errorf("%+v", s)
	}
	follower := l.others(leader, away)[0]
	if got := follower.scrape(); got["chancery_cluster_leader"] != 0 {
		t.Errorf("a follower says that it leads: %v", got)
	}
	l.eventually("the follower shows what the leader hears", func() bool {
		return len(follower.node.Load().Status().Reports) == 3
	})
}
