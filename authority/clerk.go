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

// Clerk looks after proposals on the leader: it carries out what was approved while
// the leader changed, and ends what is too old. One goroutine.
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
	return time.Duration(max(next-now, 1)) * time.Millisecond
}

func (c *Clerk) expire(ctx context.Context, ids []string) {
	slices.Sort(ids)
	if _, err := c.service.proposeAs(ctx, systemActor, &command.ExpireProposals{IDs: ids}); err != nil && ctx.Err() == nil {
		c.service.log.Warn("end proposals that are too old", "proposals", ids, "err", err)
	}
}
