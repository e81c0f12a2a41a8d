package rotation

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Timing of the loop.
const (
	minGap      = 100 * time.Millisecond // between two passes, so that a burst of writes costs one
	gapPerPass  = 4                      // a long pass rests four times as long: at most a fifth of a core
	maxGap      = 5 * time.Second
	maxSleep    = time.Minute // the wall clock may be set while we sleep
	stepsAtOnce = 1024        // proposed per pass; what is left is planned again
	proposers   = 16          // keys proposed for at the same time: they share log batches
	systemActor = "system"
)

// Config of a Loop. Clock, After, Draw and Log default to the real ones.
type Config struct {
	Ledger ledger.Ledger
	Clock  func() time.Time
	After  func(time.Duration) <-chan time.Time
	Draw   Draw
	Log    *slog.Logger
}

// Loop proposes on the leader what Plan finds due. It runs in one goroutine.
type Loop struct {
	ledger ledger.Ledger
	clock  func() time.Time
	after  func(time.Duration) <-chan time.Time
	draw   Draw
	log    *slog.Logger

	done     chan struct{}
	refusals refusals
	seen     seen
}

// seen is what the last pass looked at. Every change that Plan could notice appends
// to the lifecycle log, so an equal log size means that only time can have made
// something due. One thing does not: a consumer's instance that confirms. While a gate
// waits for that, every entry counts.
type seen struct {
	valid                 bool
	epoch, logSize, index uint64
	asks                  bool
	next                  lifecycle.Instant // 0 = nothing waits for time
}

// still reports whether a pass over the state at p could find nothing new.
func (s *seen) still(p state.Position, now lifecycle.Instant) bool {
	return s.valid && s.epoch == p.Epoch && s.logSize == p.LogSize && (!s.asks || s.index == p.Index) && (s.next == 0 || now < s.next)
}

// New makes a Loop; it starts nothing.
func New(c Config) *Loop {
	l := &Loop{ledger: c.Ledger, clock: c.Clock, after: c.After, draw: c.Draw, log: c.Log, done: make(chan struct{})}
	if l.clock == nil {
		l.clock = time.Now
	}
	if l.after == nil {
		l.after = time.After
	}
	if l.draw == nil {
		l.draw = drawCKAID
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	return l
}

func drawCKAID() (id lifecycle.CKAID) {
	rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	return id
}

// Start runs the loop until ctx ends.
func (l *Loop) Start(ctx context.Context) {
	go func() {
		defer close(l.done)
		l.run(ctx)
	}()
}

// Wait returns when the loop has ended.
func (l *Loop) Wait() { <-l.done }

func (l *Loop) now() lifecycle.Instant { return lifecycle.Instant(l.clock().UnixMilli()) }

func (l *Loop) run(ctx context.Context) {
	for ctx.Err() == nil {
		moved := l.ledger.LeadershipChanged() // before the look, so that no change is missed
		if lead := l.ledger.Leadership(); !lead.Self || !lead.Ready {
			l.refusals.clear()
			l.seen = seen{}
			l.wait(ctx, time.Second, moved, nil)
			continue
		}
		began := l.clock()
		view := l.ledger.View()
		sleep := l.pass(ctx, view)
		gap := min(max(minGap, gapPerPass*l.clock().Sub(began)), maxGap)
		l.wait(ctx, gap, moved, nil)
		if sleep > gap {
			l.wait(ctx, sleep-gap, moved, l.ledger.Changed(view.Position().Index))
		}
	}
}

func (l *Loop) wait(ctx context.Context, d time.Duration, moved, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-moved:
	case <-changed:
	case <-l.after(d):
	}
}

// pass proposes what is due and returns how long nothing else will be.
func (l *Loop) pass(ctx context.Context, view *state.View) time.Duration {
	now := max(l.now(), view.Clock())
	p := view.Position()
	if l.seen.still(p, now) {
		return l.sleep(l.seen.next)
	}
	made := pass(view, now, l.draw)
	next := made.next
	ready := l.refusals.filter(made.steps, now)
	if len(ready) > stepsAtOnce {
		ready = ready[:stepsAtOnce]
	}
	l.propose(ctx, view, ready)
	if retry := l.refusals.next(); retry != 0 && (next == 0 || retry < next) {
		next = retry
	}
	l.seen = seen{valid: true, epoch: p.Epoch, logSize: p.LogSize, index: p.Index, asks: made.asks, next: next}
	return l.sleep(next)
}

func (l *Loop) sleep(until lifecycle.Instant) time.Duration {
	if until == 0 {
		return maxSleep
	}
	d := time.Duration(until-l.now()) * time.Millisecond
	return min(max(d, minGap), maxSleep)
}

// propose puts the steps to the log, those of one key one after another.
func (l *Loop) propose(ctx context.Context, view *state.View, steps []Step) {
	var group sync.WaitGroup
	slots := make(chan struct{}, proposers)
	for len(steps) > 0 {
		n := 1
		for n < len(steps) && keyOf(steps[n].Body) == keyOf(steps[0].Body) {
			n++
		}
		mine := steps[:n]
		steps = steps[n:]
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			for _, s := range mine {
				l.step(ctx, view, s)
			}
		})
	}
	group.Wait()
}

// step proposes one step, unless a trial shows that it would be refused.
func (l *Loop) step(ctx context.Context, view *state.View, s Step) {
	id := identify(s.Body)
	cmd := &command.Command{Body: s.Body, Header: command.Header{At: l.now(), Actor: systemActor, Node: l.ledger.NodeID(), Reads: s.Reads}}
	outcome := state.Trial(view, cmd)
	var err error
	if outcome.OK() {
		outcome, err = l.ledger.Propose(ctx, cmd)
	}
	log := l.log.With("step", s.Body.Kind().String(), "key", id.key, "version", id.version)
	switch {
	case err != nil:
		delay := l.refusals.add(id, l.now(), firstRefusalDelay)
		if ctx.Err() == nil {
			log.Warn("rotation step not proposed", "err", err, "retry_in", delay.String())
		}
	case outcome.Code == state.Conflict:
		l.refusals.add(id, l.now(), firstConflictDelay) // somebody was faster; plan again
	case !outcome.OK():
		delay := l.refusals.add(id, l.now(), firstRefusalDelay)
		log.Warn("rotation step refused", "reason", outcome.Code, "detail", outcome.Detail, "retry_in", delay.String())
	default:
		l.refusals.drop(id)
		log.Info("rotation step done", "reason", s.Why, "index", outcome.Index)
	}
}
