package rotation

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// timers fire when the ledger's clock is advanced past them. The short rests
// between passes take no time, so that only what waits for a date waits.
type timers struct {
	clock *ledgertest.Clock

	mu      sync.Mutex // owns waiting
	waiting map[chan time.Time]time.Time
}

func (f *timers) after(d time.Duration) <-chan time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	ch := make(chan time.Time, 1)
	if d <= minGap {
		ch <- f.clock.Now()
	} else {
		f.waiting[ch] = f.clock.Now().Add(d)
	}
	return ch
}

func (f *timers) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clock.Advance(d)
	for ch, at := range f.waiting {
		if !at.After(f.clock.Now()) {
			ch <- f.clock.Now()
			delete(f.waiting, ch)
		}
	}
}

// counted counts what is proposed.
type counted struct {
	*ledgertest.Ledger
	proposed atomic.Int64
}

func (c *counted) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	c.proposed.Add(1)
	return c.Ledger.Propose(ctx, cmd)
}

type running struct {
	*fixture
	*timers
	ledger *counted
	loop   *Loop
}

// start runs a loop until the test ends.
func start(t *testing.T, f *fixture) *running {
	r := &running{fixture: f, timers: &timers{clock: f.Clock(), waiting: map[chan time.Time]time.Time{}}, ledger: &counted{Ledger: f.Ledger}}
	r.loop = New(Config{Ledger: r.ledger, Clock: f.Clock().Now, After: r.after, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	r.loop.Start(ctx)
	t.Cleanup(func() {
		cancel()
		r.loop.Wait()
	})
	return r
}

// eventually polls until the condition holds.
func (r *running) eventually(what string, cond func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// asleep waits until the loop has nothing to do before the clock moves.
func (r *running) asleep() {
	r.t.Helper()
	r.eventually("asleep", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.waiting) > 0
	})
}

// sleepsUntil waits until the loop has seen the newest state and has nothing to do before
// at: what was in the middle of a pass when the clock moved would rest once more.
func (r *running) sleepsUntil(at lifecycle.Instant) {
	r.t.Helper()
	r.eventually("asleep until "+at.String(), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, t := range r.waiting {
			if lifecycle.Instant(t.Add(minGap).UnixMilli()) == at { // the rest between passes came first
				return true
			}
		}
		return false
	})
}

func (r *running) state(version uint64) lifecycle.State {
	if v := r.View().Version("k", version); v != nil {
		return v.State
	}
	return 0
}

func TestLoopCarriesARotationThrough(t *testing.T) {
	r := start(t, newFixture(t))
	pol := tokenPolicy()
	pol.RotateEvery, pol.Lead = 2*lifecycle.Hour, lifecycle.Hour
	r.create("k", pol, r.nodes...)
	r.bind("k", 1, r.nodes...)
	r.eventually("version 1 activated", func() bool { return r.state(1) == lifecycle.Active })
	step := func(what string, cond func() bool) {
		t.Helper()
		r.eventually(what, func() bool {
			r.advance(time.Minute)
			return cond()
		})
	}
	step("version 2 prepared", func() bool { return r.state(2) == lifecycle.PreActivation })
	r.bind("k", 2, r.nodes...)
	step("version 2 published", func() bool { return r.View().Version("k", 2).PublishedAt != 0 })
	step("version 2 activated", func() bool { return r.state(2) == lifecycle.Active })
	step("version 1 withdrawn", func() bool { return r.View().Version("k", 1).Withdrawn })
	v := r.View().Version("k", 2)
	if v.ActivatedAt < v.PublishedAt.Add(lifecycle.Hour) || v.Created.By != systemActor {
		t.Errorf("version 2: %+v", v)
	}
}

func TestLoopSleepsUntilTheStepIsDue(t *testing.T) {
	r := start(t, newFixture(t))
	r.create("k", tokenPolicy(), r.nodes...)
	r.bind("k", 1, r.nodes[0])
	due := Next(r.View(), r.now())
	r.sleepsUntil(due)
	if n := r.ledger.proposed.Load(); n != 0 {
		t.Errorf("%d commands before anything is due", n)
	}
	r.advance(time.Duration(due-r.now()) * time.Millisecond) // a single advance to the very instant
	r.eventually("activated", func() bool { return r.state(1) == lifecycle.Active })
	if at := r.View().Version("k", 1).ActivatedAt; at != due {
		t.Errorf("activated at %s, was due at %s", at, due)
	}
}

func TestOnlyTheLeaderProposes(t *testing.T) {
	f := newFixture(t)
	f.create("k", tokenPolicy(), f.nodes...)
	f.bind("k", 1, f.nodes...)
	f.SetLeader(false)
	r := start(t, f)
	r.asleep()
	if n := r.ledger.proposed.Load(); n != 0 {
		t.Errorf("a follower proposed %d commands", n)
	}
	f.SetLeader(true)
	r.eventually("activated by the new leader", func() bool { return r.state(1) == lifecycle.Active })
}

