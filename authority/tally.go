package authority

import (
	"context"
	"fmt"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	verbTally  = "signature.tally"
	verbLedger = "signature.read"
)

// ReportTally commits how far the node's ledger is and what it counts. Like a recorded
// signature it is put on record here only when it is refused: it comes every few
// seconds, and the entry in the log says the rest.
func (p *Peer) ReportTally(ctx context.Context, c *command.ReportTally) (state.Outcome, error) {
	if l := p.s.ledger.Leadership(); !l.Self || !l.Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	n := p.s.View().Node(p.id)
	if c.Node != p.id || n == nil || n.Status == lifecycle.Removed {
		if err := p.s.recordNode(ctx, p.id, "node:"+p.id.Short(), verbTally, p.remote, false); err != nil {
			return state.Outcome{}, err
		}
		return state.Outcome{}, &Denied{fmt.Sprintf("node %s may not count signatures of node %s", p.id.Short(), c.Node.Short())}
	}
	return p.s.propose(ctx, p.s.commandOf("node:"+n.Name, c))
}

// ReadLedger admits a member that asks for this node's ledger of one key, on behalf of
// somebody whom it has admitted itself. It may be any member, for the ledger holds no
// secrets, and what it says of callers and requests every member's disk holds of its
// own; the question is put on record first.
func (p *Peer) ReadLedger(ctx context.Context, key string) error {
	n := p.s.View().Node(p.id)
	ok := n != nil && n.Status != lifecycle.Removed
	actor := "node:" + p.id.Short()
	if n != nil {
		actor = "node:" + n.Name
	}
	if _, err := p.s.audit.Append(ctx, audit.Record{Kind: audit.Decision, Principal: actor, Verb: verbLedger, Key: key, Remote: p.remote, Allowed: ok}); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	if !ok {
		return &Denied{fmt.Sprintf("node %s is no member: it may not read the ledger", p.id.Short())}
	}
	return nil
}

// ConfirmPurpose says again why a key exists, and until when that is good enough;
// until 0 = as long from now as the settings say.
func (s *Service) ConfirmPurpose(ctx context.Context, req Request, name, reason string, until lifecycle.Instant) (Result, error) {
	if reason == "" {
		return Result{}, refuse("invalid", "--reason 'sign release tarballs'", "to confirm a purpose is to say it: why does %s still exist?", name)
	}
	return s.change(ctx, req, access.KeyConfirm, lifecycle.KeyID(name), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, name)
		if err != nil {
			return nil, nil, err
		}
		c := &command.ConfirmPurpose{Key: k.ID, Reason: reason, ConfirmBy: until}
		if until == 0 {
			c.ConfirmBy = s.Now().Add(confirmEvery(v))
		}
		return c, []command.RowRef{state.RefKey(k)}, nil
	})
}

// confirmEvery is how long a business reason is good for: what the settings say, or a
// year.
func confirmEvery(v *state.View) lifecycle.Milliseconds {
	if d := v.Cluster().Settings.BusinessReasonConfirm; d > 0 {
		return d
	}
	return 365 * lifecycle.Day
}
