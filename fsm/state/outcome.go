package state

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Code is why a command was refused; "" means it was accepted. Codes are part of
// the HTTP interface and are never renamed.
type Code string

const (
	OK                Code = ""
	Invalid           Code = "invalid"
	Conflict          Code = "conflict" // a row the plan was made on has moved: plan again
	KeyNotFound       Code = "key_not_found"
	VersionNotFound   Code = "version_not_found"
	InstanceNotFound  Code = "instance_not_found"
	NodeNotFound      Code = "node_not_found"
	PrincipalNotFound Code = "principal_not_found"
	TokenNotFound     Code = "token_not_found"
	AlreadyExists     Code = "already_exists"
	IllegalTransition Code = "illegal_transition"
	NotReady          Code = "not_ready"
	NotPublished      Code = "not_published"
	LeadNotPassed     Code = "lead_not_passed"
	WaitNotPassed     Code = "wait_not_passed"
	RotationOpen      Code = "rotation_in_progress"
	RotationPaused    Code = "rotation_paused"
	NotConfirmed      Code = "not_confirmed" // required consumers have not
	NodeNotMember     Code = "node_not_member"
	NodeNotQuarantine Code = "node_not_quarantined"
	TokenSpent        Code = "token_spent"
	TokenExpired      Code = "token_expired"
	ClockAhead        Code = "clock_ahead"
	FormatTooLow      Code = "format_too_low"
	FormatRefused     Code = "format_refused"
	RequestIDReused   Code = "request_id_reused"
	StaleRequestID    Code = "stale_request_id"
	LimitReached      Code = "limit_reached"
	NotInitialised    Code = "not_initialised"
	CheckpointStale   Code = "checkpoint_superseded"
	NotFenced         Code = "not_fenced"
	SealNotFound      Code = "seal_not_found"
	ConsumerNotFound  Code = "consumer_not_found"
	NotADependent     Code = "not_a_dependent" // the consumer does not list the key
	UnknownKID        Code = "unknown_kid"

	// Of approvals.
	ApprovalRequired   Code = "approval_required"   // not carried out: make a proposal of it
	ApprovalNotNeeded  Code = "approval_not_needed" // no rule asks for any: do it directly
	NotEnoughApprovers Code = "not_enough_approvers"
	ProposalNotFound   Code = "proposal_not_found"
	ProposalNotOpen    Code = "proposal_not_open"
	ProposalExpired    Code = "proposal_expired"
	NotAnApprover      Code = "not_an_approver"
	NotTheRequester    Code = "not_the_requester"
	OwnProposal        Code = "own_proposal"
	AlreadyApproved    Code = "already_approved"
	ApprovalInvalid    Code = "approval_invalid"
	NotApproved        Code = "not_approved" // fewer approvals count now than the rule asks for
	IntentMismatch     Code = "intent_mismatch"

	// Of certificates. Those of one item stand in its GroupOutcome.
	IssuerNotFound      Code = "issuer_not_found"
	ProfileNotFound     Code = "profile_not_found"
	CertificateNotFound Code = "certificate_not_found"
	NoCACertificate     Code = "no_ca_certificate" // the instance has none that is valid
	OutlivesCA          Code = "outlives_ca"
	KeyReused           Code = "key_reused" // the public key was certified for somebody else
	TBSMismatch         Code = "tbs_mismatch"
	CertificateRevoked  Code = "certificate_revoked"
	CertificateNotHeld  Code = "certificate_not_held"
	CertificateExpired  Code = "certificate_expired"

	// Of one request's signatures (GroupOutcome), as the release gate says them.
	Denied          Code = "denied"
	Sealed          Code = "sealed"
	NoActiveVersion Code = "no_active_version"
	KeySuspended    Code = "key_suspended"
	KeyRevoked      Code = "key_revoked"
	BeingReplaced   Code = "being_replaced" // in an emergency: the next version signs in a moment
	KeyDestroyed    Code = "key_destroyed"
	InstanceNotHere Code = "instance_not_here"
)

// Outcome is what Apply made of an entry: the same on every node. Subject names
// the row ("ci/3"), Detail is a sentence that is safe to show.
type Outcome struct {
	Code     Code            `cbor:"1,keyasint,omitempty"`
	Subject  string          `cbor:"2,keyasint,omitempty"`
	Detail   string          `cbor:"3,keyasint,omitempty"`
	Index    uint64          `cbor:"4,keyasint"`
	Key      lifecycle.KeyID `cbor:"5,keyasint,omitempty"`
	Versions []uint64        `cbor:"6,keyasint,omitempty"`
	Replayed bool            `cbor:"-"`                    // the request had been carried out before
	Groups   []GroupOutcome  `cbor:"7,keyasint,omitempty"` // one for each of the Groups or Items of the command, when it judges them one by one
	Proposal string          `cbor:"8,keyasint,omitempty"` // the proposal it is about: what became of an opening request stands in that row
	Requests []Outcome       `cbor:"-"`                    // of an entry that many requests share: what became of each
}

// GroupOutcome is what became of one request's signatures, of one confirmation or of one certificate.
type GroupOutcome struct {
	Code   Code   `cbor:"1,keyasint,omitempty"` // "" = recorded: it may be released
	Detail string `cbor:"2,keyasint,omitempty"`
}

// OK reports whether the command was accepted.
func (o Outcome) OK() bool { return o.Code == OK }

// plannedAgain reports whether the refusal is not remembered: its proposer plans again under
// the same request id.
func (o Outcome) plannedAgain() bool {
	switch o.Code {
	case Conflict, ApprovalRequired, ApprovalNotNeeded:
		return true
	}
	return false
}

// Error makes a rejected Outcome an error; it is nil for an accepted one.
func (o Outcome) Err() error {
	if o.OK() {
		return nil
	}
	return &Rejection{o}
}

// Rejection is an Outcome that refuses, as an error.
type Rejection struct{ Outcome Outcome }

func (r *Rejection) Error() string {
	if r.Outcome.Subject == "" {
		return r.Outcome.Detail
	}
	return r.Outcome.Subject + ": " + r.Outcome.Detail
}

func refuse(code Code, subject, format string, args ...any) Outcome {
	return Outcome{Code: code, Subject: subject, Detail: fmt.Sprintf(format, args...)}
}

// Corruption is raised by panic when committed bytes cannot be understood. The
// node that meets it must stop.
type Corruption struct {
	Index uint64
	Err   error
}

func (c *Corruption) Error() string {
	return fmt.Sprintf("committed entry %d cannot be applied: %v", c.Index, c.Err)
}

func (c *Corruption) Unwrap() error { return c.Err }

// Divergence is raised by panic when this node's state is not the one a majority
// of voters agreed on. The node that meets it must stop.
type Divergence struct {
	Index      uint64 // of the mark that was compared
	What       string // "log root", "log size" or "state digest"
	Mine, Ours string
}

func (d *Divergence) Error() string {
	return fmt.Sprintf("this node's %s at entry %d is %s, a majority of voters has %s", d.What, d.Index, d.Mine, d.Ours)
}