// A step that fails is repeated after a pause, not at once, and a lost answer does
// no harm.
func TestLoopRestsAfterAFailure(t *testing.T) {
	f := newFixture(t)
	f.create("k", tokenPolicy(), f.nodes...)
	f.bind("k", 1, f.nodes...)
	f.FailNext(ledger.ErrBusy)
	f.FailNext(ledger.ErrClock)
	f.LoseNextAnswer()
	r := start(t, f)
	for n, delay := range []time.Duration{time.Second, 2 * time.Second} {
		r.asleep()
		if got := r.ledger.proposed.Load(); got != int64(n)+1 {
			t.Fatalf("proposed %d times, want %d", got, n+1)
		}
		r.advance(delay)
		r.eventually("tried again", func() bool { return r.ledger.proposed.Load() == int64(n)+2 })
	}
	r.eventually("activated, though the answer was lost", func() bool { return r.state(1) == lifecycle.Active })
	r.advance(time.Minute)
	r.asleep()
	if got := r.ledger.proposed.Load(); got != 3 {
		t.Errorf("proposed %d times", got)
	}
}

// A pass is skipped while nothing happens; the log's clock alone can make it due.
func TestPassIsSkippedUntilSomethingHappens(t *testing.T) {
	f := newFixture(t)
	c := &counted{Ledger: f.Ledger}
	l := New(Config{Ledger: c, Clock: f.Clock().Now, Draw: f.draw, Log: slog.New(slog.DiscardHandler)})
	f.create("k", tokenPolicy(), f.nodes...)
	f.bind("k", 1, f.nodes[0])
	ctx := context.Background()
	if d := l.pass(ctx, f.View()); d != 10*time.Second || !l.seen.valid {
		t.Errorf("sleeps %s until the grace is over", d)
	}
	f.Must(t, &command.MarkCheckpoint{})
	f.Clock().Advance(4 * time.Second)
	if d := l.pass(ctx, f.View()); d != 6*time.Second {
		t.Errorf("sleeps %s", d)
	}
	f.Must(t, &command.AdvanceClock{Readings: []command.ClockReading{{Node: f.nodes[0], At: f.now().Add(lifecycle.Minute)}}})
	l.pass(ctx, f.View())
	if c.proposed.Load() != 1 || f.View().Key("k").Active != 1 {
		t.Errorf("proposed %d: the log's clock says that the grace is over", c.proposed.Load())
	}
}

func TestManyKeysInOnePass(t *testing.T) {
	f := newFixture(t)
	const keys = 3 * proposers
	for n := range keys {
		name := lifecycle.KeyID("k" + string(rune('a'+n/26)) + string(rune('a'+n%26)))
		f.create(name, tokenPolicy(), f.nodes...)
		f.bind(name, 1, f.nodes...)
	}
	r := start(t, f)
	r.eventually("all activated", func() bool { return len(f.plan()) == 0 })
	if n := r.ledger.proposed.Load(); n != keys {
		t.Errorf("%d commands for %d keys", n, keys)
	}
}

func TestRefusalsRestLongerEachTime(t *testing.T) {
	var r refusals
	step := Step{Body: &command.WithdrawVersion{Key: "k", Version: 1}}
	other := Step{Body: &command.WithdrawVersion{Key: "k", Version: 2}}
	now, id := lifecycle.Instant(1_000_000), identify(step.Body)
	for _, want := range []lifecycle.Milliseconds{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		if got := r.add(id, now, firstRefusalDelay); got != want*lifecycle.Second {
			t.Fatalf("rests %s, want %ds", got, want)
		}
		until := now.Add(want * lifecycle.Second)
		if r.next() != until {
			t.Errorf("ends at %s, want %s", r.next(), until)
		}
		if got := r.filter([]Step{step, other}, until-1); len(got) != 1 || identify(got[0].Body) != identify(other.Body) {
			t.Errorf("while it rests: %v", got)
		}
		if got := r.filter([]Step{step, other}, until); len(got) != 2 {
			t.Errorf("when it has rested: %v", got)
		}
		now = until
	}
	r.filter([]Step{other}, now)
	if r.next() != 0 {
		t.Error("a step nobody plans any more is remembered")
	}
	if got := r.add(id, now, firstConflictDelay); got != firstConflictDelay {
		t.Errorf("a conflict rests %s", got)
	}
	r.drop(id)
	r.add(id, now, firstRefusalDelay)
	r.clear()
	if r.next() != 0 {
		t.Error("not cleared")
	}
}
