package lease

import (
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Grantor is a leader's side, for one term of leadership: it remembers until when
// each node may hold a lease, and runs the fences. It is made when the leader is
// Ready and thrown away when it steps down.
type Grantor struct {
	tally
	office Office

	mu     sync.Mutex
	bounds map[lifecycle.NodeID]Reading // after it the node holds no lease granted here
	fences map[uint64]*Fence            // open, by index
	asked  map[lifecycle.NodeID]string  // nonce of the outstanding fence request
	acked  map[lifecycle.NodeID]string  // nonce of the last one that was answered
}

// Office is one term of leadership.
type Office struct {
	Cluster string
	Epoch   uint64
	Term    uint64
	Leader  lifecycle.NodeID
	// ElectedAt was read when this leader saw itself elected: leases of earlier
	// terms were granted before.
	ElectedAt Reading
	Clock     Clock
	Wall      func() lifecycle.Instant // dates outcomes for people; nothing depends on it
}

// NewGrantor begins a term of leadership.
func NewGrantor(o Office) *Grantor {
	return &Grantor{
		office: o, bounds: map[lifecycle.NodeID]Reading{}, fences: map[uint64]*Fence{},
		asked: map[lifecycle.NodeID]string{}, acked: map[lifecycle.NodeID]string{},
	}
}

// Term is the term of this leadership.
func (g *Grantor) Term() uint64 { return g.office.Term }

// Recorded is a grant that counts against its node already and that nobody may see
// before the voters have confirmed the term.
type Recorded struct{ grant Grant }

// Record takes the request that from sent into the table of bounds. look returns
// the index of this leader's FSM and the terms of the cluster, from one View; it is
// called under the mutex and must not block.
//
// Only after Record a round of the voters may begin whose success lets the grant be
// sent. Both orders matter: a fence that comes in between must find the bound, or
// the grant must carry the fence's index.
func (g *Grantor) Record(from lifecycle.NodeID, r Request, look func() (uint64, Terms)) (Recorded, error) {
	if err := g.judge(from, &r); err != nil {
		return Recorded{}, err
	}
	if fault.On(fault.IndexBeforeRecord) {
		early, terms := look()
		fault.Reached(fault.LeaseIndexed)
		look = func() (uint64, Terms) { return early, terms }
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	index, terms := look()
	if err := terms.Check(); err != nil {
		return Recorded{}, fmt.Errorf("grant a lease: %w", err)
	}
	now := g.office.Clock()
	g.bounds[r.Node] = g.bounds[r.Node].later(now.After(terms.Wait))
	return Recorded{Grant{
		Cluster: r.Cluster, Epoch: r.Epoch, Node: r.Node, Boot: r.Boot, Seq: r.Seq, Nonce: r.Nonce,
		Term: g.office.Term, Leader: g.office.Leader, MinIndex: index, Duration: terms.Duration, Clock: now,
	}}, nil
}

func (g *Grantor) judge(from lifecycle.NodeID, r *Request) error {
	if err := r.Check(); err != nil {
		return g.reject(Malformed, "%v", err)
	}
	switch {
	case r.Node != from:
		return g.reject(WrongSender, "node %s asks in the name of node %s", from.Short(), r.Node.Short())
	case r.Cluster != g.office.Cluster:
		return g.reject(OtherCluster, "the request is for cluster %s", r.Cluster)
	case r.Epoch != g.office.Epoch:
		return g.reject(OtherEpoch, "the request is for epoch %d, this is %d", r.Epoch, g.office.Epoch)
	}
	return nil
}

// Grant is the message to send once a round of the voters, begun after Record, has
// confirmed this term. confirmed is the term of that round.
func (g *Grantor) Grant(r Recorded, confirmed uint64) (Grant, error) {
	if confirmed != g.office.Term || r.grant.Term != g.office.Term {
		return Grant{}, fmt.Errorf("grant a lease of term %d: the voters confirmed term %d", r.grant.Term, confirmed)
	}
	return r.grant, nil
}

// Ask makes the fence request that node should get now: for the newest open fence
// that it has not passed. It is false when there is none. One request is outstanding
// per node; an earlier one is given up.
func (g *Grantor) Ask(node lifecycle.NodeID) (FenceRequest, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var index uint64
	for i, f := range g.fences {
		if p := f.nodes[node]; p != nil && p.outcome == "" && i > index {
			index = i
		}
	}
	if index == 0 {
		return FenceRequest{}, false
	}
	nonce := random()
	g.asked[node] = nonce
	return FenceRequest{
		Cluster: g.office.Cluster, Epoch: g.office.Epoch, Nonce: nonce,
		Index: index, Term: g.office.Term, Leader: g.office.Leader,
	}, true
}

// Ack takes the acknowledgement that from sent. It serves every open fence up to the
// index that the node vouches for, also when that is less than was asked for.
func (g *Grantor) Ack(from lifecycle.NodeID, a FenceAck) error {
	if err := a.Check(); err != nil {
		return g.reject(Malformed, "%v", err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case a.Node != from:
		return g.reject(WrongSender, "node %s acknowledges in the name of node %s", from.Short(), a.Node.Short())
	case a.Cluster != g.office.Cluster:
		return g.reject(OtherCluster, "the acknowledgement is for cluster %s", a.Cluster)
	case a.Epoch != g.office.Epoch:
		return g.reject(OtherEpoch, "the acknowledgement is for epoch %d, this is %d", a.Epoch, g.office.Epoch)
	case a.Nonce == g.acked[from]:
		return g.reject(SecondAnswer, "node %s has acknowledged before", from.Short())
	case a.Nonce != g.asked[from]:
		return g.reject(NotAsked, "node %s acknowledges what it was not asked, or no longer", from.Short())
	}
	delete(g.asked, from)
	g.acked[from] = a.Nonce
	at := g.office.Wall()
	for index, f := range g.fences {
		if p := f.nodes[from]; p != nil && p.outcome == "" && index <= a.Fenced {
			p.outcome, p.boot, p.at = lifecycle.Acked, a.Boot, at
		}
	}
	return nil
}
