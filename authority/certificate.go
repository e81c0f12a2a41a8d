package authority

import (
	"context"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// What nodes report of the certificates that their instances sign. The requesters' right
// is judged by Apply, certificate by certificate, in the order of the log; here it is
// only made sure that the node speaks of itself. The node has its intents on disk and the
// entry is in the log, so what is accepted here does not wait for the disk.

// IssueIntents announces certificates that the node is about to sign.
func (p *Peer) IssueIntents(ctx context.Context, c *command.IssueIntents) (state.Outcome, error) {
	fault.Reached(fault.IntentAsked)
	o, err := p.issues(ctx, "certificate.announce", c.Node, c, issuancePart{intent: c})
	fault.Reached(fault.IntentAccepted)
	return o, err
}

// RecordIssued records certificates that the node signed.
func (p *Peer) RecordIssued(ctx context.Context, c *command.RecordIssued) (state.Outcome, error) {
	fault.Reached(fault.RecordAsked)
	o, err := p.issues(ctx, "certificate.record", c.Node, c, issuancePart{record: c})
	fault.Reached(fault.RecordAccepted)
	return o, err
}

func (p *Peer) issues(ctx context.Context, verb string, about lifecycle.NodeID, c interface{ Check() error }, part issuancePart) (state.Outcome, error) {
	if l := p.s.ledger.Leadership(); !l.Self || !l.Ready {
		return state.Outcome{}, ledger.ErrNotLeader
	}
	n := p.s.View().Node(p.id)
	if about != p.id || n == nil || n.Status == lifecycle.Removed {
		if err := p.s.recordNode(ctx, p.id, "node:"+p.id.Short(), verb, p.remote, false); err != nil {
			return state.Outcome{}, err
		}
		return state.Outcome{}, &Denied{"node " + p.id.Short() + " may not do " + verb + " for node " + about.Short()}
	}
	if err := c.Check(); err != nil {
		return state.Outcome{}, refuse("invalid", "", "%s: %v", verb, err)
	}
	part.actor = "node:" + n.Name
	return p.s.enterIssuance(ctx, part)
}

// BindCACert makes a CA certificate known that the node's instance signed, for itself or
// for an instance below it.
func (p *Peer) BindCACert(ctx context.Context, c *command.BindCACert) (state.Outcome, error) {
	n, err := p.enter(ctx, "issuer.certify", p.id)
	if err != nil {
		return state.Outcome{}, err
	}
	if err := checkSignedBy(p.s.View(), c, p.id); err != nil {
		return state.Outcome{}, err
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// AnnounceResponder makes the key known with which the node answers OCSP requests.
func (p *Peer) AnnounceResponder(ctx context.Context, c *command.AnnounceResponder) (state.Outcome, error) {
	n, err := p.enter(ctx, "responder.announce", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// BindResponder gives a node, itself or another, the responder certificate that the
// calling node's instance signed for it.
func (p *Peer) BindResponder(ctx context.Context, c *command.BindResponder) (state.Outcome, error) {
	n, err := p.enter(ctx, "responder.bind", p.id)
	if err != nil {
		return state.Outcome{}, err
	}
	if cert, err := p.s.View().Certificate(c.Serial); err != nil {
		return state.Outcome{}, err
	} else if cert == nil || cert.Node != p.id {
		return state.Outcome{}, &Denied{"the responder certificate was not signed by node " + n.Name}
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// AllocateCRL takes the next number of a CRL that the node's instance is about to sign.
func (p *Peer) AllocateCRL(ctx context.Context, c *command.AllocateCRL) (state.Outcome, error) {
	n, err := p.enter(ctx, "crl.allocate", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	fault.Reached(fault.NumberAsked)
	o, err := p.s.proposeAs(ctx, "node:"+n.Name, c)
	fault.Reached(fault.NumberAccepted)
	return o, err
}
