package client

import (
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

const (
	soonPause  = 15 * time.Millisecond  // while the successor of a key is being made
	firstPause = 100 * time.Millisecond // after the first round over all nodes
	maxPause   = time.Second            // an election takes 2 s: no longer than half of it
)

// pauses are those of one call between its rounds over the nodes: each twice as long
// as the one before, and not shorter than what every node that answered has asked for.
// One of them that can help sooner is worth coming back to.
type pauses struct{ last time.Duration }

func (p *pauses) next(round []result) time.Duration {
	first, asked, answers := firstPause, maxPause, 0
	for _, r := range round {
		if !r.answered {
			continue
		}
		answers++
		asked = min(asked, r.after)
		if wire.CodeOf(r.err) == wire.BeingReplaced {
			first = soonPause
		}
	}
	p.last = min(max(2*p.last, first), maxPause)
	if answers == 0 {
		return p.last
	}
	return max(p.last, asked)
}
