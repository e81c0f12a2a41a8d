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
	h.LeaseUsable, h.LeaseWhy = maySign(r, heard)
	if left := time.Duration(r.Lease.ExpiresInMS-r.AgeMS) * time.Millisecond; left > 0 {
		h.LeaseExpires = &left // also of a node that is not heard: until then it may sign
	}
	return h
}

// maySign says whether a node may release signatures, as far as it is known: it said so
// itself, a while ago.
func maySign(r cluster.Report, heard bool) (usable bool, why string) {
	switch {
	case !heard && r.Lease.ExpiresInMS > r.AgeMS:
		return true, ""
	case !heard:
		return false, "it is not heard, and its last lease has run out"
	case r.Lease.Usable && r.Lease.ExpiresInMS <= r.AgeMS:
		return false, "its lease has run out since it reported"
	}
	return r.Lease.Usable, r.Lease.Why
}

// fencing is how far an open fence is with each node, in wall time for people: the
// wait itself is counted by another clock.
func (d *Daemon) fencing(index uint64) []api.FenceProgress {
	now := time.Now()
	var out []api.FenceProgress
	for _, o := range d.node.Fencing(index) {
		p := api.FenceProgress{Node: o.Node, Outcome: o.Outcome}
		if o.Outcome == "" {
			p.By = now.Add(o.Left)
		} else {
			p.At = time.UnixMilli(int64(o.At))
		}
		out = append(out, p)
	}
	return out
}
