package signing_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestDrainWaitsForTheGate holds a signer inside the gate, on the state before a
// revocation: Drain may not return before it has left.
func TestDrainWaitsForTheGate(t *testing.T) {
	w := build(t)
	start := time.Now()
	w.signer.Elapsed = func() time.Duration { return time.Since(start) }
	inside, leave := make(chan struct{}), make(chan struct{})
	looks := 0
	w.lease.hook = func() {
		if looks++; looks == 2 { // the first is at admission
			close(inside)
			<-leave
		}
	}
	signed := make(chan signing.Item, 1)
	go func() {
		items, err := w.signer.Sign(ctx, signing.Request{Caller: robot, ID: newID(), Key: "ci", ReceivedAt: time.Since(start)}, []signing.Input{hello})
		if err != nil {
			t.Errorf("the state it looked at let it pass: %v", err)
			items = make([]signing.Item, 1)
		}
		signed <- items[0]
	}()
	<-inside
	w.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	drained := make(chan time.Duration, 1)
	go func() {
		w.signer.Drain(w.ledger.View())
		drained <- time.Since(start)
	}()
	select {
	case <-drained:
		t.Fatal("Drain returned while a signer was inside the gate with the older state")
	case <-time.After(30 * time.Millisecond): // a broken Drain would have been seen
	}
	close(leave)
	item, at := <-signed, <-drained
	if item.ReleasedAt == 0 || item.ReleasedAt > at {
		t.Errorf("released at %s, drained at %s", item.ReleasedAt, at)
	}
	w.lease.hook = nil
	_, err := w.sign(hello)
	code(t, err, "key_revoked")
}

// TestNoReleaseAfterDrain signs with many while keys, callers, nodes and policies are
// taken away: nothing that Drain has returned for is released later.
func TestNoReleaseAfterDrain(t *testing.T) {
	w := build(t)
	start := time.Now()
	w.signer.Elapsed = func() time.Duration { return time.Since(start) }
	const keys, signers = 6, 8
	names := make([]string, keys)
	var drainedAt [keys]atomic.Int64 // 0 = not yet
	for i := range names {
		names[i] = "ci-k" + string(rune('a'+i))
		w.create(lifecycle.KeyID(names[i]), lifecycle.ForArtifact, lifecycle.ES256, func(p *lifecycle.Policy) { p.VerifyOneIn = 1000 })
	}
	var released atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range signers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(keys)
				req := w.request(names[i])
				req.ReceivedAt = time.Since(start)
				items, err := w.signer.Sign(ctx, req, []signing.Input{hello})
				if err != nil {
					runtime.Gosched()
					continue
				}
				released.Add(1)
				if at := drainedAt[i].Load(); at != 0 && int64(items[0].ReleasedAt) > at {
					t.Errorf("%s was released %s after Drain returned", names[i], items[0].ReleasedAt-time.Duration(at))
				}
			}
		})
	}
	for i, name := range names {
		before := released.Load()
		until(t, "something is signed", func() bool { return released.Load() > before+5 })
		k := lifecycle.KeyID(name)
		switch i % 3 {
		case 0:
			w.ledger.Must(t, &command.Revoke{Key: k, Reason: lifecycle.Superseded})
		case 1:
			w.ledger.Must(t, &command.SuspendVersion{Key: k, Version: 1})
		case 2:
			w.ledger.Must(t, &command.Revoke{Key: k, Node: w.ledger.NodeID(), Reason: lifecycle.KeyCompromise})
		}
		w.signer.Drain(w.ledger.View())
		drainedAt[i].Store(int64(time.Since(start)))
		if i == keys-2 {
			break // one key goes on until its caller is gone
		}
	}
	last := keys - 1
	w.ledger.Must(t, &command.RevokePrincipal{Name: "robot"})
	w.signer.Drain(w.ledger.View())
	drainedAt[last].Store(int64(time.Since(start)))
	close(stop) // whoever is inside Sign still ends, and is looked at
	wg.Wait()
}
