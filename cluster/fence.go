package cluster

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// fences is what a node knows of running fences: those of its own leadership.
type fences struct {
	wakeup  chan struct{} // holds one token while there may be something to do
	metrics *fenceMetrics

	mu       sync.Mutex // owns what follows
	fencing  *fencing   // nil while this node does not lead
	newest   uint64     // entry that took something away
	newestAt time.Duration
}

func newFences() fences { return fences{wakeup: make(chan struct{}, 1), metrics: newFenceMetrics()} }

func (f *fences) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

// seen notes when a narrowing entry was first seen applied, for metrics.
func (f *fences) seen(index uint64, at time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest, f.newestAt = index, at
}

// seenAt is when an entry was seen applied, or now when nobody saw it: it is of an
// earlier term.
func (f *fences) seenAt(index uint64, now time.Duration) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if index == f.newest {
		return f.newestAt
	}
	return now
}

// fencing runs the fences of one term of leadership. Its goroutine is keepFences,
// which alone writes open and stands; open and asking are read by others, and
// written under the mutex of fences.
type fencing struct {
	node    *Node
	grantor *lease.Grantor
	ctx     context.Context
	cancel  context.CancelFunc
	open    map[uint64]*barrier
	asking  map[lifecycle.NodeID]bool // who has a goroutine that asks it
	stands  map[uint64]standing
	fenced  lane // of RecordFenced
	settled lane // of RecordSettled
}

// barrier is one open fence.
type barrier struct {
	fence  *lease.Fence
	seenAt time.Duration // Elapsed
	doneAt lease.Reading
	done   bool
}

// standing is a fence that is recorded and not settled.
type standing struct {
	from   lease.Reading // requests from before it grow too old from here on
	seenAt time.Duration // Elapsed
}

// keepFences drives every open fence while this node leads. A new leader finds them
// in the state and begins anew, with the reading of its own election.
func (n *Node) keepFences(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		changed := n.LeadershipChanged()
		f := n.currentFencing(ctx)
		next := time.Hour
		if f != nil {
			next = f.step()
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			n.endFencing()
			return
		case <-changed:
		case <-n.fences.wakeup:
		case <-timer.C:
		}
	}
}

// currentFencing is that of the grantor in office.
func (n *Node) currentFencing(ctx context.Context) *fencing {
	var g *lease.Grantor
	if lead := n.Leadership(); lead.Self && lead.Ready {
		g = n.grantor(lead.Term)
	}
	w := &n.fences
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fencing != nil && w.fencing.grantor == g {
		return w.fencing
	}
	if w.fencing != nil {
		w.fencing.cancel()
		w.fencing = nil
	}
	if g != nil {
		f := &fencing{node: n, grantor: g, open: map[uint64]*barrier{}, asking: map[lifecycle.NodeID]bool{}, stands: map[uint64]standing{}, fenced: newLane(4), settled: newLane(1)}
		f.ctx, f.cancel = context.WithCancel(ctx)
		w.fencing = f
	}
	return w.fencing
}

func (n *Node) endFencing() {
	n.fences.mu.Lock()
	defer n.fences.mu.Unlock()
	if f := n.fences.fencing; f != nil {
		f.cancel()
		n.fences.fencing = nil
	}
}

// Fencing is how far the open fence of an entry is with each node; nil when this
// node does not drive it.
func (n *Node) Fencing(index uint64) []lease.Outcome {
	n.fences.mu.Lock()
	var b *barrier
	if f := n.fences.fencing; f != nil {
		b = f.open[index]
	}
	n.fences.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.fence.Outcomes()
}

// step does what can be done now and returns when to look again at the latest.
func (f *fencing) step() time.Duration {
	v := f.node.View()
	open, unsettled := v.OpenFences(), v.UnsettledFences()
	if len(open)+len(unsettled)+len(f.open)+len(f.stands) == 0 {
		return time.Hour
	}
	f.close(open)
	f.begin(v, open)
	next := f.finish(v)
	return max(time.Millisecond, min(next, f.settle(v, unsettled)))
}

// close forgets fences whose end has been recorded.
func (f *fencing) close(open []*lifecycle.Fence) {
	for index, b := range f.open {
		if _, is := slices.BinarySearchFunc(open, index, byIndex); is {
			continue
		}
		if b.done {
			f.stands[index] = standing{b.doneAt, b.seenAt}
			f.observe("recorded", b.seenAt)
			fault.Record("fenced", "index", index, "term", f.grantor.Term())
			fault.Reached(fault.FenceRecorded)
		}
		f.grantor.Close(index)
		f.locked(func() { delete(f.open, index) })
	}
}

