package cluster

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// leadership is who leads, published to many readers.
type leadership struct {
	mu      sync.Mutex
	now     ledger.Leadership
	changed chan struct{}
}

func newLeadership() *leadership { return &leadership{changed: make(chan struct{})} }

func (l *leadership) set(now ledger.Leadership) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now == now {
		return false
	}
	l.now = now
	close(l.changed)
	l.changed = make(chan struct{})
	return true
}

// Leadership as this node knows it.
func (n *Node) Leadership() ledger.Leadership {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	return n.lead.now
}

// LeadershipChanged is closed at the next change.
func (n *Node) LeadershipChanged() <-chan struct{} {
	n.lead.mu.Lock()
	defer n.lead.mu.Unlock()
	return n.lead.changed
}

// watchLeadership follows raft's observations. The tick covers observations that
// raft drops when its channel is full.
func (n *Node) watchLeadership(ctx context.Context) {
	seen := make(chan raft.Observation, 16)
	o := raft.NewObserver(seen, false, func(o *raft.Observation) bool {
		switch o.Data.(type) {
		case raft.LeaderObservation, raft.RaftState:
			return true
		}
		return false
	})
	n.raft.RegisterObserver(o)
	defer n.raft.DeregisterObserver(o)
	tick := time.NewTicker(n.RaftTimeout / 4)
	defer tick.Stop()
	for {
		n.observe()
		select {
		case <-ctx.Done():
			n.lead.set(ledger.Leadership{})
			return
		case <-seen:
		case <-tick.C:
		}
	}
}

// observe reads raft's own word; a new leader becomes Ready after a Barrier of
// its term was applied here, which means that everything before it was too.
func (n *Node) observe() {
	now := ledger.Leadership{Term: n.raft.CurrentTerm(), Self: n.raft.State() == raft.Leader}
	if now.Self {
		n.office.elected(now.Term, n.Clock())
	}
	_, id := n.raft.LeaderWithID()
	now.Leader = nodeOf(id)
	if now.Self {
		now.Leader = n.ID
		before := n.Leadership()
		now.Ready = before.Self && before.Ready && before.Term == now.Term
	}
	if n.lead.set(now) {
		n.Logger.Info("leadership", "node", n.ID.Short(), "leader", now.Leader.Short(), "term", now.Term, "self", now.Self)
	}
	if now.Self && !now.Ready {
		n.becomeReady(now.Term)
	}
}

func (n *Node) becomeReady(term uint64) {
	if err := n.raft.Barrier(10 * time.Second).Error(); err != nil {
		return // deposed, or stopping; the next observation tells
	}
	if n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return
	}
	n.peers.forget()
	n.lead.set(ledger.Leadership{Leader: n.ID, Self: true, Ready: true, Term: term})
	n.Logger.Info("ready to lead", "node", n.ID.Short(), "term", term, "index", n.fsm.Position().Index)
}

// catchUpClock moves the cluster's clock when it stands so far behind that
// ordinary commands would be refused: after a long stop of the whole cluster.
func (n *Node) catchUpClock() {
	v := n.View()
	wall := lifecycle.Instant(n.Wall().UnixMilli())
	if v.Cluster() == nil || wall < v.Clock().Add(state.MaxClockStep/2) {
		return
	}
	c := &command.AdvanceClock{Readings: []command.ClockReading{{Node: n.ID, At: wall}}}
	voters := n.voters()
	for _, r := range n.peers.reports(n.Elapsed()) {
		if r.Node != n.ID && r.AgeMS < 2000 && slices.Contains(voters, r.Node) {
			c.Readings = append(c.Readings, command.ClockReading{Node: r.Node, At: wall + lifecycle.Instant(r.OffsetMS)})
		}
	}
	if 2*len(c.Readings) <= len(voters) {
		return
	}
	n.proposeSystem(c)
}

// proposeSystem proposes for the cluster's own upkeep; a failure is tried again
// at the next tick. It reports whether there is nothing to try again.
func (n *Node) proposeSystem(body command.Body) bool {
	cmd := &command.Command{Body: body, Header: command.Header{At: lifecycle.Instant(n.Wall().UnixMilli()), Actor: "system", Node: n.ID}}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	o, err := n.Propose(ctx, cmd)
	if err == nil && o.Code == state.AlreadyExists {
		return true // somebody else has done it
	}
	if err == nil {
		err = o.Err()
	}
	if err != nil {
		n.Logger.Debug("propose for the cluster", "kind", body.Kind().String(), "err", err)
	}
	return err == nil
}
