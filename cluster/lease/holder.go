package lease

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Holder is a node's side: it asks for leases, judges the grants, and knows whether
// the node may release a signature now. One per process.
//
// Usable reads one atomic pointer; everything else takes the mutex.
type Holder struct {
	tally
	node   lifecycle.NodeID
	boot   string
	clock  Clock
	held   atomic.Pointer[held]
	fenced atomic.Uint64

	mu       sync.Mutex
	cluster  string
	epoch    uint64
	longest  time.Duration // no lease is held for longer, whatever its grant says
	seq      uint64        // of the newest request
	answered uint64        // of the newest request whose grant was accepted
	asked    *question     // the one outstanding request, nil = none
	term     uint64        // the newest of an accepted grant
	looked   Reading       // the last look at the clocks
}

// question is an outstanding request.
type question struct {
	at    Reading // s0: before the request was sent
	nonce string
	term  uint64 // grants of an older term are refused
}

// held is what a holder has. It is never changed, only replaced.
type held struct {
	leases []lease // in the order in which they were asked for
	why    string  // why there is none, if there is none
}

// lease is an accepted grant.
type lease struct {
	from     Reading // counted from here
	duration time.Duration
	min      uint64
	term     uint64
	leader   lifecycle.NodeID
}

// left is how much of the lease is left as its holder counts: 0 if nothing is, or
// if the clocks disagree on it.
func (l *lease) left(now Reading) time.Duration {
	if now.strayed(l.from) {
		return 0
	}
	return max(0, l.duration-now.Longest(l.from))
}

// maxHeld bounds how many leases are kept: the one in use, and grants whose index
// the node has not applied yet.
const maxHeld = 8

// NewHolder makes the holder of a process, with a boot id nobody had before.
func NewHolder(node lifecycle.NodeID, clock Clock, terms Terms) *Holder {
	h := &Holder{node: node, boot: random(), clock: clock, longest: terms.Duration, looked: clock()}
	h.held.Store(&held{why: "none was granted to this process yet"})
	return h
}

// Boot is the id of this process.
func (h *Holder) Boot() string { return h.boot }

// Observed is what a node knows of itself when it asks, all from one View.
type Observed struct {
	Cluster string
	Epoch   uint64
	Term    uint64 // of the leader who is asked, as far as this node knows; 0 = unknown
	Applied uint64
	LogSize uint64
	Root    []byte
	Digest  []byte
	HSMOK   bool
}

// Ask makes a request, to be sent after the call returns. It gives up an earlier one
// that was not answered. A request for another cluster or epoch than before drops
// the leases: they were for a state that is no more.
func (h *Holder) Ask(o Observed) Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.look()
	if h.cluster != "" && (o.Cluster != h.cluster || o.Epoch != h.epoch) {
		h.drop("the cluster was restored to another epoch")
		h.term = 0
	}
	h.cluster, h.epoch = o.Cluster, o.Epoch
	h.seq++
	h.asked = &question{at: now, nonce: random(), term: max(h.term, o.Term)}
	return Request{
		Cluster: o.Cluster, Epoch: o.Epoch, Node: h.node, Boot: h.boot, Seq: h.seq, Nonce: h.asked.nonce,
		Applied: o.Applied, LogSize: o.LogSize, Root: o.Root, Digest: o.Digest,
		Fenced: h.fenced.Load(), HSMOK: o.HSMOK, Clock: now,
	}
}

// look reads the clocks. If they went apart since the last look, the machine slept
// and nothing that was counted before is worth anything.
func (h *Holder) look() Reading {
	now := h.clock()
	if now.strayed(h.looked) {
		h.drop("the clocks disagree: the machine was suspended, or a clock is broken")
	}
	h.looked = now
	return now
}

// Accept takes the grant that from sent. applied is the index that the node's FSM
// has published. A grant whose index is not applied yet does not displace a lease
// in use: both are held, and the newer one serves as soon as it can.
//
// That is safe because each lease is so by itself: it either ends before the bound
// that a fence reads, or serves only a state that knows the fence's entry.
func (h *Holder) Accept(from lifecycle.NodeID, g Grant, applied uint64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.judge(from, &g); err != nil {
		return err
	}
	q, now := h.asked, h.look()
	if h.asked == nil {
		return h.reject(Clocks, "the clocks disagree on how long ago grant %d was asked for", g.Seq)
	}
	l := lease{from: q.at, duration: min(g.Duration, h.longest), min: g.MinIndex, term: g.Term, leader: g.Leader}
	if fault.On(fault.LeaseFromReceipt) {
		l.from = now
	}
	h.asked, h.answered, h.term = nil, h.seq, g.Term
	if l.left(now) == 0 {
		return h.reject(TooLate, "grant %d of %v comes %v after it was asked for", g.Seq, l.duration, now.Longest(q.at))
	}
	h.take(l, now, applied)
	return nil
}

