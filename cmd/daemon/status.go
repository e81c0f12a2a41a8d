package daemon

import (
	"context"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/api"
)

// reportFresh is how old a node's report may be before it counts as unreachable.
const reportFresh = 3 * time.Second

// clusterStatus is what the cluster layer knows, as the API shows it.
func (d *Daemon) clusterStatus(context.Context) api.ClusterStatus {
	s := d.node.Status()
	out := api.ClusterStatus{Term: s.Term, Reachable: map[lifecycle.NodeID]bool{}, Nodes: map[lifecycle.NodeID]api.NodeHealth{}, LastSnapshotAt: d.node.LastSnapshotAt()}
	voters := map[lifecycle.NodeID]bool{}
	for _, n := range d.node.View().Nodes() {
		voters[n.ID] = n.Voter
	}
	for _, r := range s.Reports {
		heard := r.AgeMS < reportFresh.Milliseconds()
		if voters[r.Node] {
			out.Reachable[r.Node] = heard
		}
		out.Nodes[r.Node] = health(r, raftState(s, r.Node, d.node.NodeID(), voters[r.Node], heard), heard)
	}
	return out
}

func raftState(s cluster.Status, id, self lifecycle.NodeID, voter, heard bool) string {
	switch {
	case id == s.Leader:
		return "leader"
	case !heard:
		return "unreachable"
	case id == self && s.Leadership.Leader == "":
		return s.State
	case !voter:
		return "nonvoter"
	}
	return "follower"
}

func health(r cluster.Report, state string, heard bool) api.NodeHealth {
	h := api.NodeHealth{State: state, Version: r.Version, AppliedIndex: r.Index, Orphans: r.KeyStore.Orphans, Missing: r.KeyStore.Missing,
		Keystore: hsm.Health{OK: r.KeyStore.OK, Why: r.KeyStore.Why}, CertExpiresAt: time.UnixMilli(r.CertExpiresMS)}
	if r.StalenessMS >= 0 {
		stale := time.Duration(r.StalenessMS+r.AgeMS) * time.Millisecond
		h.Staleness = &stale
	}
	offset := time.Duration(r.OffsetMS) * time.Millisecond
	h.ClockOffset = &offset
	// Leases come with the revocation barrier; until then a node may sign while its
	// state is fresh.
	h.LeaseUsable = heard && h.Staleness != nil && *h.Staleness < reportFresh
	if !h.LeaseUsable {
		h.LeaseWhy = "its state is not confirmed by a leader"
	}
	return h
}
