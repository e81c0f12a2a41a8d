package authority

import (
	"context"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/gather"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Revocations of single certificates come in crowds: after an incident, or from whoever
// withdraws a certificate with each workload that ends. Those that are ready while an
// entry of others is on its way share the next one. Nobody waits for company: with
// nothing on its way a revocation goes at once, alone.

// revocations brings them to the log.
type revocations = gather.Gatherer[*command.RevocationRequest, entered]

// entered is what became of a request, and the time of its entry.
type entered struct {
	state.Outcome
	at lifecycle.Instant
}

// enter brings a command that was planned on v, and tried, to the log.
func (s *Service) enter(ctx context.Context, v *state.View, cmd *command.Command) (entered, error) {
	e := entered{at: cmd.Header.At}
	var err error
	if r := sharing(v, cmd); r == nil {
		e.Outcome, err = s.ledger.Propose(ctx, cmd)
	} else if e, err = s.revocations.Put(ctx, r); err != nil && ctx.Err() != nil && !errors.Is(err, ledger.ErrIndeterminate) {
		err = fmt.Errorf("%w: %w", ledger.ErrIndeterminate, err) // its entry may be on its way
	}
	if err != nil {
		return entered{}, fmt.Errorf("propose %s: %w", cmd.Body.Kind(), err)
	}
	return e, nil
}

// sharing is the request that a command carries if it may share its entry; nil when it
// may not, or not every member understands such entries yet.
func sharing(v *state.View, cmd *command.Command) *command.RevocationRequest {
	c, ok := cmd.Body.(*command.RevokeCertificates)
	if !ok || v.Cluster().Format < command.MinFormat(command.KindGatherRevocations) {
		return nil
	}
	return c.AsRequest(&cmd.Header)
}

// carryRevocations proposes one entry for many requests. Each was tried by itself, and
// Apply judges each by itself again.
func (s *Service) carryRevocations(ctx context.Context, requests []*command.RevocationRequest) ([]entered, error) {
	c := &command.GatherRevocations{Requests: make([]command.RevocationRequest, len(requests))}
	for i, r := range requests {
		c.Requests[i] = *r
	}
	cmd := s.commandOf(systemActor, c)
	o, err := s.ledger.Propose(ctx, cmd)
	if err == nil {
		err = o.Err() // of the entry as a whole: nothing was done
	}
	if err != nil {
		return nil, err
	}
	all := make([]entered, len(o.Requests))
	for i := range o.Requests {
		all[i] = entered{o.Requests[i], cmd.Header.At}
	}
	return all, nil
}