// judge rejects every grant but the answer to the outstanding request.
func (h *Holder) judge(from lifecycle.NodeID, g *Grant) error {
	if err := g.Check(); err != nil {
		return h.reject(Malformed, "%v", err)
	}
	switch {
	case g.Leader != from:
		return h.reject(WrongSender, "node %s grants in the name of node %s", from.Short(), g.Leader.Short())
	case g.Cluster != h.cluster:
		return h.reject(OtherCluster, "the grant is for cluster %s", g.Cluster)
	case g.Epoch != h.epoch:
		return h.reject(OtherEpoch, "the grant is for epoch %d, this is %d", g.Epoch, h.epoch)
	case g.Node != h.node:
		return h.reject(OtherNode, "the grant is for node %s", g.Node.Short())
	case g.Boot != h.boot && !fault.On(fault.GrantAfterRestart):
		return h.reject(OtherBoot, "the grant is for process %s of this node, this is %s", g.Boot, h.boot)
	case h.asked != nil && fault.On(fault.NoNonce), h.asked != nil && g.Boot != h.boot:
		return nil // only with a seeded fault
	case g.Seq > h.seq || h.asked != nil && g.Seq == h.seq && g.Nonce != h.asked.nonce:
		return h.reject(NotAsked, "grant %d answers no request of this process", g.Seq)
	case g.Seq == h.answered:
		return h.reject(SecondAnswer, "request %d has been answered", g.Seq)
	case h.asked == nil || g.Seq < h.seq:
		return h.reject(TooLate, "request %d was given up", g.Seq)
	case g.Term < h.asked.term:
		return h.reject(OlderTerm, "the grant is of term %d, term %d is known", g.Term, h.asked.term)
	}
	return nil
}

// take keeps a lease, and of the earlier ones those that may still serve before it.
func (h *Holder) take(l lease, now Reading, applied uint64) {
	old := h.held.Load().leases
	keep := make([]lease, 0, len(old)+1)
	if applied < l.min {
		for i := range old {
			if old[i].left(now) == 0 || old[i].min >= l.min {
				continue
			}
			if old[i].min <= applied {
				keep = keep[:0] // it serves now, better than those before it
			}
			keep = append(keep, old[i])
		}
		// A node that lags for long keeps the oldest, which will serve first, and
		// the newest, which will serve longest.
		keep = keep[:min(len(keep), maxHeld-1)]
	}
	h.held.Store(&held{leases: append(keep, l)})
}

// Use sets the terms that this node has applied. Leases are held for no longer than
// they say, those at hand as well. Call it before Advance to the index of the entry
// that changed them: a fence of an entry that shortens leases counts on that.
func (h *Holder) Use(t Terms) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.longest = t.Duration; h.longest == 0 {
		return
	}
	old := h.held.Load()
	cut := &held{leases: make([]lease, len(old.leases)), why: old.why}
	for i, l := range old.leases {
		l.duration = min(l.duration, t.Duration)
		cut.leases[i] = l
	}
	h.held.Store(cut)
}

// Drop gives all leases up, and the request that is on its way. why completes "this
// node holds no signing lease: ".
func (h *Holder) Drop(why string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(why)
}

func (h *Holder) drop(why string) {
	h.asked = nil
	h.held.Store(&held{why: why})
}

// Heed judges a leader's fence request. cluster and epoch are the node's. If it is
// nil the node applies Index, empties its gate, calls Advance and sends Answer.
func (h *Holder) Heed(from lifecycle.NodeID, cluster string, epoch uint64, r FenceRequest) error {
	if err := r.Check(); err != nil {
		return h.reject(Malformed, "%v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case r.Leader != from:
		return h.reject(WrongSender, "node %s fences in the name of node %s", from.Short(), r.Leader.Short())
	case r.Cluster != cluster:
		return h.reject(OtherCluster, "the fence is for cluster %s", r.Cluster)
	case r.Epoch != epoch:
		return h.reject(OtherEpoch, "the fence is for epoch %d, this is %d", r.Epoch, epoch)
	case r.Term < h.term:
		return h.reject(OlderTerm, "the fence is of term %d, term %d is known", r.Term, h.term)
	}
	return nil
}

// Advance notes that no gate of this node is open to a state before index. It never
// goes back. A process that starts advances to the index of its FSM.
func (h *Holder) Advance(index uint64) {
	for {
		old := h.fenced.Load()
		if old >= index || h.fenced.CompareAndSwap(old, index) {
			return
		}
	}
}

// Fenced is the index of the last Advance.
func (h *Holder) Fenced() uint64 { return h.fenced.Load() }

// Answer acknowledges a fence request with what this node vouches for now.
func (h *Holder) Answer(r FenceRequest) FenceAck {
	return FenceAck{Cluster: r.Cluster, Epoch: r.Epoch, Nonce: r.Nonce, Node: h.node, Boot: h.boot, Fenced: h.fenced.Load()}
}
