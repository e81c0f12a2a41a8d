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

// RecordSignatures writes strict signatures that the node made into the log, before
// it releases them. Each group is judged by itself: here by the access rules, and in
// Apply once more by everything the log knows, in the order of the log. The node has
// its intents on disk and the entry is in the log, so that what is recorded here of
// an accepted one does not wait for the disk.
//
// A plan is not tried first: Apply's answer for each group is as good, and a trial of
// every signature would cost the leader twice.
func (p *Peer) RecordSignatures(ctx context.Context, c *command.RecordSignatures) (state.Outcome, error) {
	if l := p.s.ledger.Leadership(); !l.Self || !l.Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	v := p.s.View()
	n := v.Node(p.id)
	if c.Node != p.id || n == nil || !n.Signs() {
		if err := p.s.recordNode(ctx, p.id, "node:"+p.id.Short(), verbRecord, p.remote, false); err != nil {
			return state.Outcome{}, err
		}
		return state.Outcome{}, &Denied{fmt.Sprintf("node %s may not record signatures of node %s", p.id.Short(), c.Node.Short())}
	}
	if err := c.Check(); err != nil {
		return state.Outcome{}, refuse("invalid", "", "record signatures: %v", err)
	}
	judged := make([]state.GroupOutcome, len(c.Groups))
	kept := &command.RecordSignatures{Node: c.Node, Groups: make([]command.SignatureGroup, 0, len(c.Groups))}
	at := make([]int, 0, len(c.Groups)) // where in judged a kept one belongs
	for i := range c.Groups {
		g := &c.Groups[i]
		if why := mayHaveSigned(v, g); why != "" {
			judged[i] = state.GroupOutcome{Code: state.Denied, Detail: why}
			if err := p.recordGroup(n, g, why); err != nil {
				return state.Outcome{}, err
			}
			continue
		}
		kept.Groups, at = append(kept.Groups, *g), append(at, i)
	}
	if len(kept.Groups) == 0 {
		return state.Outcome{Groups: judged}, nil
	}
	o, err := p.s.propose(ctx, p.s.commandOf("node:"+n.Name, kept))
	if err != nil {
		return o, err
	}
	if len(o.Groups) != len(at) {
		return state.Outcome{}, fmt.Errorf("record signatures: Apply answered for %d of %d requests", len(o.Groups), len(at))
	}
	for i, g := range o.Groups {
		judged[at[i]] = g
	}
	o.Groups = judged
	return o, nil
}

const verbRecord = "signature.record"

// mayHaveSigned says why the caller of a group may not sign with its key, "" when it
// may.
func mayHaveSigned(v *state.View, g *command.SignatureGroup) string {
	if d := access.Decide(v.Principal(g.Principal), access.KeySign, g.Key); !d.Allowed {
		return d.Why
	}
	if k := v.Key(g.Key); k != nil { // Apply says it of a key that is not there
		if d := access.DecideCaller(v.Principal(g.Principal), k); !d.Allowed {
			return d.Why
		}
	}
	if g.TokenID == "" {
		return ""
	}
	if t := v.Token(g.TokenID); t == nil || t.RevokedAt != 0 || t.Principal != g.Principal {
		return "the token was revoked"
	}
	return ""
}

// recordGroup puts a refused group on record.
func (p *Peer) recordGroup(n *lifecycle.Node, g *command.SignatureGroup, why string) error {
	if err := p.s.audit.AppendAsync(audit.Record{Kind: audit.Decision, Principal: g.Principal, Verb: verbRecord, Key: string(g.Key), Version: g.Version,
		KID: g.KID, RequestID: g.RequestID, Remote: p.remote, Detail: "node " + n.Name + ": " + why}); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return nil
}
