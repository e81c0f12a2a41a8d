//go:build linux && cgo

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	fences     = 200
	cutFences  = 3 // each waits for a whole lease
	fenceLimit = 20 * time.Second
)

// fence measures how long a withdrawal takes until no node can release another
// signature: on a healthy cluster that signs on every node meanwhile, and with one
// node frozen in the middle of its lease.
func (b *bench) fence() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	for _, name := range []string{"fence-load", "fence-subject"} {
		if err := c.key(b.ctx, name, ""); err != nil {
			return err
		}
	}
	stop, err := b.signEverywhere(c, "fence-load")
	if err != nil {
		return err
	}
	took, err := b.suspend(c, fences)
	signed := stop()
	if err != nil {
		return err
	}
	b.table.atMost(fmt.Sprintf("fenced, healthy, while %d signatures/s are made: p99 of %d", signed, fences), percentile(took, 99), 50, "ms", fmt.Sprintf("median %.1f ms", percentile(took, 50)))

	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	follower := lead%nodes + 1
	pid, err := c.pid(follower)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze n%d: %w", follower, err)
	}
	took, err = b.suspend(c, cutFences)
	if err := errors.Join(err, syscall.Kill(pid, syscall.SIGCONT)); err != nil {
		return err
	}
	b.table.atMost(fmt.Sprintf("fenced, a follower frozen: worst of %d", cutFences), percentile(took, 100)/1000, 4.25, "s", "")
	return c.waitReady(follower, time.Now().Add(failLimit))
}

// suspend takes a key away and gives it back, n times: the milliseconds until each
// suspension was fenced, as its caller saw it.
func (b *bench) suspend(c *cluster, n int) ([]float64, error) {
	var took []float64
	for range n {
		start := time.Now()
		op, err := c.client.Suspend(b.ctx, "fence-subject", wire.VersionVerb{}, client.Wait(wire.Fenced, fenceLimit))
		if err != nil {
			return nil, fmt.Errorf("suspend: %w", err)
		}
		if !op.Has(wire.Fenced) {
			return nil, fmt.Errorf("suspend: it is %s after %v", op.Reached, time.Since(start))
		}
		took = append(took, float64(time.Since(start).Microseconds())/1000)
		b.say("fenced after %.1f ms", took[len(took)-1])
		if _, err := c.client.Resume(b.ctx, "fence-subject", wire.VersionVerb{}); err != nil {
			return nil, fmt.Errorf("resume: %w", err)
		}
	}
	return took, nil
}

// signEverywhere lets one caller sign on each node; stop ends it and tells how many
// signatures a second there were.
func (b *bench) signEverywhere(c *cluster, key string) (stop func() int, err error) {
	body := fmt.Sprintf(`{"message":%q}`, base64.StdEncoding.EncodeToString([]byte("bench")))
	var loads []*load
	for node := 1; node <= nodes; node++ {
		request := c.api(node).request("POST", wire.Path(wire.PathSign, key), body)
		l, err := newLoad(c.api(node), 1, func(int, int) []byte { return request })
		if err != nil {
			return nil, err
		}
		loads = append(loads, l)
	}
	type ran struct {
		done int
		took time.Duration
	}
	over, ended := make(chan struct{}), make(chan ran, nodes)
	for _, l := range loads {
		go func() {
			var sum ran
			for {
				done, took, err := l.run(100 * time.Millisecond)
				sum.done, sum.took = sum.done+done, sum.took+took
				if err != nil {
					b.say("sign meanwhile: %v", err)
				}
				select {
				case <-over:
					ended <- sum
					return
				default:
				}
			}
		}()
	}
	return func() int {
		close(over)
		rate := 0.0
		for range loads {
			r := <-ended
			rate += float64(r.done) / r.took.Seconds()
		}
		for _, l := range loads {
			l.close()
		}
		return int(rate)
	}, nil
}

// percentile of the values, which it sorts.
func percentile(v []float64, p int) float64 {
	slices.Sort(v)
	return v[min(len(v)-1, len(v)*p/100)]
}
