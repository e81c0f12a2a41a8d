package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// maxClockOffset is how far a leader's wall clock may be from the voters' median
// before it proposes nothing dated and hands leadership over.
const maxClockOffset = 5 * time.Second

// registry is what this node knows of the others beside the log: seeds, and when
// it leads, what each last said. It is safe for concurrent use.
type registry struct {
	mu    sync.Mutex
	seeds map[lifecycle.NodeID]Seed
	heard map[lifecycle.NodeID]heard
}

// heard is a node's last report with the local times it arrived at.
type heard struct {
	report Report
	at     time.Duration // lease clock
	offset time.Duration // its wall clock minus ours
}

func newRegistry(seeds map[lifecycle.NodeID]Seed) *registry {
	r := &registry{seeds: map[lifecycle.NodeID]Seed{}, heard: map[lifecycle.NodeID]heard{}}
	maps.Copy(r.seeds, seeds)
	return r
}

func (r *registry) seed(id lifecycle.NodeID) (Seed, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.seeds[id]
	return s, ok
}

func (r *registry) addSeeds(more map[lifecycle.NodeID]Seed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.seeds, more)
}

func (r *registry) seedIDs() []lifecycle.NodeID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.seeds))
}

func (r *registry) hear(rep Report, at, offset time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[rep.Node] = heard{rep, at, offset}
}

func (r *registry) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.heard)
}

// reports lists what was heard, in node order, with ages.
func (r *registry) reports(now time.Duration) []Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Report
	for _, id := range slices.Sorted(maps.Keys(r.heard)) {
		h := r.heard[id]
		h.report.AgeMS, h.report.OffsetMS = (now - h.at).Milliseconds(), h.offset.Milliseconds()
		out = append(out, h.report)
	}
	return out
}

func (r *registry) index(id lifecycle.NodeID) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.heard[id].report.Index
}

// clockOffset is the median of the voters' clocks minus ours, ours counted as
// zero; ok is false until a majority was heard.
func (r *registry) clockOffset(self lifecycle.NodeID, voters []lifecycle.NodeID) (time.Duration, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []time.Duration
	for _, id := range voters {
		if id == self {
			all = append(all, 0)
		} else if h, ok := r.heard[id]; ok {
			all = append(all, h.offset)
		}
	}
	if 2*len(all) <= len(voters) {
		return 0, false
	}
	slices.Sort(all)
	return all[(len(all)-1)/2], true
}

// clockOff reports how far this node's clock is from the voters' median, when
// that is too far to propose anything dated. With two clocks nobody can say which
// one is wrong, so it takes three.
func (n *Node) clockOff() (time.Duration, bool) {
	voters := n.voters()
	offset, ok := n.peers.clockOffset(n.ID, voters)
	return offset, ok && len(voters) > 2 && offset.Abs() > maxClockOffset
}

// voters of the newest Raft configuration, by node.
func (n *Node) voters() []lifecycle.NodeID {
	var out []lifecycle.NodeID
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter {
			out = append(out, nodeOf(s.ID))
		}
	}
	return out
}

// Member reports whether a node may speak to this one: it stands in the state, or
// is a seed this node has no newer word about.
func (n *Node) Member(id lifecycle.NodeID) bool {
	if row := n.View().Node(id); row != nil {
		return row.Status != lifecycle.Removed
	}
	_, ok := n.peers.seed(id)
	return ok
}

func (n *Node) memberServer(id raft.ServerID) bool {
	node, incarnation, ok := SplitServerID(id)
	if !ok {
		return false
	}
	seed, seeded := n.peers.seed(node)
	if row := n.View().Node(node); row != nil {
		if row.Status == lifecycle.Removed {
			return false
		}
		if row.Incarnation == incarnation {
			return true
		}
	}
	return seeded && seed.Incarnation == incarnation
}

// Address of a node's port: what gossip heard, else the log, else a seed. The
// hint may be a lie; whoever answers there must have the node's key.
func (n *Node) AddressOf(id lifecycle.NodeID) (string, bool) {
	if hint := n.Hint(id); hint != "" {
		return hint, true
	}
	if row := n.View().Node(id); row != nil && row.Status != lifecycle.Removed {
		return row.Addrs.Node, true
	}
	s, ok := n.peers.seed(id)
	return s.Address, ok
}

func (n *Node) resolve(id raft.ServerID) (string, bool) { return n.AddressOf(nodeOf(id)) }

// Members lists every member this node knows, for one that is behind.
func (n *Node) Members() map[lifecycle.NodeID]Seed {
	out := map[lifecycle.NodeID]Seed{}
	for _, row := range n.View().Nodes() {
		if row.Status != lifecycle.Removed {
			out[row.ID] = Seed{Incarnation: row.Incarnation, Address: row.Addrs.Node}
		}
	}
	return out
}

// askAround learns members from the members it knows. A node that was away while
// another joined and came to lead would otherwise refuse its own leader for ever.
func (n *Node) askAround(ctx context.Context) {
	known := map[lifecycle.NodeID]bool{n.ID: true}
	for id := range n.Members() {
		known[id] = true
	}
	for _, id := range n.peers.seedIDs() {
		known[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(known)) {
		if id == n.ID {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		more, err := n.Peers.Members(ctx, id)
		cancel()
		if err != nil {
			continue // it is down, or behind itself
		}
		n.peers.addSeeds(more)
	}
}

// Status is what this node knows of the cluster.
type Status struct {
	ledger.Leadership
	State   string // raft state of this node: Leader, Follower, Candidate
	Reports []Report
	Servers map[string]bool // server id -> has a vote
}

// Status reads it without asking anybody.
func (n *Node) Status() Status {
	servers, err := n.Servers()
	if err != nil {
		servers = nil
	}
	s := Status{Leadership: n.Leadership(), State: strings.ToLower(n.raft.State().String()), Servers: servers}
	mine := n.report()
	if s.Self {
		s.Reports = append(n.peers.reports(n.Elapsed()), mine)
		return s
	}
	if p := n.freshest.Load(); p != nil {
		aged := (n.Elapsed() - p.begun).Milliseconds()
		for _, r := range p.reports {
			if r.Node != n.ID {
				r.AgeMS += aged
				s.Reports = append(s.Reports, r)
			}
		}
	}
	s.Reports = append(s.Reports, mine)
	return s
}
