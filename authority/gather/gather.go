// Package gather lets what many callers want done at the same time be done together:
// requests that are ready while an entry of the log is on its way share the next one.
//
// Concurrency: a Gatherer may be used from any number of goroutines. It has as many
// goroutines as batches are on their way, and none while nothing waits.
package gather

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// Gatherer carries items in batches. Set the fields before the first Put.
type Gatherer[T, R any] struct {
	// Carry does the work of a batch and answers for each item, in order. Its context
	// ends when the last of those who wait has given up. After an error nobody has an
	// answer.
	Carry func(ctx context.Context, batch []T) ([]R, error)

	Flights int         // batches on their way at once; 0 = 1
	Items   int         // in a batch at most
	Weight  int         // of a batch at most, an item alone excepted; 0 = items are not weighed
	Weigh   func(T) int // what an item weighs

	mu      sync.Mutex // owns what follows
	waiting []*seat[T, R]
	flying  int
}

// seat is one item on its way.
type seat[T, R any] struct {
	ctx    context.Context
	item   T
	done   chan struct{} // closed when answer and err are set
	answer R
	err    error
}

// Put has an item carried and returns its answer. When ctx ends first its error says
// so, and the item may have been carried or not.
func (g *Gatherer[T, R]) Put(ctx context.Context, item T) (answer R, err error) {
	s := &seat[T, R]{ctx: ctx, item: item, done: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, s)
	fly := g.flying < max(1, g.Flights)
	if fly {
		g.flying++
	}
	g.mu.Unlock()
	if fly {
		go g.fly()
	}
	select {
	case <-s.done:
		return s.answer, s.err
	case <-ctx.Done():
		return answer, context.Cause(ctx)
	}
}

// Waiting is how many items are in no batch yet.
func (g *Gatherer[T, R]) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// fly carries batches until nothing waits.
func (g *Gatherer[T, R]) fly() {
	for {
		// What sets one caller free often sets many free at once: let the others get
		// here, so that the first batch does not carry one alone.
		runtime.Gosched()
		batch := g.take()
		if batch == nil {
			return
		}
		g.carry(batch)
	}
}

// take removes from the queue what fits one batch and is still waited for; nil ends the
// flight.
func (g *Gatherer[T, R]) take() []*seat[T, R] {
	g.mu.Lock()
	defer g.mu.Unlock()
	var batch []*seat[T, R]
	weight, taken := 0, 0
	for _, s := range g.waiting {
		if g.Weight > 0 {
			weight += g.Weigh(s.item)
		}
		if len(batch) > 0 && (weight > g.Weight || len(batch) == g.Items) {
			break
		}
		taken++
		if s.ctx.Err() == nil {
			batch = append(batch, s)
		}
	}
	clear(g.waiting[:taken])
	if g.waiting = g.waiting[taken:]; len(g.waiting) == 0 {
		g.waiting = nil
	}
	if batch == nil {
		g.flying--
	}
	return batch
}

// carry brings one batch on its way and tells everybody what became of theirs.
func (g *Gatherer[T, R]) carry(batch []*seat[T, R]) {
	items := make([]T, len(batch))
	for i, s := range batch {
		items[i] = s.item
	}
	ctx, cancel := patience(batch)
	defer cancel()
	answers, err := g.Carry(ctx, items)
	if err == nil && len(answers) != len(batch) {
		err = fmt.Errorf("%d answers for %d items", len(answers), len(batch))
	}
	for i, s := range batch {
		if s.err = err; err == nil {
			s.answer = answers[i]
		}
		close(s.done)
	}
}

// patience is a context that ends when the last of those who wait gives up.
func patience[T, R any](batch []*seat[T, R]) (context.Context, context.CancelFunc) {
	var until time.Time
	for _, s := range batch {
		t, ok := s.ctx.Deadline()
		if !ok {
			return context.WithCancel(context.Background())
		}
		if t.After(until) {
			until = t
		}
	}
	return context.WithDeadline(context.Background(), until)
}
