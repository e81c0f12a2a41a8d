package client

import (
	"bytes"
	"context"
	"fmt"

	"github.com/chancery-project/chancery/transport/wire"
)

// Proposals lists changes that wait for approvals, oldest first; with wire.QueryState
// those in that state: open, approved, executed, rejected, withdrawn or expired.
func (c *Client) Proposals(ctx context.Context, opts ...Option) (wire.List[wire.Proposal], error) {
	return list[wire.Proposal](ctx, c, wire.PathProposals, opts)
}

// Proposal by id.
func (c *Client) Proposal(ctx context.Context, id string, opts ...Option) (*wire.Proposal, error) {
	return one[wire.Proposal](ctx, c, wire.Path(wire.PathProposal, id), opts)
}

// Statement is the exact text that an approver signs.
func (c *Client) Statement(ctx context.Context, id string, opts ...Option) ([]byte, error) {
	var b []byte
	if err := c.get(ctx, wire.Path(wire.PathStatement, id), &b, opts); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(b, []byte(wire.ApprovalPreamble)) || !bytes.Contains(b, []byte("\nproposal: "+id+"\n")) {
		return nil, fmt.Errorf("read the statement of %s: the server sent something else", id)
	}
	return b, nil
}

// Approve brings an armored SSH signature over the statement of a proposal.
func (c *Client) Approve(ctx context.Context, id string, a wire.Approve, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathApprove, id, a, opts)
}

// Reject ends a proposal by the word of one approver.
func (c *Client) Reject(ctx context.Context, id string, e wire.EndProposal, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathReject, id, e, opts)
}

// WithdrawProposal takes back what one has asked for.
func (c *Client) WithdrawProposal(ctx context.Context, id string, e wire.EndProposal, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathWithdrawProposal, id, e, opts)
}

// BreakGlass does a change at once that needs approvals. Only those whom the settings
// name may, and everybody is told.
func BreakGlass(reason string) Option { return Query(wire.QueryBreak, reason) }
