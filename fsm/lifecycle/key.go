package lifecycle

// Label is one k=v of a key, kept sorted by Name.
type Label struct {
	Name  string `cbor:"1,keyasint" json:"name"`
	Value string `cbor:"2,keyasint" json:"value"`
}

// Origin says who made something, when, and by which request.
type Origin struct {
	At        Instant `cbor:"1,keyasint" json:"at"`
	By        string  `cbor:"2,keyasint" json:"by"`
	RequestID string  `cbor:"3,keyasint,omitempty" json:"request_id"`
	Index     uint64  `cbor:"4,keyasint" json:"index"`

	Approvals []Consent `cbor:"5,keyasint,omitempty" json:"approvals,omitempty"` // of an executed proposal: whose counted
}

// Consent is who approved something, and when; the signature stands in the proposal.
type Consent struct {
	By string  `cbor:"1,keyasint" json:"by"`
	At Instant `cbor:"2,keyasint" json:"at"`
}

// Key is a named logical signing key.
type Key struct {
	Rev           uint64    `cbor:"1,keyasint"`
	ID            KeyID     `cbor:"2,keyasint"`
	Purpose       Purpose   `cbor:"3,keyasint"`
	Alg           Algorithm `cbor:"4,keyasint"`
	Bits          int       `cbor:"5,keyasint,omitempty"`
	Custody       Custody   `cbor:"6,keyasint"`
	Node          NodeID    `cbor:"7,keyasint,omitempty"` // singleton custody only
	Owner         string    `cbor:"8,keyasint"`
	Reason        string    `cbor:"9,keyasint"` // business reason
	ConfirmBy     Instant   `cbor:"10,keyasint,omitempty"`
	Labels        []Label   `cbor:"11,keyasint,omitempty"`
	Policy        Policy    `cbor:"12,keyasint"`
	PolicyVersion uint64    `cbor:"13,keyasint"`
	Active        uint64    `cbor:"14,keyasint,omitempty"` // number of the active version, 0 = none
	Newest        uint64    `cbor:"15,keyasint"`           // number of the newest version
	Created       Origin    `cbor:"16,keyasint"`
	Pause         *Pause    `cbor:"20,keyasint,omitempty"` // the plan waits for somebody to resume it; nil = it goes on
	StrictAt      Instant   `cbor:"21,keyasint,omitempty"` // the policy asks for a record of each signature since; 0 = it does not, or nobody noted when it began
}

// Revocation says why and since when a version or instance is not to be trusted.
type Revocation struct {
	Reason           Reason  `cbor:"1,keyasint" json:"reason"`
	At               Instant `cbor:"2,keyasint" json:"at"`
	By               string  `cbor:"3,keyasint" json:"by"`
	CompromisedSince Instant `cbor:"4,keyasint,omitempty" json:"compromised_since,omitempty"`
	Comment          string  `cbor:"5,keyasint,omitempty" json:"comment,omitempty"`
	Index            uint64  `cbor:"6,keyasint" json:"index"`
	FencedAt         Instant `cbor:"7,keyasint,omitempty" json:"fenced_at,omitempty"`  // 0 = its fence does not stand yet
	SettledAt        Instant `cbor:"8,keyasint,omitempty" json:"settled_at,omitempty"` // 0 = signatures may still be on their way
}

// Version is one generation of a Key.
type Version struct {
	Rev           uint64      `cbor:"1,keyasint"`
	Key           KeyID       `cbor:"2,keyasint"`
	Number        uint64      `cbor:"3,keyasint"`
	State         State       `cbor:"4,keyasint"`
	SuspendedFrom State       `cbor:"5,keyasint,omitempty"`
	SinceAt       Instant     `cbor:"6,keyasint"` // when State was entered
	Created       Origin      `cbor:"7,keyasint"`
	PublishedAt   Instant     `cbor:"8,keyasint,omitempty"`
	ActivatedAt   Instant     `cbor:"9,keyasint,omitempty"`
	DeactivatedAt Instant     `cbor:"10,keyasint,omitempty"`
	Withdrawn     bool        `cbor:"11,keyasint,omitempty"` // out of the trust set, verify window over
	Distrusted    bool        `cbor:"12,keyasint,omitempty"` // out of the trust set by revoke --distrust
	Revocation    *Revocation `cbor:"13,keyasint,omitempty"`
	DestroyAt     Instant     `cbor:"14,keyasint,omitempty"` // destruction asked for; not before
	Erasing       bool        `cbor:"15,keyasint,omitempty"` // nodes may erase their instances now
	Skipped       []Skip      `cbor:"16,keyasint,omitempty"` // gates opened before their time
	RolledBackAt  Instant     `cbor:"17,keyasint,omitempty"` // given up before it signed
	NotedAt       Instant     `cbor:"19,keyasint,omitempty"` // when it was last made known that its rotation waits for somebody
	Kept          bool        `cbor:"18,keyasint,omitempty"` // its destruction was cancelled: the plan does not ask for it again
	Emergency     bool        `cbor:"20,keyasint,omitempty"` // made by a replacement: neither lead nor confirmations are waited for
}

