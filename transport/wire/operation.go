package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Levels that an operation reaches. Which ones it passes through depends on its
// verb: create and rotate go committed, prepared, published, active; destroy
// committed, destroyed; whatever takes a right to sign away committed, fenced,
// settled; replace these and published, active and confirmed of the new version, each
// with a time of its own; everything else is done when it is committed.
const (
	Committed    = "committed"
	Prepared     = "prepared"  // every instance that the policy requires is ready
	Published    = "published" // the public keys are in the trust set
	Activated    = "active"
	Fenced       = "fenced"  // no correct node releases a signature with the right that was withdrawn
	Settled      = "settled" // and no client accepts one that was on its way then
	Destroyed    = "destroyed"
	AllConfirmed = "confirmed" // every required consumer has let go of the old versions and loaded the new one
)

// Approved is the level of people: what needs approvals has got them and was carried
// out. A change that needs none reaches it when it is committed.
const Approved = "approved"

// PendingApproval is the status of an operation that waits for people.
const PendingApproval = "pending_approval"

// Operation is one accepted request and how far it has come. It is what every
// mutation answers, and GET /v1/operations/{request_id}.
type Operation struct {
	RequestID        string           `json:"request_id"`
	Verb             string           `json:"verb"` // "create", "rotate", "revoke", "principal add", ...
	Actor            string           `json:"actor,omitempty"`
	Subject          string           `json:"subject,omitempty"` // what it is about when that is no key
	Key              string           `json:"key,omitempty"`
	Versions         []uint64         `json:"versions,omitzero"`
	NewVersion       uint64           `json:"new_version,omitempty"` // replace: the one that takes their place
	Reason           lifecycle.Reason `json:"reason,omitempty"`
	CompromisedSince Time             `json:"compromised_since,omitzero"`
	Comment          string           `json:"comment,omitempty"`
	Plan             bool             `json:"plan,omitempty"` // nothing was done: this is what would happen
	Reached          string           `json:"reached"`        // one of the levels; "" in a plan and while pending
	Complete         bool             `json:"complete"`       // the last level of its verb is reached
	Committed        *Reached         `json:"committed,omitempty"`
	Prepared         *Reached         `json:"prepared,omitempty"`
	Active           *Reached         `json:"active,omitempty"`
	Fenced           *Reached         `json:"fenced,omitempty"`
	Settled          *Reached         `json:"settled,omitempty"`
	Destroyed        *Reached         `json:"destroyed,omitempty"`
	Published        *PublishedAt     `json:"published,omitempty"`
	Confirmed        *Reached         `json:"confirmed,omitempty"`
	Nodes            []NodeOutcome    `json:"nodes,omitzero"`
	StillTrusting    []Dependent      `json:"consumers_still_trusting,omitzero"`
	BlastRadius      *BlastRadius     `json:"blast_radius,omitempty"` // plan only
	Loss             *Loss            `json:"loss,omitempty"`         // node remove: what ends with the node's key pairs
	WaitsFor         []Blocker        `json:"waits_for,omitempty"`
	Effects          []string         `json:"effects,omitempty"`  // plan only: one sentence each
	Warnings         []string         `json:"warnings,omitempty"` // what was accepted and may not have been meant, one sentence each
	Next             []string         `json:"next,omitzero"`      // commands worth typing now
	Status           string           `json:"status,omitempty"`   // PendingApproval
	Proposal         string           `json:"proposal,omitempty"` // that the change waits for, or was carried out by
	Needs            int              `json:"needs,omitempty"`
	Have             *int             `json:"have,omitempty"` // approvals that stand; nil where nothing waits or waited for any
	ExpiresAt        Time             `json:"expires_at,omitzero"`
	Error            *Error           `json:"error,omitempty"` // refused: what a repeat is answered with
	Position         Position         `json:"position"`
}

// Reached is one level of an operation; At is null while it is not reached.
type Reached struct {
	At       Time   `json:"at"`
	By       Time   `json:"by,omitzero"` // not reached yet: when it will be at the latest
	Index    uint64 `json:"index,omitempty"`
	MS       int64  `json:"ms,omitempty"`        // since the request came in
	WithinMS int64  `json:"within_ms,omitempty"` // plan only: the bound
}

