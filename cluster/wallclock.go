package cluster

import (
	"errors"
	"fmt"
	"time"
)

// ErrWallClock is returned while a node's wall clock may date nothing.
var ErrWallClock = errors.New("this node's wall clock is not to be relied on")

// Dated is nil while this node may put dates into what it signs: a token, a certificate,
// a CRL, an answer about the state. No safety rests on wall clocks here, but whoever is
// given such a thing goes by its dates: by a clock that is a year ahead a token lives a
// year too long.
//
// A follower has been told by the leader how far their clocks are apart, a leader knows
// the voters' median. What is set after that comparison shows beside the lease clock,
// which nobody sets: ask after the time was read, and it was right. The lease clock's own
// rate may make a node that has heard no leader for hours refuse; it holds no lease then.
//
// Nothing is called good by such a clock either: a Snapshot of a node that may not date
// it is not Fresh.
func (n *Node) Dated() error {
	p := n.freshest.Load()
	if p == nil {
		return fmt.Errorf("%w: no leader has compared it with the others yet", ErrWallClock)
	}
	if off := p.clockOff(n.Elapsed(), n.Wall()); off.Abs() > maxClockOffset {
		return fmt.Errorf("%w: it is off by %s", ErrWallClock, off.Round(time.Millisecond))
	}
	return nil
}

// clockOff is how wrong a wall clock is that shows wall, when the lease clock shows now.
func (p *readPoint) clockOff(now time.Duration, wall time.Time) time.Duration {
	return p.offset + time.Duration(wall.UnixMilli()-p.wall.UnixMilli())*time.Millisecond - (now - p.begun)
}

// asOf is the wall time of the proof; of a clock that was wrong then, by the leader's,
// whose answer was up to a round on its way.
func (p *readPoint) asOf() time.Time {
	if p.offset.Abs() <= maxClockOffset {
		return p.wall
	}
	return p.wall.Add(-p.offset - roundTimeout)
}
