package daemon

import (
	"context"
	"fmt"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// audited is a ledger whose proposals are on record first, for what the cluster
// does by itself: no audit record, no action.
type audited struct {
	ledger.Ledger
	journal *audit.Journal
}

func (a *audited) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	if _, err := a.journal.Append(ctx, audit.Record{Kind: audit.Decision, Principal: cmd.Header.Actor, Verb: cmd.Body.Kind().String(),
		Allowed: true, Index: a.View().Position().Index}); err != nil {
		return state.Outcome{}, fmt.Errorf("%w: %w", authority.ErrAudit, err)
	}
	return a.Ledger.Propose(ctx, cmd)
}
