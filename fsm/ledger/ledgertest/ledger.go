package ledgertest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

var _ ledger.Ledger = (*Ledger)(nil)

// Ledger is one node that leads itself.
type Ledger struct {
	t     testing.TB
	node  lifecycle.NodeID
	clock *Clock

	mu         sync.Mutex // owns everything below
	rows       *Memory
	machine    *state.Machine
	view       *state.View
	waiters    []waiter
	failures   []failure
	leadership ledger.Leadership
	moved      chan struct{} // closed when leadership changes
	confirmed  time.Time     // when the state was last known to be current; zero = it is current now

	holdFences, holdSettling bool
	unreachable              []lifecycle.NodeID

	noLease atomic.Pointer[string] // why there is none; read without the lock
}

type waiter struct {
	index uint64
	ch    chan struct{}
}

type failure struct {
	err    error
	stored bool
}

// Option changes a Ledger before it is used.
type Option func(*Ledger)

// WithNode gives the node another id than NodeID("n1").
func WithNode(id lifecycle.NodeID) Option { return func(l *Ledger) { l.node = id } }

// WithClock shares a clock with the rest of a test.
func WithClock(c *Clock) Option { return func(l *Ledger) { l.clock = c } }

// WithState begins with the rows of a snapshot instead of with nothing.
func WithState(r state.Reader) Option {
	return func(l *Ledger) {
		l.rows = Restore(r)
		m, err := state.LoadMachine(l.rows)
		if err != nil {
			l.t.Fatalf("load the state: %v", err)
		}
		l.machine = m
	}
}

// New is a ledger without genesis: propose Init, or call Genesis.
func New(t testing.TB, opts ...Option) *Ledger {
	t.Helper()
	l := &Ledger{t: t, node: NodeID("n1"), clock: NewClock(), rows: NewMemory(), machine: state.NewMachine(), moved: make(chan struct{})}
	for _, o := range opts {
		o(l)
	}
	l.leadership = ledger.Leadership{Leader: l.node, Self: true, Ready: true, Term: 1}
	l.publish(l.machine.Root())
	return l
}

// NodeID implements ledger.Ledger.
func (l *Ledger) NodeID() lifecycle.NodeID { return l.node }

// Clock is the ledger's clock: it dates Do and Genesis and measures staleness.
func (l *Ledger) Clock() *Clock { return l.clock }

// Propose implements ledger.Ledger. What is committed here is committed at once, and
// the fence it opens stands and is settled at once (HoldFences, HoldSettling).
func (l *Ledger) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return state.Outcome{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.leadership.Self || !l.leadership.Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	var fail failure
	if len(l.failures) > 0 {
		fail, l.failures = l.failures[0], l.failures[1:]
		if !fail.stored {
			return state.Outcome{}, fail.err
		}
	}
	own := *cmd // Encode writes the digest into it, and the caller's may be shared
	entry, err := own.Encode()
	if err != nil {
		return state.Outcome{}, fmt.Errorf("propose %s: %w", own.Body.Kind(), err)
	}
	o := l.apply(entry)
	l.fence()
	if fail.err != nil {
		return state.Outcome{}, fail.err
	}
	return o, nil
}

// publish swaps the view and wakes who waited for it. The caller holds the lock,
// or nobody else knows the ledger yet.
func (l *Ledger) publish(root *state.Root) {
	rows := l.rows.Snapshot()
	l.view = state.NewView(root, func(read func(state.Reader) error) error { return read(rows) })
	waiting := l.waiters[:0]
	for _, w := range l.waiters {
		if root.Meta.Index > w.index {
			close(w.ch)
		} else {
			waiting = append(waiting, w)
		}
	}
	l.waiters = waiting
}

// View implements ledger.Ledger.
func (l *Ledger) View() *state.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.view
}

// Rows is everything as it stands now, for WithState and for looking at raw rows.
func (l *Ledger) Rows() state.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rows.Snapshot()
}

// Changed implements ledger.Ledger.
func (l *Ledger) Changed(index uint64) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range l.waiters {
		if w.index == index {
			return w.ch
		}
	}
	ch := make(chan struct{})
	if l.view.Position().Index > index {
		close(ch)
	} else {
		l.waiters = append(l.waiters, waiter{index, ch})
	}
	return ch
}

// Read implements ledger.Ledger.
func (l *Ledger) Read(ctx context.Context, f ledger.Freshness) (ledger.Snapshot, error) {
	for {
		s := l.snapshot(f)
		pos := s.Position()
		switch {
		case f.MinEpoch != 0 && f.MinEpoch != pos.Epoch:
			return ledger.Snapshot{}, ledger.ErrEpoch
		case f.MinIndex <= pos.Index && (s.Fresh || f.Level == ledger.Stale):
			return s, nil
		case f.MinIndex <= pos.Index:
			return ledger.Snapshot{}, ledger.ErrStale
		}
		select {
		case <-ctx.Done():
			return ledger.Snapshot{}, ledger.ErrBehind
		case <-l.Changed(pos.Index):
		}
	}
}

func (l *Ledger) snapshot(f ledger.Freshness) ledger.Snapshot {
	now := l.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	s := ledger.Snapshot{View: l.view, AsOf: now, Level: f.Level, Fresh: f.Level != ledger.Stale}
	if l.confirmed.IsZero() {
		return s
	}
	within := f.Within
	if within == 0 {
		within = ledger.DefaultBound
	}
	s.AsOf, s.Staleness = l.confirmed, now.Sub(l.confirmed)
	s.Fresh = f.Level == ledger.Bounded && s.Staleness <= within
	return s
}

// Leadership implements ledger.Ledger.
func (l *Ledger) Leadership() ledger.Leadership {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leadership
}

// LeadershipChanged implements ledger.Ledger.
func (l *Ledger) LeadershipChanged() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.moved
}
