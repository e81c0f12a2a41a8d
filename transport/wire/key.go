package wire

import (
	"encoding/json"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Origin says who made something, when, and by which request.
type Origin struct {
	At        Time       `json:"at"`
	By        string     `json:"by"`
	RequestID string     `json:"request_id"`
	Index     uint64     `json:"index"`
	Approvals []Approval `json:"approvals"`
}

// Approval is one person's signature under a proposal.
type Approval struct {
	By string `json:"by"`
	At Time   `json:"at"`
}

// Revocation says why and since when a version or instance is not to be trusted.
type Revocation struct {
	Reason           lifecycle.Reason `json:"reason"`
	At               Time             `json:"at"`
	By               string           `json:"by"`
	CompromisedSince Time             `json:"compromised_since,omitzero"`
	Comment          string           `json:"comment,omitempty"`
	Index            uint64           `json:"index"`
	FencedAt         Time             `json:"fenced_at,omitzero"`  // since when no correct node signs with it
	SettledAt        Time             `json:"settled_at,omitzero"` // since when no client of ours accepts such a signature
}

// Key is what `key show` answers.
type Key struct {
	Name           string              `json:"name"`
	Purpose        lifecycle.Purpose   `json:"purpose"`
	Alg            lifecycle.Algorithm `json:"alg"`
	Bits           int                 `json:"bits,omitempty"`
	Custody        lifecycle.Custody   `json:"custody"`
	Node           string              `json:"node,omitempty"` // singleton custody
	Owner          string              `json:"owner"`
	BusinessReason string              `json:"business_reason"`
	ConfirmBy      Time                `json:"business_reason_confirm_by"`
	Labels         map[string]string   `json:"labels"`
	ActiveVersion  uint64              `json:"active_version"` // 0 = none
	Created        Origin              `json:"created"`
	PolicyVersion  uint64              `json:"policy_version"`
	Policy         *lifecycle.Policy   `json:"policy,omitempty"`
	TrustSet       TrustSet            `json:"trust_set"`
	Versions       []Version           `json:"versions"`
	Rotation       *Rotation           `json:"rotation"`
	Consumers      Consumers           `json:"consumers"`
	Position       Position            `json:"position"`
	AsOf           Time                `json:"as_of"`
	Freshness      string              `json:"freshness"`
}

// TrustSet is what verifiers must accept for a key now.
type TrustSet struct {
	Digest        string `json:"digest"` // "sha256:" and hex, over the canonical JWK Set
	URL           string `json:"url"`
	MaxAgeSeconds int64  `json:"max_age_seconds"`
}

// Version is one generation of a key.
type Version struct {
	Version       uint64          `json:"version"`
	State         lifecycle.State `json:"state"`
	Since         Time            `json:"since"`
	InTrustSet    bool            `json:"in_trust_set"`
	Revocation    *Revocation     `json:"revocation"`
	Created       *Origin         `json:"created,omitempty"`
	PublishedAt   Time            `json:"published_at,omitzero"`
	ActivatedAt   Time            `json:"activated_at,omitzero"`
	DeactivatedAt Time            `json:"deactivated_at,omitzero"`
	DestroyAt     Time            `json:"destroy_at,omitzero"`
	SuspendedFrom Text            `json:"suspended_from,omitzero"`
	Emergency     bool            `json:"emergency,omitempty"` // made by a replacement: it waited for nobody
	Instances     []Instance      `json:"instances"`
}

// Instance is a version's key pair in one node's key store.
type Instance struct {
	KID         Text                `json:"kid"` // null while pending
	Node        string              `json:"node"`
	NodeID      string              `json:"node_id,omitempty"`
	Condition   lifecycle.Condition `json:"condition"`
	CKAID       string              `json:"cka_id"`      // hex
	SPKISHA256  Text                `json:"spki_sha256"` // hex
	Driver      Text                `json:"driver"`
	Attributes  []string            `json:"attributes,omitempty"` // as read back from the device
	PublishedAt Time                `json:"published_at"`
	MaySign     bool                `json:"may_sign"`
	Signatures  uint64              `json:"signatures"` // released since this node's journal began, as far as the answering node knows
	LastUsedAt  Time                `json:"last_used_at"`
	Revocation  *Revocation         `json:"revocation,omitempty"`
	Detail      string              `json:"detail,omitempty"`
	PEM         string              `json:"pem,omitempty"` // key show and versions; not in lists
}

// Consumers counts the registered verifiers of a key.
type Consumers struct {
	Required  int      `json:"required"`
	Confirmed int      `json:"confirmed"`
	Lapsed    []string `json:"lapsed"`
}

// KeySummary is a key in a list.
type KeySummary struct {
	Name          string              `json:"name"`
	Purpose       lifecycle.Purpose   `json:"purpose"`
	Alg           lifecycle.Algorithm `json:"alg"`
	Custody       lifecycle.Custody   `json:"custody"`
	Owner         string              `json:"owner"`
	Labels        map[string]string   `json:"labels"`
	ActiveVersion uint64              `json:"active_version"`
	NewestVersion uint64              `json:"newest_version"`
	State         lifecycle.State     `json:"state"` // of the active version, else of the newest
	InstancesOK   int                 `json:"instances_ready"`
	Instances     int                 `json:"instances"`
	CreatedAt     Time                `json:"created_at"`
	ActivatedAt   Time                `json:"activated_at"`
	Overdue       bool                `json:"overdue"`
}

// CreateKey asks for a key with its first version. Wait levels: prepared,
// published, active (the default), committed.
type CreateKey struct {
	Name           string              `json:"name"`
	Purpose        lifecycle.Purpose   `json:"purpose"`
	Alg            lifecycle.Algorithm `json:"alg"`
	Bits           int                 `json:"bits,omitempty"`
	Custody        lifecycle.Custody   `json:"custody,omitempty"` // "" = distributed
	Node           string              `json:"node,omitempty"`    // name or id prefix, singleton only
	Owner          string              `json:"owner"`
	BusinessReason string              `json:"business_reason"`
	Labels         map[string]string   `json:"labels,omitempty"`
	Policy         json.RawMessage     `json:"policy,omitempty"` // what differs from the default: see MergePolicy
}

// VersionVerb is the body of activate, suspend, resume and deactivate. Version 0
// means the only one it can mean; early lets activate skip the publication lead
// and then needs a comment.
type VersionVerb struct {
	Version uint64 `json:"version,omitempty"`
	Early   bool   `json:"early,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// Rotate asks for a new version. Wait levels: prepared (default), published, active.
type Rotate struct {
	Comment string `json:"comment,omitempty"`
}

// Revoke withdraws trust. Nothing named = the whole key; versions, kid and node
// narrow it, kid alone or node with or without versions. Wait levels: committed,
// fenced (the default where the cluster can tell), settled.
type Revoke struct {
	Versions         []uint64         `json:"versions,omitempty"`
	KID              string           `json:"kid,omitempty"`
	Node             string           `json:"node,omitempty"`
	Reason           lifecycle.Reason `json:"reason"`
	CompromisedSince Time             `json:"compromised_since,omitzero"`
	Comment          string           `json:"comment,omitempty"`
	Distrust         bool             `json:"distrust,omitempty"`
}

// Replace ends versions of a key and makes the next one in their place, in one act.
// Nothing named = all of them; whatever waits to be activated goes too. Emergency must
// be true: nothing is waited for, neither the lead nor those who verify. Wait levels:
// committed, fenced (the default), settled, published, active, confirmed.
type Replace struct {
	Emergency        bool             `json:"emergency"`
	Versions         []uint64         `json:"versions,omitempty"`
	Reason           lifecycle.Reason `json:"reason"`
	CompromisedSince Time             `json:"compromised_since,omitzero"`
	Comment          string           `json:"comment,omitempty"`
	Distrust         bool             `json:"distrust,omitempty"` // with a reason that is no compromise: out of the trust set all the same
}

// Destroy asks for the erasure of a version's private keys after the waiting
// period of the policy; cancel takes it back.
type Destroy struct {
	Version uint64 `json:"version"`
	Cancel  bool   `json:"cancel,omitempty"`
	Comment string `json:"comment,omitempty"`
}

// Policy is what `key policy get` answers. Its ETag is the policy version in quotes.
type Policy struct {
	Key            string            `json:"key"`
	Version        uint64            `json:"policy_version"`
	Policy         lifecycle.Policy  `json:"policy"`
	Owner          string            `json:"owner"`
	BusinessReason string            `json:"business_reason"`
	ConfirmBy      Time              `json:"business_reason_confirm_by"`
	Labels         map[string]string `json:"labels"`
	Position       Position          `json:"position"`
}

// SetPolicy replaces a policy. It needs If-Match. Empty owner, reason and labels
// stay as they are.
type SetPolicy struct {
	Policy         lifecycle.Policy  `json:"policy"`
	Owner          string            `json:"owner,omitempty"`
	BusinessReason string            `json:"business_reason,omitempty"`
	ConfirmBy      Time              `json:"business_reason_confirm_by,omitzero"`
	Labels         map[string]string `json:"labels,omitempty"`
	Comment        string            `json:"comment,omitempty"` // why, for those who have to approve it
}

// MergePolicy lays the fields that raw names over base; unknown ones are refused.
func MergePolicy(base lifecycle.Policy, raw []byte) (lifecycle.Policy, error) {
	if len(raw) == 0 {
		return base, nil
	}
	p := base
	p.Inputs, p.Types, p.Audiences, p.AllowedCallers = nil, nil, nil, nil // json reuses the arrays of base otherwise
	if err := decodeBytes(raw, &p, true); err != nil {
		return base, err
	}
	if p.Inputs == nil {
		p.Inputs = base.Inputs
	}
	if p.Types == nil {
		p.Types = base.Types
	}
	if p.Audiences == nil {
		p.Audiences = base.Audiences
	}
	if p.AllowedCallers == nil {
		p.AllowedCallers = base.AllowedCallers
	}
	return p, nil
}
