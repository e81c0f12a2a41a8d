package cluster

import (
	"context"
	"sync"
)

// coalescer lets many callers share one run of a function, with the guarantee
// that the run a caller gets began after its call: whoever comes while one is
// under way waits for the next.
type coalescer[T any] struct {
	do      func(context.Context) (T, error)
	mu      sync.Mutex
	running bool
	next    *shared[T]
}

type shared[T any] struct {
	done  chan struct{}
	value T
	err   error
}

func newCoalescer[T any](do func(context.Context) (T, error)) *coalescer[T] {
	return &coalescer[T]{do: do}
}

// call joins the next run and waits for it within ctx.
func (c *coalescer[T]) call(ctx context.Context) (T, error) {
	c.mu.Lock()
	if c.next == nil {
		c.next = &shared[T]{done: make(chan struct{})}
	}
	mine := c.next
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-mine.done:
		return mine.value, mine.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

// run works until nobody waits. It is not bound to one caller's context, because
// others depend on it; do bounds itself.
func (c *coalescer[T]) run() {
	for {
		c.mu.Lock()
		s := c.next
		c.next = nil
		if s == nil {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		s.value, s.err = c.do(context.Background())
		close(s.done)
	}
}
