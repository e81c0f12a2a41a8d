package gather

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestTogether shows that what waits while a batch is on its way shares the next one,
// within the limits.
func TestTogether(t *testing.T) {
	began, goOn := make(chan int, 100), make(chan struct{})
	g := &Gatherer[int, int]{Items: 4, Weight: 100, Weigh: func(i int) int { return i }}
	g.Carry = func(_ context.Context, batch []int) ([]int, error) {
		began <- len(batch)
		<-goOn
		out := make([]int, len(batch))
		for i, n := range batch {
			out[i] = 2 * n
		}
		return out, nil
	}
	var all sync.WaitGroup
	put := func(n int) {
		all.Go(func() {
			if got, err := g.Put(t.Context(), n); err != nil || got != 2*n {
				t.Errorf("%d: %d, %v", n, got, err)
			}
		})
	}
	waiting := func(n int) {
		for g.Waiting() != n {
			time.Sleep(time.Millisecond)
		}
	}
	put(1)
	if n := <-began; n != 1 {
		t.Fatalf("the first went with %d", n)
	}
	for i := range 5 {
		put(10 + i)
	}
	waiting(5)
	put(1000) // heavier than a batch may be: goes alone
	waiting(6)
	close(goOn)
	all.Wait()
	if n := <-began; n != 4 {
		t.Errorf("the second batch has %d items, want 4", n)
	}
	for sum := 0; sum < 2; {
		n := <-began
		if sum += n; n > 2 {
			t.Errorf("a batch of %d after the full one", n)
		}
	}
}

func TestGivesUp(t *testing.T) {
	block := make(chan struct{})
	var carried atomic.Int64
	g := &Gatherer[int, int]{Items: 8, Carry: func(ctx context.Context, batch []int) ([]int, error) {
		carried.Add(int64(len(batch)))
		select {
		case <-block:
		case <-ctx.Done():
		}
		return make([]int, len(batch)), nil
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	first := make(chan error, 1)
	go func() { _, err := g.Put(t.Context(), 1); first <- err }()
	for carried.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	second := make(chan error, 1)
	go func() { _, err := g.Put(ctx, 2); second <- err }()
	cancel(why)
	if err := <-second; !errors.Is(err, why) {
		t.Errorf("who gave up: %v", err)
	}
	close(block)
	if err := <-first; err != nil {
		t.Errorf("who waited: %v", err)
	}
	if _, err := g.Put(t.Context(), 3); err != nil || carried.Load() != 2 {
		t.Errorf("%d were carried, want the first and the third: %v", carried.Load(), err)
	}
}

func TestErrors(t *testing.T) {
	bad := errors.New("bad")
	g := &Gatherer[int, int]{Items: 1, Carry: func(context.Context, []int) ([]int, error) { return nil, bad }}
	if _, err := g.Put(t.Context(), 1); !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	g.Carry = func(context.Context, []int) ([]int, error) { return nil, nil }
	if _, err := g.Put(t.Context(), 1); err == nil {
		t.Error("no answer is an answer")
	}
}

// TestPatience ends a batch's context with the last of its deadlines.
func TestPatience(t *testing.T) {
	deadline := make(chan time.Time, 1)
	g := &Gatherer[int, int]{Items: 8, Carry: func(ctx context.Context, batch []int) ([]int, error) {
		d, _ := ctx.Deadline()
		deadline <- d
		return batch, nil
	}}
	want := time.Now().Add(time.Hour)
	ctx, cancel := context.WithDeadline(t.Context(), want)
	defer cancel()
	if _, err := g.Put(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := <-deadline; !got.Equal(want) {
		t.Errorf("the batch ends at %s, want %s", got, want)
	}
	if _, err := g.Put(context.Background(), 1); err != nil {
		t.Fatal(err)
	}
	if got := <-deadline; !got.IsZero() {
		t.Errorf("with nobody in a hurry it ends at %s", got)
	}
}
