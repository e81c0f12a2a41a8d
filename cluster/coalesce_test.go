package cluster

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// running starts a coalescer and returns how to end it.
func running[T any](t *testing.T, c *coalescer[T]) (end func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { c.run(ctx) })
	end = sync.OnceFunc(func() { cancel(); done.Wait() })
	t.Cleanup(end)
	return end
}

// TestCoalescedRunBeginsAfterTheCall is the guarantee that linearizable reads rest on.
func TestCoalescedRunBeginsAfterTheCall(t *testing.T) {
	var started atomic.Int64
	c := newCoalescer(func(context.Context) (int64, error) { return started.Add(1), nil })
	running(t, c)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 2000 {
				before := started.Load()
				if run, err := c.call(t.Context()); err != nil || run <= before {
					t.Errorf("run %d for a call when %d had begun, %v", run, before, err)
					return
				}
			}
		})
	}
	callers.Wait()
	if n := started.Load(); n >= 8*2000 {
		t.Errorf("%d runs: nothing was shared", n)
	}
}

func TestCoalescerSharesTheNextRun(t *testing.T) {
	entered, release := make(chan int), make(chan struct{})
	runs, failure := 0, errors.New("no")
	c := newCoalescer(func(context.Context) (int, error) {
		runs++
		entered <- runs
		<-release
		return runs, failure
	})
	end := running(t, c)
	first := make(chan error, 1)
	go func() { _, err := c.call(t.Context()); first <- err }()
	<-entered
	// These come while the first run is under way. They give up at once, and have
	// still asked for a run.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	for range 10 {
		if _, err := c.call(cancelled); !errors.Is(err, context.Canceled) {
			t.Errorf("a caller that gave up: %v", err)
		}
	}
	release <- struct{}{}
	if err := <-first; !errors.Is(err, failure) {
		t.Error(err)
	}
	if n := <-entered; n != 2 {
		t.Errorf("run %d", n)
	}
	last := make(chan int, 1)
	go func() { n, _ := c.call(t.Context()); last <- n }()
	release <- struct{}{}
	n := <-entered
	release <- struct{}{}
	if got := <-last; n != 3 || got != 3 {
		t.Errorf("run %d, the caller got %d: ten calls shared more than one run", n, got)
	}
	end()
	if _, err := c.call(t.Context()); !errors.Is(err, ledger.ErrStopped) {
		t.Errorf("after the end: %v", err)
	}
}
