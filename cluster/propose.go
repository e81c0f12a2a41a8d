package cluster

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// enqueueLimit is how long a proposal may wait to be taken in by raft.
const enqueueLimit = 2 * time.Second

// Propose commits a command. Nothing is stamped here; see ledger.Ledger.
//
// A leader that is not Ready yet refuses too: it does not know all that was
// committed, so nothing could have been planned on it.
func (n *Node) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	if !n.Leadership().Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	if offset, off := n.clockOff(); off {
		return state.Outcome{}, fmt.Errorf("%w: by %d ms", ledger.ErrClock, offset.Milliseconds())
	}
	select {
	case n.proposals <- struct{}{}:
	default:
		return state.Outcome{}, ledger.ErrBusy
	}
	if n.closed.Load() { // after the token: Close waits for those who hold one
		<-n.proposals
		return state.Outcome{}, ledger.ErrStopped
	}
	data, answered, err := n.fsm.Propose(cmd)
	if err != nil {
		<-n.proposals
		return state.Outcome{}, err
	}
	// One sync of the audit journal sets many callers free at once. Raft stores what
	// it finds in its queue at that moment; let the others get here too, so that it
	// does not begin with a batch of one.
	runtime.Gosched()
	return n.await(ctx, n.raft.Apply(data, enqueueLimit), answered)
}

// await gives the token back when raft has answered, which may be after the caller
// has given up.
func (n *Node) await(ctx context.Context, f raft.ApplyFuture, answered func()) (state.Outcome, error) {
	type result struct {
		o   state.Outcome
		err error
	}
	done := make(chan result, 1)
	go func() {
		o, err := outcome(f)
		answered()
		<-n.proposals
		done <- result{o, err}
	}()
	select {
	case r := <-done:
		return r.o, r.err
	case <-ctx.Done():
		return state.Outcome{}, fmt.Errorf("%w: %w", ledger.ErrIndeterminate, ctx.Err())
	}
}

// outcome sorts raft's errors by the one question that matters: can the entry
// still be committed?
func outcome(f raft.ApplyFuture) (state.Outcome, error) {
	switch err := f.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return state.Outcome{}, ledger.ErrNotLeader // refused before it was stored
	case errors.Is(err, raft.ErrEnqueueTimeout):
		return state.Outcome{}, ledger.ErrBusy
	default:
		return state.Outcome{}, fmt.Errorf("%w: %w", ledger.ErrIndeterminate, err)
	}
	switch r := f.Response().(type) {
	case state.Outcome:
		return r, nil
	case error:
		return state.Outcome{}, fmt.Errorf("%w: %w", ledger.ErrIndeterminate, r)
	default:
		return state.Outcome{}, fmt.Errorf("%w: the state machine answered %T", ledger.ErrIndeterminate, r)
	}
}
