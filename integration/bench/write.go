//go:build linux && cgo

package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// writers are the numbers of callers that are measured, with the share of the raw
// rate that each should reach.
var writers = []struct {
	callers int
	bound   float64
}{{1, 0.6}, {16, 0.6}, {64, 0.35}}

// write measures lifecycle changes against bare raft entries. A change sets the policy
// of a key; every caller has a key of its own, because two changes of one would
// be refused as conflicting. Changes that withdraw something wait for every node and
// are not comparable.
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
	bare, err := startBareGroup(b.dir)
	if err != nil {
		return err
	}
	defer bare.stop()
	next := c.changes(lead, 1)
	turns := make([]int, most) // every caller goes on where it stopped, or its revision would be an old one
	for _, w := range writers {
		raw := []float64{}
		s := &side{name: fmt.Sprintf("write-%d", w.callers), target: c.api(lead), callers: w.callers, node: lead,
			request: func(caller, _ int) []byte { turns[caller]++; return next(caller, turns[caller]-1) }}
		if err := b.alternate([]*side{s}, b.rateAndCPU, func() error {
			rate, err := bare.rate(w.callers, b.each)
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

// rateAndCPU is rateOf, and says what CPU the nodes have used.
func (b *bench) rateAndCPU(l *load, d time.Duration, _ int) (float64, error) {
	var before [nodes]time.Duration
	for i := range before {
		before[i] = b.cpuOfNode(i + 1)
	}
	n, took, err := l.run(d)
	for i := range before {
		b.say("        n%d: %d us of CPU a write", i+1, (b.cpuOfNode(i+1)-before[i]).Microseconds()/int64(max(n, 1)))
	}
	return float64(n) / took.Seconds(), err
}

func (b *bench) cpuOfNode(node int) time.Duration {
	pid, err := b.cluster.pid(node)
	if err != nil {
		return 0
	}
	used, err := cpuOf(pid)
	if err != nil {
		return 0
	}
	return used
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

// changes are the requests of each caller: the policy of its key, as revised from
// first onwards.
func (c *cluster) changes(node, first int) func(caller, turn int) []byte {
	api := c.api(node)
	body, err := json.Marshal(wire.SetPolicy{Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256)})
	if err != nil {
		panic(err) // a policy is made of numbers and strings
	}
	return func(caller, turn int) []byte {
		t := *api
		t.header += "If-Match: " + wire.ETag(uint64(first+turn)) + "\r\n"
		return t.request("PUT", wire.Path(wire.PathPolicy, writeKey(caller)), string(body))
	}
}