// Instance is a Version's key pair in one node's HSM partition.
type Instance struct {
	Rev         uint64      `cbor:"1,keyasint"`
	Key         KeyID       `cbor:"2,keyasint"`
	Version     uint64      `cbor:"3,keyasint"`
	Node        NodeID      `cbor:"4,keyasint"`
	CKAID       CKAID       `cbor:"5,keyasint"`
	Condition   Condition   `cbor:"6,keyasint"`
	IntentAt    Instant     `cbor:"7,keyasint"`
	SPKI        []byte      `cbor:"8,keyasint,omitempty"` // DER SubjectPublicKeyInfo
	KID         string      `cbor:"9,keyasint,omitempty"` // RFC 7638 SHA-256 thumbprint, base64url
	Driver      string      `cbor:"10,keyasint,omitempty"`
	Attributes  []string    `cbor:"11,keyasint,omitempty"` // PKCS#11 attributes read back, "CKA_SENSITIVE=true", sorted
	ReadyAt     Instant     `cbor:"12,keyasint,omitempty"`
	PublishedAt Instant     `cbor:"13,keyasint,omitempty"` // in the trust set since
	AdmittedAt  Instant     `cbor:"14,keyasint,omitempty"` // may sign since: its lead has passed
	Revocation  *Revocation `cbor:"15,keyasint,omitempty"`
	Detail      string      `cbor:"16,keyasint,omitempty"` // of the last report of its node
	ErasedAt    Instant     `cbor:"17,keyasint,omitempty"`
}

// Distrusts reports whether a status answer must say revoked for the version.
func (v *Version) Distrusts() bool {
	return v.State == Compromised || v.State == Destroyed || v.Distrusted
}

// InTrustSet reports whether verifiers must accept signatures of the version.
func (v *Version) InTrustSet() bool {
	return v.PublishedAt != 0 && !v.Withdrawn && !v.Distrusts()
}

// InTrustSet reports whether the instance's public key belongs to the trust set
// of v, its version. A lost instance stays: what it signed is still to be verified.
func (i *Instance) InTrustSet(v *Version) bool {
	return v.InTrustSet() && i.PublishedAt != 0 && i.KID != "" && i.Condition != InstanceBad && i.Condition != Pending
}

// MaySign reports whether the instance may sign for callers, with v its version.
// What verifiers are not told to accept is never signed, whatever else the rows say.
func (i *Instance) MaySign(v *Version) bool {
	return v.State.MaySign() && i.Condition == Ready && i.AdmittedAt != 0 && i.InTrustSet(v)
}

// MayUphold reports whether the version may sign what certificates it signed before
// depend on: CRLs and OCSP delegates. It may when it signs nothing new any more, as long
// as it is trusted.
func (v *Version) MayUphold() bool {
	return (v.State == Active || v.State == Deactivated) && !v.Distrusts()
}

// MayIntroduce reports whether the version may sign what makes it known to whoever is
// to certify it: a certificate request, a root's own certificate. It may before it is
// active, because it shall not be active without.
func (v *Version) MayIntroduce() bool {
	return v.InTrustSet() && (v.State == PreActivation || v.State == Active || v.State == Deactivated)
}

// MayIntroduce reports whether the instance may do so, with v its version.
func (i *Instance) MayIntroduce(v *Version) bool {
	return v.MayIntroduce() && i.Condition == Ready && i.InTrustSet(v)
}

// MayUphold reports whether the instance may do so, with v its version.
func (i *Instance) MayUphold(v *Version) bool {
	return v.MayUphold() && i.Condition == Ready && i.AdmittedAt != 0
}
