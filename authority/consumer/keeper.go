package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	keepEvery   = 5 * time.Second
	lapseAtOnce = 1000 // confirmations of one entry
)

// Run keeps the desk until ctx ends: weak evidence goes to the leader, and the leader
// says which confirmations have lapsed.
func (d *Desk) Run(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		d.Keep(ctx)
	}
}

// Keep is one round of Run.
func (d *Desk) Keep(ctx context.Context) {
	d.sendFetches(ctx)
	for ctx.Err() == nil && d.lapse(ctx) == lapseAtOnce {
	}
}

// lapse proposes one entry about confirmations that nobody renewed and that say nothing
// any more; it returns how many those were. Nobody who decides waits for it: they look
// at the time themselves.
func (d *Desk) lapse(ctx context.Context) int {
	if l := d.Ledger.Leadership(); !l.Self || !l.Ready {
		return 0
	}
	v, now := d.Ledger.View(), d.now()
	c := &command.LapseConfirmations{}
	v.EachConfirmation(func(r *lifecycle.Confirmation) bool {
		if due(v, r, now) {
			c.Items = append(c.Items, command.ConfirmationName{Consumer: r.Consumer, Key: r.Key, Instance: r.Instance})
		}
		return len(c.Items) < lapseAtOnce
	})
	if len(c.Items) == 0 {
		return 0
	}
	if _, err := d.propose(ctx, c); err != nil {
		if !errors.Is(err, ledger.ErrNotLeader) && ctx.Err() == nil {
			d.Log.Warn("record lapsed confirmations", "count", len(c.Items), "err", err)
		}
		return 0
	}
	return len(c.Items)
}

func due(v *state.View, r *lifecycle.Confirmation, now lifecycle.Instant) bool {
	con := v.Consumer(r.Consumer)
	switch {
	case con == nil || con.RetiredAt != 0 || !con.Lists(r.Key):
		return true
	case r.LapsedAt == 0:
		return now >= r.ExpiresAt
	}
	return r.Forgettable(now)
}
