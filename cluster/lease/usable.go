package lease

import (
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Usable is nil when a signature made from the state at index applied may be
// released at the moment of the call. It takes no lock and allocates only to say no.
// The caller reads the state before and checks it under the gate's lock.
func (h *Holder) Usable(applied uint64) error {
	held := h.held.Load()
	now := h.clock()
	for i := len(held.leases) - 1; i >= 0; i-- {
		if l := &held.leases[i]; l.min <= applied && l.left(now) > 0 {
			return nil
		}
	}
	return fmt.Errorf("%w: %s", ledger.ErrNoLease, held.reason(now, applied))
}

// reason says why nothing that is held may be used.
func (h *held) reason(now Reading, applied uint64) string {
	if len(h.leases) == 0 {
		return h.why
	}
	newest := &h.leases[len(h.leases)-1]
	switch {
	case now.strayed(newest.from):
		return "the clocks disagree on the age of the lease: the machine was suspended, or a clock is broken"
	case newest.left(now) == 0:
		return fmt.Sprintf("the lease ran out %v ago and the leader has not renewed it", (now.Longest(newest.from) - newest.duration).Round(time.Millisecond))
	}
	return fmt.Sprintf("the lease is for entry %d and this node has applied %d", newest.min, applied)
}

// Status is what a holder says of itself.
type Status struct {
	Usable    bool
	Why       string           // it is not usable
	ExpiresIn time.Duration    // until no lease is held any more, by this node's count; 0 = none is
	MinIndex  uint64           // of the newest lease
	Term      uint64           // of the newest lease
	Leader    lifecycle.NodeID // who granted the newest lease
	Boot      string
	Fenced    uint64
	Clock     Reading
}

// Status describes the leases of a node that has applied the entry.
func (h *Holder) Status(applied uint64) Status {
	held := h.held.Load()
	now := h.clock()
	s := Status{Boot: h.boot, Fenced: h.fenced.Load(), Clock: now}
	for i := range held.leases {
		l := &held.leases[i]
		left := l.left(now)
		s.ExpiresIn = max(s.ExpiresIn, left)
		s.Usable = s.Usable || l.min <= applied && left > 0
		s.MinIndex, s.Term, s.Leader = l.min, l.term, l.leader
	}
	if !s.Usable {
		s.Why = held.reason(now, applied)
	}
	return s
}
