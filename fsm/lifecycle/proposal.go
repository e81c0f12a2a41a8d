package lifecycle

import "fmt"

// ProposalStatus is where a proposal stands.
type ProposalStatus string

const (
	ProposalOpen      ProposalStatus = "open"
	ProposalApproved  ProposalStatus = "approved" // enough approvals; it waits to be executed
	ProposalExecuted  ProposalStatus = "executed"
	ProposalRejected  ProposalStatus = "rejected"
	ProposalWithdrawn ProposalStatus = "withdrawn"
	ProposalExpired   ProposalStatus = "expired"
)

// Ended reports whether nothing can come of the proposal any more.
func (s ProposalStatus) Ended() bool { return s != ProposalOpen && s != ProposalApproved }

// DefaultProposalLife is how long people get to approve when nobody says otherwise.
const DefaultProposalLife = 72 * Hour

// Proposal is a change that waits for approvals. Its row stays when it has ended: the
// id is used for ever, and whoever doubts an approval can check the signature again.
type Proposal struct {
	Rev          uint64           `cbor:"1,keyasint"`
	ID           string           `cbor:"2,keyasint"` // "p-" and 48 random bits in hex
	Epoch        uint64           `cbor:"3,keyasint"` // of the cluster when it was opened
	Verb         ApprovalVerb     `cbor:"4,keyasint"`
	Subject      string           `cbor:"5,keyasint"` // "ci/3", a principal, a node id
	Key          KeyID            `cbor:"6,keyasint,omitempty"`
	Intent       []string         `cbor:"7,keyasint"`           // "name: value" lines: what is asked for, without planned ids and times
	IntentDigest string           `cbor:"8,keyasint"`           // hex SHA-256 of the lines
	Base         string           `cbor:"9,keyasint,omitempty"` // hex SHA-256 of what the change would replace, "" when it replaces nothing
	PlanKind     uint16           `cbor:"10,keyasint"`          // the command as it was planned at opening
	PlanBody     []byte           `cbor:"11,keyasint"`
	Reason       string           `cbor:"12,keyasint"`
	RequestedBy  string           `cbor:"13,keyasint"`
	RequestID    string           `cbor:"14,keyasint,omitempty"`
	OpenedAt     Instant          `cbor:"15,keyasint"`
	OpenedIndex  uint64           `cbor:"16,keyasint"`
	ExpiresAt    Instant          `cbor:"17,keyasint"`
	Needs        int              `cbor:"18,keyasint"`
	Approvers    []FrozenApprover `cbor:"19,keyasint"` // as they were at opening
	Approvals    []Approval       `cbor:"20,keyasint,omitempty"`
	Status       ProposalStatus   `cbor:"21,keyasint"`
	EndedAt      Instant          `cbor:"22,keyasint,omitempty"`
	EndedBy      string           `cbor:"23,keyasint,omitempty"`
	EndedIndex   uint64           `cbor:"24,keyasint,omitempty"` // the entry that ended it: of an executed one, where the change took effect
	Comment      string           `cbor:"25,keyasint,omitempty"` // of who rejected or withdrew it
	Versions     []uint64         `cbor:"26,keyasint,omitempty"` // of an executed one: the key's versions that were changed
	OwnKeys      []string         `cbor:"27,keyasint,omitempty"` // SSH keys of the requester at opening: none of them approves, under any name
}

// FrozenApprover is who may approve a proposal, with the keys they had when it was
// opened.
type FrozenApprover struct {
	Principal string   `cbor:"1,keyasint" json:"principal"`
	SSHKeys   []string `cbor:"2,keyasint" json:"ssh_keys"` // "type base64", no comment
}

// Approval is one person's signature over the proposal's statement. The person and
// the key are its identity; the bytes are not, for ECDSA has two of them.
type Approval struct {
	Principal      string  `cbor:"1,keyasint" json:"by"`
	KeyFingerprint string  `cbor:"2,keyasint" json:"key"`
	At             Instant `cbor:"3,keyasint" json:"at"`
	Index          uint64  `cbor:"4,keyasint" json:"index"`
	Signature      []byte  `cbor:"5,keyasint" json:"signature,omitempty"` // armored SSHSIG
}

// Approver finds a frozen approver by name, nil when the principal is none.
func (p *Proposal) Approver(principal string) *FrozenApprover {
	for i := range p.Approvers {
		if p.Approvers[i].Principal == principal {
			return &p.Approvers[i]
		}
	}
	return nil
}

// Approval finds the approval a principal has given, nil when there is none.
func (p *Proposal) Approval(principal string) *Approval {
	for i := range p.Approvals {
		if p.Approvals[i].Principal == principal {
			return &p.Approvals[i]
		}
	}
	return nil
}

// BrokenGlass is the last time that somebody did without the approvals a rule asks for.
type BrokenGlass struct {
	At      Instant      `cbor:"1,keyasint" json:"at"`
	By      string       `cbor:"2,keyasint" json:"by"`
	Verb    ApprovalVerb `cbor:"3,keyasint" json:"verb"`
	Subject string       `cbor:"4,keyasint" json:"subject"`
	Reason  string       `cbor:"5,keyasint" json:"reason"`
	Index   uint64       `cbor:"6,keyasint" json:"index"`
}

const proposalIDBytes = len("p-") + 12

// CheckProposalID validates the form "p-" and 12 hex digits.
func CheckProposalID(id string) error {
	ok := len(id) == proposalIDBytes && id[:2] == "p-"
	for i := 2; ok && i < len(id); i++ {
		c := id[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
	}
	if !ok {
		return fmt.Errorf("proposal id %q: it is p- and 12 hex digits; chancery proposal list shows them", short(id))
	}
	return nil
}

// short keeps a text that came from outside from filling a message.
func short(s string) string {
	if len(s) > 32 {
		return s[:32]
	}
	return s
}
