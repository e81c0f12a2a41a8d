package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// FenceProgress is what the leader knows of one node of a fence that is open.
type FenceProgress struct {
	Node    lifecycle.NodeID
	Outcome lifecycle.FenceOutcome // "" = it may still have the right
	At      time.Time              // wall time, when it was known
	By      time.Time              // wall time, when its lease ends at the latest; zero = not known
}

// withdrawal looks at a fence, with what this node knows of it when it leads.
func (a *API) withdrawal(v *state.View, f *lifecycle.Fence) authority.Withdrawal {
	w := authority.WithdrawalOf(v, f, lifecycle.Instant(a.Clock().UnixMilli()))
	if f.FencedAt != 0 || a.Fencing == nil {
		return w
	}
	for _, p := range a.Fencing(f.Index) {
		i := slices.IndexFunc(w.Ends, func(e authority.NodeEnd) bool { return e.Node == p.Node })
		if i < 0 {
			w.Ends = append(w.Ends, authority.NodeEnd{Node: p.Node})
			i = len(w.Ends) - 1
		}
		e := &w.Ends[i]
		if e.Outcome = p.Outcome; p.Outcome != "" {
			e.At, e.By = instantOf(p.At), 0
		} else if !p.By.IsZero() {
			e.By = instantOf(p.By)
		}
	}
	return w
}

func instantOf(t time.Time) lifecycle.Instant {
	if t.IsZero() {
		return 0
	}
	return lifecycle.Instant(t.UnixMilli())
}

