package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// ApprovalNamespace is the SSHSIG namespace of approvals, and ApprovalPreamble how
// every statement begins. A client signs a statement only in this namespace and only
// when it begins so.
const (
	ApprovalNamespace = "chancery"
	ApprovalPreamble  = "chancery-approval/1\n"
)

// Proposal is a change that waits for approvals, or what became of it.
type Proposal struct {
	ID           string                   `json:"id"`
	Status       lifecycle.ProposalStatus `json:"status"`
	Verb         lifecycle.ApprovalVerb   `json:"verb"`
	Subject      string                   `json:"subject"`
	Key          string                   `json:"key,omitempty"`
	Reason       string                   `json:"reason"`
	RequestedBy  string                   `json:"requested_by"`
	RequestID    string                   `json:"request_id"`
	OpenedAt     Time                     `json:"opened_at"`
	ExpiresAt    Time                     `json:"expires_at"`
	Needs        int                      `json:"needs"`
	Have         int                      `json:"have"`
	Approvers    []string                 `json:"approvers"` // who may approve it: as the rule was when it was opened
	Approvals    []Consent                `json:"approvals"`
	Intent       []string                 `json:"intent"` // "name: value" lines: what is approved
	IntentDigest string                   `json:"intent_digest"`
	Effects      []string                 `json:"effects,omitempty"` // while it waits: what it would do, one sentence each
	EndedAt      Time                     `json:"ended_at"`
	EndedBy      Text                     `json:"ended_by"`
	Comment      string                   `json:"comment,omitempty"` // of who rejected or withdrew it
	Index        uint64                   `json:"index,omitempty"`   // executed: of the entry that did it
	Position     *Position                `json:"position,omitempty"`
}

// Consent is one person's signature over the statement of a proposal.
type Consent struct {
	By        string `json:"by"`
	Key       string `json:"key"` // fingerprint of the SSH key
	At        Time   `json:"at"`
	Index     uint64 `json:"index"`
	Signature string `json:"signature"` // armored SSHSIG
}

// Approve brings an armored SSHSIG over the statement. Whose approval it is the
// signature says, not who brings it.
type Approve struct {
	Signature string `json:"signature"`
}

// EndProposal rejects a proposal, or takes it back.
type EndProposal struct {
	Comment string `json:"comment,omitempty"`
}
