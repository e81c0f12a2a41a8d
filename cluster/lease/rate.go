package lease

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// The barrier holds while a waiter's clock runs at no more than 1.25 times the rate
// of a holder's. A node acts well before that.
const (
	MinRate = 0.85 // of another's clock against one's own
	MaxRate = 1.15

	rateWindow  = 5 * time.Second        // samples this far apart are compared
	rateHistory = 2 * rateWindow         // and none is kept for longer
	rateSpacing = 200 * time.Millisecond // closer ones say nothing new
)

// RateCheck compares the rate of this machine's clocks with those of others. One per
// process; its mutex guards it.
//
// An exchange of messages brackets the other's reading between two own ones, so two
// exchanges bound the ratio of the rates from both sides, however slow the network
// is. Only a ratio that is certainly outside the limits counts.
type RateCheck struct {
	clock Clock
	mu    sync.Mutex
	peers map[lifecycle.NodeID]*pace
}

// Sample is one exchange with another node.
type Sample struct {
	Boot     string  // of the other's process: a new one may be on a new boot of the machine
	Sent     Reading // own, before the question
	Theirs   Reading // the other's, between question and answer
	Received Reading // own, after the answer
}

// pace is what is known of one other node.
type pace struct{ samples []Sample }

// NewRateCheck starts without a sample.
func NewRateCheck(clock Clock) *RateCheck {
	return &RateCheck{clock: clock, peers: map[lifecycle.NodeID]*pace{}}
}

// Add takes a sample. Readings that no clock gives are ignored.
func (c *RateCheck) Add(node lifecycle.NodeID, s Sample) {
	if s.Theirs.check() != nil || s.Received.Shortest(s.Sent) < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.peers[node]
	if p == nil {
		p = &pace{}
		c.peers[node] = p
	}
	if n := len(p.samples); n > 0 {
		last := &p.samples[n-1]
		// A jump is no rate: one of the machines slept or was started again.
		if last.Boot != s.Boot || s.Sent.strayed(last.Sent) || s.Theirs.strayed(last.Theirs) {
			p.samples = p.samples[:0]
		} else if s.Sent.Shortest(last.Sent) < rateSpacing {
			return
		}
	}
	p.samples = append(slices.DeleteFunc(p.samples, func(old Sample) bool {
		return s.Received.Longest(old.Sent) > rateHistory
	}), s)
}

// Against says why this node's clock and the other's cannot both be right; "" when
// they may be, or when too little is known.
func (c *RateCheck) Against(node lifecycle.NodeID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	ratio, off := c.ratio(node)
	if !off {
		return ""
	}
	return fmt.Sprintf("clock rate: this node's clock runs at %.2f times the rate of node %s's; one of the two machines has a broken clock", 1/ratio, node.Short())
}

// Outvoted says why this node, one of the voters, has the wrong clock: more than
// half of the voters run faster than it, or slower. Two voters cannot tell.
func (c *RateCheck) Outvoted(voters []lifecycle.NodeID) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	faster, slower := 0, 0
	for _, v := range voters {
		switch ratio, off := c.ratio(v); {
		case off && ratio > 1:
			faster++
		case off:
			slower++
		}
	}
	switch {
	case 2*faster > len(voters):
		return fmt.Sprintf("clock rate: this node's clock is slower than those of %d of %d voters", faster, len(voters))
	case 2*slower > len(voters):
		return fmt.Sprintf("clock rate: this node's clock is faster than those of %d of %d voters", slower, len(voters))
	}
	return ""
}

// ratio is the rate of the other's clock against ours and whether it is certainly
// outside the limits.
func (c *RateCheck) ratio(node lifecycle.NodeID) (float64, bool) {
	p := c.peers[node]
	if p == nil || len(p.samples) == 0 {
		return 1, false
	}
	newest := &p.samples[len(p.samples)-1]
	if now := c.clock(); now.Longest(newest.Received) > rateWindow {
		return 1, false // not heard for long: its clock may have been set right
	}
	for i := range p.samples {
		old := &p.samples[i]
		if newest.Sent.Shortest(old.Received) < rateWindow {
			break
		}
		for _, r := range []func(Reading) time.Duration{
			func(r Reading) time.Duration { return r.Raw },
			func(r Reading) time.Duration { return r.Boot },
		} {
			theirs := float64(r(newest.Theirs) - r(old.Theirs))
			least := theirs / float64(r(newest.Received)-r(old.Sent))
			most := theirs / float64(r(newest.Sent)-r(old.Received))
			if least > MaxRate || most < MinRate {
				return math.Sqrt(max(least, 0.01) * max(most, 0.01)), true
			}
		}
	}
	return 1, false
}
