package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/cluster/fresh"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
)

// linearizableWait bounds a linearizable read.
const linearizableWait = 2 * time.Second

var kinds = map[ledger.Level]fresh.Kind{ledger.Bounded: fresh.Bounded, ledger.Linearizable: fresh.Linearizable, ledger.Stale: fresh.Stale}

// Read returns a View at the freshness asked for. Whether it may be served is
// package fresh's decision; here is the evidence and the waiting.
func (n *Node) Read(ctx context.Context, f ledger.Freshness) (ledger.Snapshot, error) {
	if n.closed.Load() {
		return ledger.Snapshot{}, ledger.ErrStopped
	}
	q := fresh.Query{Kind: kinds[f.Level], Bound: f.Within, Min: fresh.Position{Epoch: f.MinEpoch, Index: f.MinIndex}}
	if f.Level == ledger.Linearizable {
		q.ReceivedAt = fresh.Instant(n.Elapsed())
		if err := n.linearize(ctx); err != nil {
			return ledger.Snapshot{}, err
		}
	}
	for {
		s, a := n.look(&q)
		if a.Verdict == fresh.RefuseStale && fault.On(fault.StaleGood) {
			a.Verdict, a.MayBeGood = fresh.Serve, true
		}
		switch a.Verdict {
		case fresh.Serve:
			s.Level, s.Fresh = f.Level, a.MayBeGood
			return s, nil
		case fresh.RefuseStale:
			return s, staleness(a)
		case fresh.RefuseBehind:
			return s, fmt.Errorf("%w: it is at %d, not yet at %d", ledger.ErrBehind, s.Position().Index, f.MinIndex)
		case fresh.RefuseEpoch:
			return s, fmt.Errorf("%w: this node is in epoch %d, the position in %d", ledger.ErrEpoch, s.Position().Epoch, f.MinEpoch)
		}
		if err := n.pause(ctx, s.Position().Index); err != nil {
			return s, err
		}
	}
}

// look decides on what is known now. The proof is read before the View, which is
// then at least as new as the proof. The first look is when a query that does not
// say it was received: asking the kernel for the time twice would show in the rates.
func (n *Node) look(q *fresh.Query) (ledger.Snapshot, fresh.Answer) {
	p := n.freshest.Load()
	s := ledger.Snapshot{View: n.View()}
	at := s.Position()
	st := fresh.State{Epoch: at.Epoch, Applied: at.Index}
	min := q.Min
	if min.Epoch == 0 && min.Index > 0 {
		min.Epoch = at.Epoch // an index alone is one of this epoch
	}
	if p != nil {
		st.AsOf, st.Fresh, s.AsOf = fresh.Instant(p.begun), true, p.asOf()
	}
	now := fresh.Instant(n.Elapsed())
	if q.ReceivedAt == 0 {
		q.ReceivedAt = now
	}
	asked := *q
	asked.Min = min
	a := fresh.Decide(st, asked, now)
	s.Staleness = a.Staleness
	a.MayBeGood = a.MayBeGood && p != nil && p.clockOff(time.Duration(now), n.Wall()).Abs() <= maxClockOffset // see Dated
	return s, a
}

// pause waits for the next Apply; the tick lets the deadline be seen.
func (n *Node) pause(ctx context.Context, index uint64) error {
	t := time.NewTimer(50 * time.Millisecond)
	defer t.Stop()
	select {
	case <-n.fsm.Changed(index):
	case <-t.C:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ledger.ErrBehind, ctx.Err())
	}
	return nil
}

func staleness(a fresh.Answer) error {
	if !a.Known {
		return fmt.Errorf("%w: it has not heard from a leader since it started", ledger.ErrStale)
	}
	return fmt.Errorf("%w: last confirmed %d ms ago", ledger.ErrStale, a.Staleness.Milliseconds())
}

// linearize gets a read point begun after the call. Whatever is in the way, the
// reader learns that nothing here is fresh enough and may ask another node.
func (n *Node) linearize(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, linearizableWait)
	defer cancel()
	err := n.renew(ctx)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ledger.ErrNotLeader), errors.Is(err, ledger.ErrEpoch), errors.Is(err, ledger.ErrStopped):
		return fmt.Errorf("confirm the read: %w", err)
	}
	return fmt.Errorf("%w: confirm the read: %w", ledger.ErrStale, err)
}
