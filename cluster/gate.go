package cluster

import (
	"context"
	"fmt"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// narrowing is what watchState remembers between two looks; it is its own.
type narrowing struct {
	seen    uint64             // newest entry known to have taken a right away
	cluster *lifecycle.Cluster // as last seen: settings are in it
}

// watchState looks at each state that is published. Apply itself does nothing but
// publish: it must never wait for whoever holds a lock on an older state.
func (n *Node) watchState(ctx context.Context) {
	for {
		v := n.View()
		n.notice(v)
		n.hastenLast(v.Position().Index)
		select {
		case <-ctx.Done():
			return
		case <-n.fsm.Changed(v.Position().Index):
		}
	}
}

// notice acts on what a new state takes away: the gate is drained without being
// asked, a lease that was lost is dropped at once, and the leader's fences begin.
func (n *Node) notice(v *state.View) {
	w := &n.narrowing
	if c := v.Cluster(); c != w.cluster {
		w.cluster = c
		n.holder.Use(terms(v))
	}
	if why := unfit(v, n.ID); why != "" {
		n.holder.Drop(why)
	}
	open := v.OpenFences()
	if len(open) > 0 {
		if newest := open[len(open)-1].Index; newest > w.seen {
			w.seen = newest
			n.fences.seen(newest, n.Elapsed())
			n.gate.begin()
		}
	}
	if len(open) > 0 || len(v.UnsettledFences()) > 0 {
		n.fences.wake()
	}
}

// drainGate makes sure that nobody passes the gate any more who looked at a state
// older than the newest, and returns its index.
func (n *Node) drainGate(context.Context) (uint64, error) {
	v := n.View()
	n.holder.Use(terms(v)) // a fence of an entry that shortens leases counts on that
	if !fault.On(fault.AckBeforeDrain) {
		n.Drain(v)
	}
	n.holder.Advance(n.applied(v))
	return n.holder.Fenced(), nil
}

// HandleFence answers a leader once this node has applied the entry and drained its
// gate. It does so within roundTimeout, or not at all.
func (n *Node) HandleFence(ctx context.Context, from lifecycle.NodeID, r lease.FenceRequest) (lease.FenceAck, error) {
	if n.closed.Load() {
		return lease.FenceAck{}, ledger.ErrStopped
	}
	c := n.View().Cluster()
	if c == nil {
		return lease.FenceAck{}, fmt.Errorf("%w: this node knows of no cluster yet", ledger.ErrEpoch)
	}
	if err := n.holder.Heed(from, c.ID, c.Epoch, r); err != nil {
		return lease.FenceAck{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	if fault.On(fault.AckBeforeApply) {
		n.holder.Advance(r.Index)
	} else {
		if err := n.reach(ctx, r.Index); err != nil {
			return lease.FenceAck{}, fmt.Errorf("apply entry %d before it is fenced: %w", r.Index, err)
		}
		if n.holder.Fenced() < r.Index { // else watchState was faster
			if _, err := n.gate.call(ctx); err != nil {
				return lease.FenceAck{}, fmt.Errorf("drain the release gate: %w", err)
			}
		}
	}
	fault.Reached(fault.FenceAck)
	a := n.holder.Answer(r)
	fault.Record("ack", "node", n.ID, "index", a.Fenced, "boot", a.Boot)
	return a, nil
}
