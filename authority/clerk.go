package authority

import (
	"context"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Times of the clerk.
const (
	clerkNap   = time.Minute      // longest sleep: the wall clock may be set meanwhile
	clerkRetry = 10 * time.Second // after an execution that was refused: only a change of the state can help
)

// Clerk does on the leader what nobody has to ask for: it carries out what was approved
// while the leader changed, ends what is too old, and raises the Format. One goroutine.
type Clerk struct {
	service *Service
	retry   map[string]lifecycle.Instant // proposals whose execution was refused: not before
}

// NewClerk makes a Clerk; it starts nothing.
func NewClerk(s *Service) *Clerk { return &Clerk{service: s, retry: map[string]lifecycle.Instant{}} }

// Run works until ctx ends.
func (c *Clerk) Run(ctx context.Context) {
	l := c.service.ledger
	for ctx.Err() == nil {
		moved := l.LeadershipChanged() // before the look, so that no change is missed
		v := l.View()
		timer := time.NewTimer(c.Tend(ctx, v))
		select {
		case <-ctx.Done():
		case <-moved:
		case <-l.Changed(v.Position().Index):
		case <-timer.C:
		}
		timer.Stop()
	}
}

// Tend does what is due in v and returns how long nothing else will be.
func (c *Clerk) Tend(ctx context.Context, v *state.View) time.Duration {
	s := c.service
	if lead := s.ledger.Leadership(); !lead.Self || !lead.Ready {
		clear(c.retry)
		return clerkNap
	}
	now, next := s.Now(), s.Now().Add(lifecycle.Milliseconds(clerkNap.Milliseconds()))
	var old []string
	for _, p := range v.Proposals() {
		switch {
		case now > p.ExpiresAt:
			old = append(old, p.ID)
			continue
		case p.Status == lifecycle.ProposalApproved && now >= c.retry[p.ID]:
			delete(c.retry, p.ID)
			if err := s.execute(ctx, p); err != nil {
				c.retry[p.ID] = now.Add(lifecycle.Milliseconds(clerkRetry.Milliseconds()))
				s.log.Warn("carry out an approved proposal", "proposal", p.ID, "err", err)
			}
		}
		next = min(next, p.ExpiresAt+1)
		if at := c.retry[p.ID]; at != 0 {
			next = min(next, at)
		}
	}
	if len(old) > 0 {
		c.expire(ctx, old)
	}
	if now := v.Cluster().Format; now < command.MaxFormat {
		if known := FormatKnown(v); known > now {
			c.raise(ctx, known)
		}
	}
	return time.Duration(max(next-now, 1)) * time.Millisecond
}

func (c *Clerk) expire(ctx context.Context, ids []string) {
	slices.Sort(ids)
	if _, err := c.service.proposeAs(ctx, systemActor, &command.ExpireProposals{IDs: ids}); err != nil && ctx.Err() == nil {
		c.service.log.Warn("end proposals that are too old", "proposals", ids, "err", err)
	}
}

// FormatKnown is the newest Format that every member knows, and so does this binary: what
// the cluster's may be raised to. Members that vote in nothing count too, for they read
// the same log.
func FormatKnown(v *state.View) uint64 {
	known := command.MaxFormat
	for _, n := range v.Nodes() {
		if n.Status != lifecycle.Removed {
			known = min(known, n.MaxFormat)
		}
	}
	return known
}

// raise lets the entries of a newer Format in, as soon as every member has said that it
// knows it: after that none goes back to an older binary. Whoever wants to be able to
// leaves one member as it was.
func (c *Clerk) raise(ctx context.Context, format uint64) {
	if _, err := c.service.proposeAs(ctx, systemActor, &command.RaiseFormat{Format: format}); err != nil && ctx.Err() == nil {
		c.service.log.Warn("raise the format", "format", format, "err", err)
	}
}
