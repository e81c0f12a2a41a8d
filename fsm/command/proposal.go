package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Plan is a command inside another one: what is to be carried out once it may be.
type Plan struct {
	Kind Kind   `cbor:"1,keyasint"`
	Body []byte `cbor:"2,keyasint"`
}

// PlanOf wraps a command.
func PlanOf(b Body) Plan { return Plan{Kind: b.Kind(), Body: Marshal(b)} }

// Open reads the command. Only one that approvals can be asked for may be planned.
func (p Plan) Open() (Body, error) {
	if err := size("the plan", len(p.Body), 1, MaxPlanBytes); err != nil {
		return nil, err
	}
	b := New(p.Kind)
	if b == nil {
		return nil, fmt.Errorf("the plan is of an unknown kind, %d", p.Kind)
	}
	if err := Unmarshal(p.Body, b); err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	if _, _, _, ok := IntentOf(b); !ok {
		return nil, fmt.Errorf("%s never needs approvals", p.Kind)
	}
	return b, nil
}

func (p Plan) check() error {
	b, err := p.Open()
	if err != nil {
		return err
	}
	return b.Check()
}

// OpenProposal puts a change that a rule asks approvals for before the approvers.
type OpenProposal struct {
	ID        string            `cbor:"1,keyasint"` // drawn by the proposer, used for ever
	Plan      Plan              `cbor:"2,keyasint"`
	Reason    string            `cbor:"3,keyasint"`
	ExpiresAt lifecycle.Instant `cbor:"4,keyasint"`
}

func (*OpenProposal) Kind() Kind { return KindOpenProposal }

func (c *OpenProposal) Check() error {
	if err := lifecycle.CheckProposalID(c.ID); err != nil {
		return err
	}
	if err := text("reason", c.Reason, true); err != nil {
		return err
	}
	if c.ExpiresAt <= 0 || c.ExpiresAt > MaxInstant {
		return fmt.Errorf("expires_at %s is no wall time", c.ExpiresAt)
	}
	return c.Plan.check()
}

// Approve adds one approver's SSH signature over the proposal's statement. Whose it is
// the key says, not the one who brings it.
type Approve struct {
	Proposal  string `cbor:"1,keyasint"`
	Signature []byte `cbor:"2,keyasint"` // armored SSHSIG, namespace ApprovalNamespace
}

func (*Approve) Kind() Kind { return KindApprove }

func (c *Approve) Check() error {
	if err := size("signature", len(c.Signature), 1, MaxArmorBytes); err != nil {
		return err
	}
	return lifecycle.CheckProposalID(c.Proposal)
}

// RejectProposal ends a proposal by the word of one approver.
type RejectProposal struct {
	Proposal string `cbor:"1,keyasint"`
	Comment  string `cbor:"2,keyasint,omitempty"`
}

func (*RejectProposal) Kind() Kind { return KindRejectProposal }

func (c *RejectProposal) Check() error {
	if err := text("comment", c.Comment, false); err != nil {
		return err
	}
	return lifecycle.CheckProposalID(c.Proposal)
}

// WithdrawProposal takes a proposal back: only who made it can.
type WithdrawProposal struct {
	Proposal string `cbor:"1,keyasint"`
	Comment  string `cbor:"2,keyasint,omitempty"`
}

func (*WithdrawProposal) Kind() Kind { return KindWithdrawProposal }

func (c *WithdrawProposal) Check() error {
	if err := text("comment", c.Comment, false); err != nil {
		return err
	}
	return lifecycle.CheckProposalID(c.Proposal)
}

// ExecuteProposal carries an approved change out, once. The plan may be a newer one
// than the proposal was opened with, as long as its intent is the approved one.
type ExecuteProposal struct {
	Proposal string `cbor:"1,keyasint"`
	Plan     Plan   `cbor:"2,keyasint"`
}

func (*ExecuteProposal) Kind() Kind { return KindExecuteProposal }

func (c *ExecuteProposal) Check() error {
	if err := lifecycle.CheckProposalID(c.Proposal); err != nil {
		return err
	}
	return c.Plan.check()
}

// ExpireProposals ends proposals whose time is over.
type ExpireProposals struct {
	IDs []string `cbor:"1,keyasint"`
}

func (*ExpireProposals) Kind() Kind { return KindExpireProposals }

func (c *ExpireProposals) Check() error {
	if len(c.IDs) == 0 {
		return fmt.Errorf("no proposals")
	}
	for i, id := range c.IDs {
		if err := lifecycle.CheckProposalID(id); err != nil {
			return err
		}
		if i > 0 && c.IDs[i-1] >= id {
			return fmt.Errorf("proposals are not ascending, or one stands twice")
		}
	}
	return count("proposals", len(c.IDs), MaxOpenProposals)
}

// BreakGlass carries a change out without the approvals its rule asks for, by one of
// the few whom the settings name, and makes it known.
type BreakGlass struct {
	Plan   Plan   `cbor:"1,keyasint"`
	Reason string `cbor:"2,keyasint"`
}

func (*BreakGlass) Kind() Kind { return KindBreakGlass }

func (c *BreakGlass) Check() error {
	if err := text("reason", c.Reason, true); err != nil {
		return err
	}
	return c.Plan.check()
}
