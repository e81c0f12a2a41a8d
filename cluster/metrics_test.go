package cluster

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// scrape reads a member's gauges by name.
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
		out[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
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
