//go:build linux && cgo

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	emergencies    = 100
	emergencyLimit = 20 * time.Second
)

// emergency measures how long a replacement takes on a healthy cluster with software
// key stores until the old version is fenced and the new one signs: until its caller
// was told, and until somebody who asks all the while has a signature.
func (b *bench) emergency() (err error) {
	c, err := b.startCluster("emergency", "soft")
	if err != nil {
		return err
	}
	defer func() {
		if stopped := c.stop(); err == nil {
			err = stopped
		}
	}()
	if err := c.key(b.ctx, "leak", ""); err != nil {
		return err
	}
	var done, fenced, active, everywhere []float64
	for n := range uint64(emergencies) {
		e, err := b.replace(c, n+1)
		if err != nil {
			return err
		}
		done = append(done, max(e.told, e.signed))
		fenced, active, everywhere = append(fenced, float64(e.op.Fenced.MS)), append(active, float64(e.op.Active.MS)), append(everywhere, e.everywhere())
		b.say("fenced and signing after %.1f ms (told after %.1f, fenced %d, active %d, on all nodes %.0f)", done[n], e.told, e.op.Fenced.MS, e.op.Active.MS, e.everywhere())
	}
	b.table.atMost(fmt.Sprintf("replaced: old fenced, new signing: p99 of %d", emergencies), percentile(done, 99), 500, "ms",
		fmt.Sprintf("median %.1f ms; by the log: fenced %.0f, active %.0f, on all nodes %.0f ms", percentile(done, 50), percentile(fenced, 50), percentile(active, 50), percentile(everywhere, 50)))
	return nil
}

// exchange is one replacement as it was seen from outside, in ms.
type exchange struct {
	told   float64 // the caller knew that it is fenced
	signed float64 // somebody had a signature of the new version
	op     *wire.Operation
}

// everywhere is when every node had its key pair in the trust set.
func (e *exchange) everywhere() (ms float64) {
	for _, n := range e.op.Nodes {
		if n.Instance != nil {
			ms = max(ms, float64(n.Instance.MS))
		}
	}
	return ms
}

func (b *bench) replace(c *cluster, old uint64) (*exchange, error) {
	start := time.Now()
	since := func() float64 { return float64(time.Since(start).Microseconds()) / 1000 }
	ctx, cancel := context.WithTimeout(b.ctx, emergencyLimit)
	defer cancel()
	signed := make(chan float64, 1)
	failed := make(chan error, 1)
	go func() {
		for {
			switch s, err := c.client.Sign(ctx, "leak", wire.SignRequest{Message: []byte("bench")}); {
			case err == nil && s.Version > old:
				signed <- since()
				return
			case ctx.Err() != nil:
				failed <- fmt.Errorf("nobody signs with version %d: %w", old+1, err)
				return
			}
		}
	}()
	op, err := c.client.Replace(ctx, "leak", wire.Replace{Emergency: true, Versions: []uint64{old}, Reason: lifecycle.KeyCompromise}, client.Wait(wire.Fenced, emergencyLimit))
	if err != nil {
		return nil, fmt.Errorf("replace: %w", err)
	}
	e := &exchange{told: since()}
	select {
	case e.signed = <-signed:
	case err := <-failed:
		return nil, err
	}
	for { // until each node has made its pair, so that the next one begins in peace
		if e.op, err = c.client.Operation(ctx, op.RequestID); err != nil {
			return nil, fmt.Errorf("look at the replacement: %w", err)
		}
		ready := 0
		for _, n := range e.op.Nodes {
			if n.Instance != nil && n.Instance.MaySign {
				ready++
			}
		}
		if ready == nodes && e.op.Has(wire.Fenced) {
			return e, nil
		}
	}
}
