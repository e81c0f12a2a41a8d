//go:build linux && cgo

package main

import (
	"fmt"

	"github.com/chancery-project/chancery/transport/wire"
)

// writers are the numbers of callers that are measured, with the share of the raw
// rate that each should reach.
var writers = []struct {
	callers int
	bound   float64
}{{1, 0.6}, {16, 0.6}, {64, 0.35}}

// write measures lifecycle changes against bare raft entries. A change suspends a
// version, the next one resumes it; every caller has a key of its own.
func (b *bench) write() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	most := writers[len(writers)-1].callers
	if err := c.writeKeys(b, most); err != nil {
		return err
	}
	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	bare, err := startChild(nil, "bare-raft", b.dir)
	if err != nil {
		return err
	}
	defer bare.stop() //nolint:errcheck // it has said all it had to say
	next := c.changes(lead, most)
	turns := make([]int, most) // every caller goes on where it stopped, or it would suspend twice
	for _, w := range writers {
		raw := []float64{}
		s := &side{name: fmt.Sprintf("write-%d", w.callers), target: c.api(lead), callers: w.callers, node: lead,
			request: func(caller, _ int) []byte { turns[caller]++; return next(caller, turns[caller]-1) }}
		if err := b.alternate([]*side{s}, rateOf, func() error {
			rate, err := bare.ask(fmt.Sprintf("%d %d", w.callers, b.each.Milliseconds()))
			raw = append(raw, rate)
			b.say("        raw raft %14.1f", rate)
			return err
		}); err != nil {
			return err
		}
		ours, theirs := median(s.results), median(raw)
		b.table.atLeast(fmt.Sprintf("lifecycle writes, %d callers: rate / raw raft", w.callers), ours/theirs, w.bound, "x", fmt.Sprintf("%.0f/s against %.0f/s", ours, theirs))
	}
	return nil
}

// writeKeys makes a key for each caller, once.
func (c *cluster) writeKeys(b *bench, n int) error {
	for i := range n {
		if err := c.key(b.ctx, writeKey(i), ""); err != nil {
			return err
		}
	}
	return nil
}

func writeKey(i int) string { return fmt.Sprintf("write-%d", i) }

// changes are the requests of each caller: suspend, resume, suspend, ...
func (c *cluster) changes(node, callers int) func(caller, turn int) []byte {
	api := c.api(node)
	requests := make([][2][]byte, callers)
	for i := range requests {
		requests[i] = [2][]byte{api.request("POST", wire.Path(wire.PathSuspend, writeKey(i)), `{"version":1}`),
			api.request("POST", wire.Path(wire.PathResume, writeKey(i)), `{"version":1}`)}
	}
	return func(caller, turn int) []byte { return requests[caller][turn%2] }
}
