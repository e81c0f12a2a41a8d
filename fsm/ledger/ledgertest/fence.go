package ledgertest

import (
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

var _ ledger.Lease = (*Ledger)(nil)

// HoldFences keeps fences open that entries open from now on, as an unreachable
// node would. false lets them stand, all at once.
func (l *Ledger) HoldFences(hold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdFences = hold
	l.fence()
}

// HoldSettling keeps fences that stand from being settled. false settles them, all
// at once.
func (l *Ledger) HoldSettling(hold bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdSettling = hold
	l.fence()
}

// Unreachable names the nodes that acknowledge no fence from now on: their leases
// run out instead.
func (l *Ledger) Unreachable(nodes ...lifecycle.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unreachable = nodes
}

// fence proposes what the leader's barrier would find out, if it is not held: every
// open fence stands at once, and every one that stands is settled. The caller holds
// the lock.
func (l *Ledger) fence() {
	if open := l.view.OpenFences(); !l.holdFences && len(open) > 0 {
		c := &command.RecordFenced{Term: l.leadership.Term}
		for _, f := range open {
			c.Fences = append(c.Fences, command.FencedAt{Index: f.Index, Nodes: l.fencedNodes()})
		}
		l.system(c)
	}
	if standing := l.view.UnsettledFences(); !l.holdSettling && len(standing) > 0 {
		c := &command.RecordSettled{Term: l.leadership.Term}
		for _, f := range standing {
			c.Indexes = append(c.Indexes, f.Index)
		}
		l.system(c)
	}
}

func (l *Ledger) fencedNodes() (out []lifecycle.FencedNode) {
	for _, n := range l.view.Nodes() {
		if !n.Signer {
			continue
		}
		f := lifecycle.FencedNode{Node: n.ID, Outcome: lifecycle.Acked, Boot: Boot(n.ID), At: l.clock.At()}
		if slices.Contains(l.unreachable, n.ID) {
			f.Outcome, f.Boot = lifecycle.LeaseExpired, ""
		}
		out = append(out, f)
	}
	return out
}

// Boot is the id of the process that a node acknowledges with.
func Boot(id lifecycle.NodeID) string { return string(id[:32]) }

// system applies a command of the cluster's own, on which no test has laid a fault.
func (l *Ledger) system(body command.Body) {
	at := min(l.clock.At(), l.view.Clock().Add(state.MaxClockStep))
	cmd := &command.Command{Header: command.Header{At: at, Actor: "system", Node: l.node}, Body: body}
	entry, err := cmd.Encode()
	if err != nil {
		l.t.Errorf("propose %s: %v", body.Kind(), err)
		return
	}
	if o := l.apply(entry); !o.OK() {
		l.t.Errorf("%s was refused: %s: %s", body.Kind(), o.Code, o.Detail)
	}
}

// apply takes an entry in and publishes what came of it. The caller holds the lock.
func (l *Ledger) apply(entry []byte) state.Outcome {
	o := l.machine.Apply(l.rows, l.machine.Index()+1, 0, entry)
	l.publish(l.machine.Seal(l.rows))
	return o
}

// TakeLease ends this node's right to release signatures, with a reason for it;
// GiveLease gives it back. A new Ledger has it.
func (l *Ledger) TakeLease(why string) { l.noLease.Store(&why) }
func (l *Ledger) GiveLease()           { l.noLease.Store(nil) }

// Usable implements ledger.Lease.
func (l *Ledger) Usable(*state.View) error {
	if why := l.noLease.Load(); why != nil {
		return fmt.Errorf("%w: %s", ledger.ErrNoLease, *why)
	}
	return nil
}
