package cluster

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/fault"
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
	open  map[lifecycle.NodeID]int // questions without an answer
}

const (
	// maxOpen questions to one node: one that hangs must not cost a goroutine for
	// each round while it does.
	maxOpen = 64
	// clockHeardFor is how long a node's clock is counted after its last word.
	clockHeardFor = 5 * time.Second
)

// heard is a node's last report with the local times it arrived at.
type heard struct {
	report Report
	at     time.Duration // lease clock
	offset time.Duration // its wall clock minus ours
}

func newRegistry(seeds map[lifecycle.NodeID]Seed) *registry {
	r := &registry{seeds: map[lifecycle.NodeID]Seed{}, heard: map[lifecycle.NodeID]heard{}, open: map[lifecycle.NodeID]int{}}
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

// dropSeeds forgets them. Kept, they would go on naming incarnations that have
// been replaced.
func (r *registry) dropSeeds() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.seeds)
}

// ask counts a question to a node, or refuses it; asked ends it.
func (r *registry) ask(id lifecycle.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open[id] >= maxOpen {
		return false
	}
	r.open[id]++
	return true
}

func (r *registry) asked(id lifecycle.NodeID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open[id]--
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

// clockOffset is the median of the voters' clocks minus ours, ours counted as zero;
// of two middle ones the nearer to ours, so that nobody is told to be wrong by one
// other clock. It is zero until a majority was heard of late.
func (r *registry) clockOffset(self lifecycle.NodeID, voters []lifecycle.NodeID, now time.Duration) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []time.Duration
	for _, id := range voters {
		if id == self {
			all = append(all, 0)
		} else if h, ok := r.heard[id]; ok && now-h.at < clockHeardFor {
			all = append(all, h.offset)
		}
	}
	if 2*len(all) <= len(voters) {
		return 0
	}
	slices.Sort(all)
	low, high := all[(len(all)-1)/2], all[len(all)/2]
	if low.Abs() < high.Abs() {
		return low
	}
	return high
}

// clockOff reports how far this node's clock is from the voters' median, and
// whether that is too far to propose anything dated.
func (n *Node) clockOff() (time.Duration, bool) {
	offset := n.peers.clockOffset(n.ID, n.voters(), n.Elapsed())
	return offset, offset.Abs() > maxClockOffset
}

// voterServers of the newest Raft configuration.
func (n *Node) voterServers() []raft.ServerID {
	var out []raft.ServerID
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if s.Suffrage == raft.Voter || fault.On(fault.CountNonvoters) {
			out = append(out, s.ID)
		}
	}
	return out
}

// voters are the nodes behind voterServers.
func (n *Node) voters() []lifecycle.NodeID {
	var out []lifecycle.NodeID
	for _, id := range n.voterServers() {
		out = append(out, nodeOf(id))
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
	var asked sync.WaitGroup
	for id := range known {
		if id == n.ID {
			continue
		}
		asked.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, roundTimeout)
			defer cancel()
			if more, err := n.Peers.Members(ctx, id); err == nil { // else it is down, or behind itself
				n.peers.addSeeds(more)
			}
		})
	}
	asked.Wait()
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
