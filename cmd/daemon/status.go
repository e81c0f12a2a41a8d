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
		h := health(r, raftState(s, r.Node, d.node.NodeID(), voters[r.Node], heard))
		if r.Node != d.node.NodeID() {
			h.LeaseUsable, h.LeaseWhy, h.LeaseExpires = leaseOf(r, heard, d.longestLease())
		}
		out.Nodes[r.Node] = h
	}
	return out
}

// longestLease is how long a lease may be that is out now.
func (d *Daemon) longestLease() time.Duration {
	c := d.node.View().Cluster()
	if c == nil {
		return 0
	}
	lease, _ := c.LongestTerms()
	return time.Duration(lease) * time.Millisecond
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

func health(r cluster.Report, state string) api.NodeHealth {
	h := api.NodeHealth{State: state, Version: r.Version, AppliedIndex: r.Index, Orphans: r.KeyStore.Orphans, Missing: r.KeyStore.Missing,
		Keystore: hsm.Health{OK: r.KeyStore.OK, Why: r.KeyStore.Why}, CertExpiresAt: time.UnixMilli(r.CertExpiresMS), DiskFull: r.DiskFull}
	if r.StalenessMS >= 0 {
		stale := time.Duration(r.StalenessMS+r.AgeMS) * time.Millisecond
		h.Staleness = &stale
	}
	offset := time.Duration(r.OffsetMS) * time.Millisecond
	h.ClockOffset = &offset
	h.LeaseUsable, h.LeaseWhy, h.LeaseExpires = r.Lease.Usable, r.Lease.Why, nil
	if left := time.Duration(r.Lease.ExpiresInMS) * time.Millisecond; left > 0 {
		h.LeaseExpires = &left
	}
	return h
}

// leaseOf is what is known here of another node's lease, longest being what a leader
// grants. A node reports before it is granted the next lease, so it may sign for as
// long as that one lasts, whatever it had then; and a node that only others hear has
// its leases from them.
func leaseOf(r cluster.Report, heard bool, longest time.Duration) (usable bool, why string, left *time.Duration) {
	if rest := longest - time.Duration(r.AgeMS)*time.Millisecond; rest > 0 && (r.Lease.Usable || !heard) {
		return true, "", &rest
	}
	if !heard {
		return false, "it is not heard here, and what it held when it was has run out", nil
	}
	return r.Lease.Usable, r.Lease.Why, nil
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