func byIndex(f *lifecycle.Fence, index uint64) int { return cmp.Compare(f.Index, index) }

func (f *fencing) locked(do func()) {
	f.node.fences.mu.Lock()
	defer f.node.fences.mu.Unlock()
	do()
}

func (f *fencing) observe(phase string, seenAt time.Duration) {
	f.node.fences.metrics.phase(phase, f.node.Elapsed()-seenAt)
}

// begin reads the bounds of fences that are new here (B2): their entries are applied,
// or they would not be in the View. Then it asks who is to be asked (B3).
func (f *fencing) begin(v *state.View, open []*lifecycle.Fence) {
	began := uint64(0)
	for _, row := range open {
		if f.open[row.Index] != nil {
			continue
		}
		fault.Reached(fault.FenceBounded)
		b := &barrier{seenAt: f.node.fences.seenAt(row.Index, f.node.Elapsed())}
		b.fence = f.grantor.Open(row.Index, f.parties(v), terms(v))
		f.locked(func() { f.open[row.Index] = b })
		f.observe("bounded", b.seenAt)
		began = row.Index // they come in order
	}
	if began != 0 {
		fault.Reached(fault.FenceAsked)
		f.node.hasten(f.grantor.Term(), began)
	}
	for _, b := range f.open {
		for _, o := range b.fence.Outcomes() {
			if row := v.Node(o.Node); o.Outcome == "" && row != nil && row.Status == lifecycle.Removed {
				b.fence.Gone(o.Node)
			} else if o.Outcome == "" {
				f.startAsking(o.Node)
			}
		}
	}
}

// parties are the nodes that a fence is about. Until leases of earlier terms have
// run out that is every member: one of them may have lost its role since, and the
// leader that knew of its lease is gone. A node is removed only when its quarantine
// is fenced, so one that is not a member holds none.
func (f *fencing) parties(v *state.View) []lifecycle.NodeID {
	all := f.grantor.Earlier(terms(v))
	var out []lifecycle.NodeID
	for _, n := range v.Nodes() {
		if n.Status != lifecycle.Removed && (all || n.Signs()) {
			out = append(out, n.ID)
		}
	}
	return out
}

// startAsking gives a node a goroutine that asks it until it has passed every fence.
func (f *fencing) startAsking(id lifecycle.NodeID) {
	started := false
	f.locked(func() { started, f.asking[id] = !f.asking[id], true })
	if !started {
		return
	}
	f.node.running.Go(func() {
		f.ask(id)
		f.locked(func() { delete(f.asking, id) })
		f.node.fences.wake() // a fence may have begun since the last look
	})
}

const (
	fenceTimeout = roundTimeout + roundTimeout/2 // the node itself waits for the entry
	fencePause   = 20 * time.Millisecond         // after a request that failed, before the next
)

func (f *fencing) ask(id lifecycle.NodeID) {
	for f.ctx.Err() == nil {
		r, ok := f.grantor.Ask(id)
		if !ok {
			return
		}
		if err := f.askOnce(id, r); err != nil {
			f.node.Logger.Debug("ask a node for a fence", "node", id.Short(), "index", r.Index, "err", err)
			select {
			case <-f.ctx.Done():
			case <-time.After(fencePause):
			}
		}
	}
}

func (f *fencing) askOnce(id lifecycle.NodeID, r lease.FenceRequest) (err error) {
	ctx, cancel := context.WithTimeout(f.ctx, fenceTimeout)
	defer cancel()
	var a lease.FenceAck
	if id == f.node.ID {
		a, err = f.node.HandleFence(ctx, id, r)
	} else {
		a, err = f.node.Peers.Fence(ctx, id, r)
	}
	if err != nil {
		return err
	}
	if err := f.grantor.Ack(id, a); err != nil {
		return err
	}
	if fault.On(fault.DuplicateApply) {
		f.countForAll(a)
	}
	f.node.fences.wake()
	return nil
}

// countForAll is the seeded error that one acknowledgement counts for every node.
func (f *fencing) countForAll(a lease.FenceAck) {
	for _, n := range f.node.View().Nodes() {
		if r, ok := f.grantor.Ask(n.ID); ok && n.ID != a.Node {
			a.Node, a.Nonce = n.ID, r.Nonce
			_ = f.grantor.Ack(n.ID, a) // the seeded error works or it does not
		}
	}
}
