package cluster

import (
	"context"
	"sync"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// coalescer lets many callers share one run of a function, with the guarantee
// that the run a caller gets began after its call: whoever comes while one is
// under way waits for the next.
type coalescer[T any] struct {
	do   func(context.Context) (T, error)
	wake chan struct{} // holds one token while somebody may be waiting
	over chan struct{} // closed when nothing is run any more
	mu   sync.Mutex    // owns next
	next *shared[T]
}

// shared is one run. Value and error are written before done is closed.
type shared[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newCoalescer[T any](do func(context.Context) (T, error)) *coalescer[T] {
	return &coalescer[T]{do: do, wake: make(chan struct{}, 1), over: make(chan struct{})}
}

// begin asks for a run and does not wait for it.
func (c *coalescer[T]) begin() *shared[T] {
	c.mu.Lock()
	if c.next == nil {
		c.next = &shared[T]{done: make(chan struct{})}
	}
	mine := c.next
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default: // the token there is taken after this call joined
	}
	return mine
}

// call joins the next run and waits for it within ctx.
func (c *coalescer[T]) call(ctx context.Context) (T, error) {
	mine := c.begin()
	var zero T
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-c.over:
		return zero, ledger.ErrStopped
	case <-ctx.Done():
		return zero, ctx.Err()
	}
}

// run works until ctx ends. A run is not bound to one caller's context, because
// others depend on it; do bounds itself.
func (c *coalescer[T]) run(ctx context.Context) {
	defer close(c.over)
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		}
		c.mu.Lock()
		s := c.next
		c.next = nil
		c.mu.Unlock()
		if s == nil {
			continue // the token of a call that an earlier run took along
		}
		s.value, s.err = c.do(ctx)
		close(s.done)
	}
}
