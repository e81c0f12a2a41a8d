package lease

import (
	"cmp"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Fence is the wait for one narrowing entry R to hold everywhere. Its grantor's
// mutex guards it.
type Fence struct {
	grantor *Grantor
	index   uint64
	nodes   map[lifecycle.NodeID]*party
}

// party is one node that might release a signature without knowing R.
type party struct {
	bound   Reading // then it holds no lease any more that serves a state before R
	outcome lifecycle.FenceOutcome
	boot    string
	at      lifecycle.Instant
}

// Open begins the fence of the entry at index, which this leader's FSM must have
// applied: it reads the bounds of all nodes that may sign, and of those that this
// leader has granted a lease to. terms are from the same View. Opening an open fence
// returns it.
func (g *Grantor) Open(index uint64, nodes []lifecycle.NodeID, terms Terms) *Fence {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.fences[index]; f != nil {
		return f
	}
	f := &Fence{grantor: g, index: index, nodes: map[lifecycle.NodeID]*party{}}
	earlier := g.office.ElectedAt.After(terms.Wait) // leases of earlier terms
	if fault.On(fault.NoElectionWait) {
		earlier = Reading{}
	}
	for _, n := range nodes {
		f.nodes[n] = &party{bound: earlier.later(g.bounds[n])}
	}
	now := g.office.Clock()
	for n, bound := range g.bounds {
		if f.nodes[n] == nil && bound.Left(now) > 0 {
			f.nodes[n] = &party{bound: earlier.later(bound)}
		}
	}
	if fault.On(fault.NoWait) {
		for _, p := range f.nodes {
			p.bound = now
		}
	}
	g.fences[index] = f
	return f
}

// Earlier reports whether a lease of an earlier term may still be out.
func (g *Grantor) Earlier(terms Terms) bool {
	return g.office.ElectedAt.After(terms.Wait).Left(g.office.Clock()) > 0
}

// Gone ends the wait for a node that was removed. It was quarantined before and that
// fenced, so it holds no lease.
func (f *Fence) Gone(node lifecycle.NodeID) {
	f.grantor.mu.Lock()
	defer f.grantor.mu.Unlock()
	if p := f.nodes[node]; p != nil && p.outcome == "" {
		p.outcome, p.at = lifecycle.GoneNode, f.grantor.office.Wall()
	}
}

// Close forgets the fence, once its end is recorded.
func (g *Grantor) Close(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.fences, index)
}

// Index of the entry.
func (f *Fence) Index() uint64 { return f.index }

// Outcome is how far a fence is with one node.
type Outcome struct {
	lifecycle.FencedNode               // Outcome "" = pending
	Left                 time.Duration // of a pending node: until it is past its bound
}

// Outcomes of all nodes, in the order of their ids.
func (f *Fence) Outcomes() []Outcome {
	f.grantor.mu.Lock()
	defer f.grantor.mu.Unlock()
	now := f.expire()
	out := make([]Outcome, 0, len(f.nodes))
	for id, p := range f.nodes {
		o := Outcome{FencedNode: lifecycle.FencedNode{Node: id, Outcome: p.outcome, Boot: p.boot, At: p.at}}
		if p.outcome == "" {
			o.Left = p.bound.Left(now)
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b Outcome) int { return cmp.Compare(a.Node, b.Node) })
	return out
}

// Left is how long the fence lasts at most from now on; 0 when it is done.
func (f *Fence) Left() time.Duration {
	f.grantor.mu.Lock()
	defer f.grantor.mu.Unlock()
	now := f.expire()
	var left time.Duration
	for _, p := range f.nodes {
		if p.outcome == "" {
			left = max(left, p.bound.Left(now))
		}
	}
	return left
}

// Done reports whether no node can release a signature without knowing R, as far as
// this term knows. It becomes a fact when an entry of this very term records it: a
// deposed leader may have applied an R of its successor, whose grants it never saw.
// An entry that this node proposes in a later term of its own proves nothing.
func (f *Fence) Done() bool { return f.Left() == 0 }

// Fenced is what to record of a fence that is done, in the order of node ids.
func (f *Fence) Fenced() []lifecycle.FencedNode {
	outcomes := f.Outcomes()
	nodes := make([]lifecycle.FencedNode, len(outcomes))
	for i, o := range outcomes {
		nodes[i] = o.FencedNode
	}
	return nodes
}

// expire notes who is past the bound, and returns the reading that it went by.
func (f *Fence) expire() Reading {
	now := f.grantor.office.Clock()
	for _, p := range f.nodes {
		if p.outcome == "" && p.bound.Left(now) <= 0 {
			p.outcome, p.at = lifecycle.LeaseExpired, f.grantor.office.Wall()
		}
	}
	return now
}
