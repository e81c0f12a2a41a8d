package cluster

import (
	"bytes"
	"errors"
	"maps"
	"sync"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// office is this node's leadership as far as leases go. Its mutex guards it.
type office struct {
	mu        sync.Mutex
	term      uint64
	electedAt lease.Reading // when this node first saw itself elected in term
	grantor   *lease.Grantor
	cluster   string // what the grantor was made for
	epoch     uint64
	granted   uint64
	refused   map[string]uint64 // by reason
	rejected  map[string]uint64 // by reason, of grantors that are gone
}

// Reasons for which a leader grants no lease; they are labels of a metric.
const (
	refusedNode     = "node"     // it is no signer, or quarantined
	refusedKeyStore = "keystore" // its key store does not work
	refusedState    = "state"    // what it holds is not what the leader holds
	refusedClock    = "clock"    // its clock, or the leader's, runs at a wrong rate
	refusedMessage  = "message"  // what it sent is no request of a member
)

// elected notes when this node saw itself elected. It must be called before anything
// is done in the term, its Barrier included: leases of earlier terms were granted
// before this reading.
func (o *office) elected(term uint64, at lease.Reading) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.term != term {
		o.retire()
		o.term, o.electedAt = term, at
	}
}

// retire runs under the mutex.
func (o *office) retire() {
	if o.grantor == nil {
		return
	}
	if o.rejected == nil {
		o.rejected = map[string]uint64{}
	}
	for reason, count := range o.grantor.Rejected() {
		o.rejected[reason] += count
	}
	o.grantor = nil
}

// grantor of the term in which this node is Ready; nil when it is another one, or
// there is no cluster yet.
func (n *Node) grantor(term uint64) *lease.Grantor {
	c := n.View().Cluster()
	if c == nil {
		return nil
	}
	o := &n.office
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.term != term {
		return nil
	}
	if o.grantor != nil && o.cluster == c.ID && o.epoch == c.Epoch {
		return o.grantor
	}
	at := o.electedAt
	if o.grantor != nil {
		at = n.Clock() // what the one before granted is forgotten with it, so it all counts from now
		o.retire()
	}
	o.cluster, o.epoch = c.ID, c.Epoch
	o.grantor = lease.NewGrantor(lease.Office{Cluster: c.ID, Epoch: c.Epoch, Term: term, Leader: n.ID, ElectedAt: at, Clock: n.Clock, Wall: n.instant})
	return o.grantor
}

func (n *Node) instant() lifecycle.Instant { return lifecycle.Instant(n.Wall().UnixMilli()) }

func (o *office) count(reason string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if reason == "" {
		o.granted++
		return
	}
	if o.refused == nil {
		o.refused = map[string]uint64{}
	}
	o.refused[reason]++
}

// counts of grants, refusals and rejected messages.
func (o *office) counts() (granted uint64, refused, rejected map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	rejected = map[string]uint64{}
	maps.Copy(rejected, o.rejected)
	if o.grantor != nil {
		for reason, count := range o.grantor.Rejected() {
			rejected[reason] += count
		}
	}
	return o.granted, maps.Clone(o.refused), rejected
}

// granting is a request for a lease on its way through the leader.
type granting struct {
	grantor *lease.Grantor
	lease   lease.Recorded
	refused string // why there is none
	begunNS int64  // for the record of the laboratory
}

// recordLease judges a request (G1) and takes it into the table (G2). A round of the
// voters that is to confirm it begins after the call.
func (n *Node) recordLease(from lifecycle.NodeID, term uint64, r *lease.Request) granting {
	if r == nil {
		return granting{}
	}
	if reason, why := n.unworthy(from, r); reason != "" {
		n.office.count(reason)
		return granting{refused: why}
	}
	g := n.grantor(term)
	if g == nil {
		return granting{} // it leads no more, or not yet: the round will say so
	}
	rec, err := g.Record(from, *r, func() (uint64, lease.Terms) {
		v := n.View()
		return v.Position().Index, terms(v)
	})
	switch {
	case errors.Is(err, lease.ErrRejected):
		return granting{refused: err.Error()} // the grantor has counted it
	case err != nil:
		n.office.count(refusedMessage)
		return granting{refused: err.Error()}
	}
	return granting{grantor: g, lease: rec, begunNS: fault.Now()}
}

// unworthy says why a node gets no lease (G1).
func (n *Node) unworthy(id lifecycle.NodeID, r *lease.Request) (reason, why string) {
	if why := unfit(n.View(), id); why != "" {
		return refusedNode, why
	}
	if !r.HSMOK {
		return refusedKeyStore, "its key store does not work"
	}
	at, digest := n.fsm.Digest()
	if r.Applied == at.Index && (r.LogSize != at.LogSize || !bytes.Equal(r.Root, at.LogRoot[:]) || !bytes.Equal(r.Digest, digest[:])) {
		n.Logger.Error("a node's state differs from this leader's: it gets no lease", "node", id.Short(), "index", at.Index)
		return refusedState, "its state differs from the leader's"
	}
	if why := n.rates.Outvoted(n.voters()); why != "" {
		return refusedClock, "the leader's " + why
	}
	if why := n.rates.Against(id); why != "" {
		return refusedClock, "as the leader sees it, " + why
	}
	return "", ""
}

// grant makes the message (G4) once the voters have confirmed term (G3).
func (n *Node) grant(g granting, term uint64) (*lease.Grant, string) {
	if g.grantor == nil {
		return nil, g.refused
	}
	grant, err := g.grantor.Grant(g.lease, term)
	if err != nil {
		return nil, "" // of another term than the round: nothing is said rather than something wrong
	}
	fault.Reached(fault.LeaseGrant)
	fault.Record("grant", "node", grant.Node, "term", grant.Term, "min_index", grant.MinIndex, "boot", grant.Boot, "seq", grant.Seq, "begun_ns", g.begunNS)
	n.office.count("")
	return &grant, ""
}