// PublishedAt is the level of those who verify: when caches will have let go.
type PublishedAt struct {
	At             Time            `json:"at"`
	CachesExpireBy map[string]Time `json:"caches_expire_by,omitempty"` // jwks, ocsp, crl
	WithinMS       int64           `json:"within_ms,omitempty"`
}

// Outcomes of a withdrawal on one node: how its right ended, or that it may still
// have it.
const (
	Acked        = "acked"         // it said that it has stopped
	LeaseExpired = "lease_expired" // it was not heard, and every lease it may hold has run out
	Removed      = "removed"       // it was quarantined, fenced and removed before
	Pending      = "pending"       // neither yet; By is when its lease ends at the latest
)

// NodeOutcome is how the right ended on one node.
type NodeOutcome struct {
	Node     string `json:"node"`
	Outcome  string `json:"outcome"`
	At       Time   `json:"at"`                  // when the leader knew; null while pending
	By       Time   `json:"by,omitzero"`         // pending: at the latest
	MS       int64  `json:"ms"`                  // from the request to At
	WithinMS int64  `json:"within_ms,omitempty"` // plan only: how long it would take as things are

	Instance *NodeInstance `json:"instance,omitempty"` // replace: the node's key pair of the new version
}

// NodeInstance is how far a node is with its key pair of a new version.
type NodeInstance struct {
	Condition lifecycle.Condition `json:"condition"`
	KID       Text                `json:"kid"` // null while pending
	At        Time                `json:"at"`  // since when it is in the trust set; null = not yet
	MS        int64               `json:"ms"`  // from the request to At
	MaySign   bool                `json:"may_sign"`
	Why       string              `json:"why,omitempty"` // pending or lost: what its node said
}

// FencedNode is how the right ended on one node, in the data of the event key.fenced.
type FencedNode struct {
	Node    string `json:"node"`
	Outcome string `json:"outcome"`
	At      Time   `json:"at"`
}

// Standing is how many approvals stand.
func (o *Operation) Standing() int {
	if o.Have == nil {
		return 0
	}
	return *o.Have
}

// Missing lists the nodes that may still have the right.
func (o *Operation) Missing() (out []NodeOutcome) {
	for _, n := range o.Nodes {
		if n.Outcome == Pending {
			out = append(out, n)
		}
	}
	return out
}

// Dependent is a registered verifier of a key, as those see it who change the key.
type Dependent struct {
	Name       string `json:"name"`
	Class      string `json:"class"`
	Owner      string `json:"owner"`
	Contact    string `json:"contact,omitempty"`
	LastSeenAt Time   `json:"last_seen_at"` // its last confirmation for the key; null = it never confirmed
	Expect     int    `json:"expect,omitempty"`
	Have       int    `json:"have"` // still trusting: instances that have confirmed to be without
}

// BlastRadius is who and what a revocation would touch.
type BlastRadius struct {
	Consumers       []Dependent `json:"consumers"`
	Certificates    int         `json:"certificates"`
	SignaturesSince uint64      `json:"signatures_since"`
	Complete        bool        `json:"complete"`          // false: some of it is not known
	Unknown         []string    `json:"unknown,omitempty"` // what, a sentence each
}

// Has reports whether the operation has reached a level. A later level implies
// the earlier ones of the same verb, because each keeps its own time.
func (o *Operation) Has(level string) bool {
	if o.Reached == level && level != "" {
		return true
	}
	at := func(r *Reached) bool { return r != nil && r.At != 0 }
	switch level {
	case Committed, Approved:
		return at(o.Committed)
	case Prepared:
		return at(o.Prepared)
	case Published:
		return o.Published != nil && o.Published.At != 0
	case Activated:
		return at(o.Active)
	case Fenced:
		return at(o.Fenced)
	case Settled:
		return at(o.Settled)
	case Destroyed:
		return at(o.Destroyed)
	case AllConfirmed:
		return at(o.Confirmed)
	}
	return false
}