// nodeOutcomes renders how the right ends on each node, by name; at is when it was withdrawn.
func nodeOutcomes(v *state.View, ends []authority.NodeEnd, at lifecycle.Instant) []wire.NodeOutcome {
	out := make([]wire.NodeOutcome, 0, len(ends))
	for _, e := range ends {
		o := wire.NodeOutcome{Node: nodeName(v, e.Node), Outcome: string(e.Outcome), At: wire.Time(e.At), By: wire.Time(e.By)}
		if o.Outcome == "" {
			o.Outcome = wire.Pending
		}
		if e.At != 0 {
			o.MS = max(0, int64(e.At-at))
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b wire.NodeOutcome) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// withdrawn fills in how far the end of a right has come; at is when the operation
// took effect.
func (a *API) withdrawn(op *wire.Operation, v *state.View, f *lifecycle.Fence, at lifecycle.Instant) {
	w := a.withdrawal(v, f)
	level := func(name string, when, by lifecycle.Instant, index uint64) *wire.Reached {
		if when == 0 {
			return &wire.Reached{By: wire.Time(by)}
		}
		op.Reached = name
		return &wire.Reached{At: wire.Time(when), Index: index, MS: max(0, int64(when-at))}
	}
	op.Fenced = level(wire.Fenced, f.FencedAt, w.FencedBy, f.FencedIndex)
	op.Settled = level(wire.Settled, f.SettledAt, w.SettledBy, f.SettledIndex)
	op.Complete = f.SettledAt != 0
	op.Nodes = nodeOutcomes(v, w.Ends, at)
	if f.FencedAt == 0 && op.RequestID != "" {
		op.Next = append(op.Next, "chancery wait "+op.RequestID+" --for "+wire.Fenced)
	}
}

// withdrawing fills in the bounds of a plan that would open a fence.
func (c *call) withdrawing(op *wire.Operation, v *state.View, f *lifecycle.Fence) {
	b := authority.BoundsOf(v)
	within := func(d lifecycle.Milliseconds) *wire.Reached { return &wire.Reached{WithinMS: int64(d)} }
	op.Committed, op.Fenced, op.Settled = within(b.Committed), within(b.Fenced), within(b.Settled)
	op.Nodes = []wire.NodeOutcome{}
	health := c.health()
	for _, e := range authority.WithdrawalOf(v, f, c.now()).Ends {
		o := wire.NodeOutcome{Node: nodeName(v, e.Node), Outcome: wire.Acked, WithinMS: int64(authority.CommitSlack)}
		if h, heard := health[e.Node]; health != nil && (!heard || h.State == unreachable) {
			o.Outcome, o.WithinMS = wire.LeaseExpired, int64(b.Lease)
		}
		op.Nodes = append(op.Nodes, o)
	}
	slices.SortFunc(op.Nodes, func(a, b wire.NodeOutcome) int { return strings.Compare(a.Node, b.Node) })
	if k := v.Key(f.Key); op.BlastRadius == nil {
		op.BlastRadius = c.blastRadius(v, k, f.Versions, op.CompromisedSince.Instant())
	}
}

// unreachable is the NodeHealth.State of a node that does not answer.
const unreachable = "unreachable"

// health is what nodes last said of themselves, nil when nothing is known.
func (c *call) health() map[lifecycle.NodeID]NodeHealth {
	if c.Cluster == nil {
		return nil
	}
	return c.Cluster(c.r.Context()).Nodes
}

// withoutLeader says what can still be done when nothing can be withdrawn: each node
// can be sealed on its own machine, and leases end by themselves.
func (c *call) withoutLeader(e *wire.Error) {
	seal := "chancery seal --local --reason R"
	if strings.HasPrefix(c.route.pattern, wire.PathKey+"/") {
		seal = "chancery seal --local --key " + c.name() + " --reason R"
	}
	hint := "try again in a moment; without a quorum run on each node: " + seal
	if leases := c.leases(); leases != "" {
		hint += "; a node that hears of no leader stops when its lease ends: " + leases
	}
	e.Hint = hint
}

// leases says of each node that signs when its lease ends, as last heard here.
func (c *call) leases() string {
	health := c.health()
	if health == nil {
		return ""
	}
	var parts []string
	for _, n := range c.Service.View().Nodes() {
		if !n.Signs() {
			continue
		}
		switch h, heard := health[n.ID]; {
		case h.LeaseUsable && h.LeaseExpires != nil: // also of a node that is not heard any more
			parts = append(parts, fmt.Sprintf("%s at %s", n.Name, wire.AsTime(c.Clock().Add(*h.LeaseExpires))))
		case !heard || h.State == unreachable:
			parts = append(parts, n.Name+" is not heard from here")
		case h.LeaseUsable:
			parts = append(parts, n.Name+" holds one")
		default:
			parts = append(parts, n.Name+" holds none")
		}
	}
	return strings.Join(parts, ", ")
}

// openFences lists the withdrawals that are not fenced yet, and notes those that
// take too long.
func (p *problems) openFences() {
	for _, f := range p.snap.OpenFences() {
		w := p.withdrawal(p.snap.View, f)
		o := wire.OpenFence{Index: f.Index, Cause: f.Cause, Versions: notNone(f.Versions), Subject: wire.Text(f.Subject), OpenedAt: wire.Time(f.OpenedAt),
			By: wire.Time(w.FencedBy), WaitsFor: []string{}, Nodes: nodeOutcomes(p.snap.View, w.Ends, f.OpenedAt), RequestID: wire.Text(f.RequestID)}
		about := f.Subject
		if f.Key != "" && p.mayRead(f.Key) {
			o.Key, about = wire.Text(f.Key), string(f.Key)
		}
		for _, n := range o.Nodes {
			if n.Outcome == wire.Pending {
				o.WaitsFor = append(o.WaitsFor, n.Node)
			}
		}
		p.status.OpenFences = append(p.status.OpenFences, o)
		if age := p.now() - f.OpenedAt; age > fenceLate {
			p.add(wire.Critical, "fence_open", about, fenceHint(f, o.WaitsFor), "%s of entry %d is not fenced after %s: %s may still sign with what was withdrawn",
				f.Cause, f.Index, lifecycle.Milliseconds(age), orNobody(o.WaitsFor))
		}
	}
}

// fenceLate is when an open fence is a problem: beyond a lease, an election and the
// commit that end it together.
const fenceLate = lifecycle.Instant(10 * lifecycle.Second)

func fenceHint(f *lifecycle.Fence, pending []string) string {
	switch {
	case f.RequestID != "":
		return "chancery wait " + f.RequestID + " --for " + wire.Fenced
	case len(pending) > 0:
		return "chancery node show " + pending[0]
	}
	return "chancery status --watch"
}

func orNobody(names []string) string {
	if len(names) == 0 {
		return "nobody, as far as is known,"
	}
	return strings.Join(names, ", ")
}

func notNone(n []uint64) []uint64 {
	if n == nil {
		return []uint64{}
	}
	return n
}

// observe measures a withdrawal once, when its first answer goes out.
func (c *call) observe(k command.Kind, level authority.Level, reached bool) {
	if !authority.Narrows(k) {
		return
	}
	c.counters.Withdrawal(string(level), reached, time.Since(c.began))
}
