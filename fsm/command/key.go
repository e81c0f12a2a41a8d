package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Intent is the first of the three entries of a key generation: this node is to
// make a key pair under exactly this CKA_ID.
type Intent struct {
	Node  lifecycle.NodeID `cbor:"1,keyasint"`
	CKAID lifecycle.CKAID  `cbor:"2,keyasint"`
}

func checkIntents(in []Intent) error {
	if len(in) == 0 {
		return fmt.Errorf("no node would hold an instance")
	}
	if err := count("instances", len(in), MaxNodes); err != nil {
		return err
	}
	for i, a := range in {
		if err := lifecycle.CheckNodeID(a.Node); err != nil {
			return err
		}
		if a.CKAID == (lifecycle.CKAID{}) {
			return fmt.Errorf("an intent has no CKA_ID")
		}
		for _, b := range in[:i] {
			if a.Node == b.Node || a.CKAID == b.CKAID {
				return fmt.Errorf("two intents share a node or a CKA_ID")
			}
		}
	}
	return nil
}

// CreateKey makes a key with version 1 in pre-activation.
type CreateKey struct {
	Name      lifecycle.KeyID     `cbor:"1,keyasint"`
	Purpose   lifecycle.Purpose   `cbor:"2,keyasint"`
	Alg       lifecycle.Algorithm `cbor:"3,keyasint"`
	Bits      int                 `cbor:"4,keyasint,omitempty"`
	Custody   lifecycle.Custody   `cbor:"5,keyasint"`
	Node      lifecycle.NodeID    `cbor:"6,keyasint,omitempty"`
	Owner     string              `cbor:"7,keyasint"`
	Reason    string              `cbor:"8,keyasint"`
	ConfirmBy lifecycle.Instant   `cbor:"9,keyasint,omitempty"`
	Labels    []lifecycle.Label   `cbor:"10,keyasint,omitempty"`
	Policy    lifecycle.Policy    `cbor:"11,keyasint"`
	Instances []Intent            `cbor:"12,keyasint"`
}

func (*CreateKey) Kind() Kind { return KindCreateKey }

func (c *CreateKey) Check() error {
	if err := lifecycle.CheckName("key", string(c.Name)); err != nil {
		return err
	}
	if _, err := lifecycle.ParsePurpose(string(c.Purpose)); err != nil {
		return err
	}
	if err := lifecycle.CheckAlgorithm(c.Alg, c.Bits); err != nil {
		return err
	}
	if err := text("owner", c.Owner, true); err != nil {
		return err
	}
	if err := text("business reason", c.Reason, true); err != nil {
		return err
	}
	if err := checkLabels(c.Labels); err != nil {
		return err
	}
	if err := c.Policy.Check(c.Purpose, c.Alg); err != nil {
		return err
	}
	switch c.Custody {
	case lifecycle.Distributed:
		if c.Node != "" {
			return fmt.Errorf("a distributed key names no node: use custody singleton with --node")
		}
	case lifecycle.Singleton:
		if len(c.Instances) != 1 || c.Instances[0].Node != c.Node {
			return fmt.Errorf("a singleton key needs exactly one node")
		}
	default:
		return fmt.Errorf("unknown custody %q", string(c.Custody))
	}
	return checkIntents(c.Instances)
}

func checkLabels(labels []lifecycle.Label) error {
	if err := count("labels", len(labels), MaxLabels); err != nil {
		return err
	}
	for i, l := range labels {
		if err := size("label name", len(l.Name), 1, MaxLabelBytes); err != nil {
			return err
		}
		if err := size("label value", len(l.Value), 0, MaxLabelBytes); err != nil {
			return err
		}
		if err := printable("label "+l.Name, l.Name+l.Value); err != nil {
			return err
		}
		if i > 0 && labels[i-1].Name >= l.Name {
			return fmt.Errorf("labels are not sorted, or %q stands twice", l.Name)
		}
	}
	return nil
}

// PrepareVersion begins a rotation: the next version, in pre-activation.
type PrepareVersion struct {
	Key       lifecycle.KeyID `cbor:"1,keyasint"`
	Version   uint64          `cbor:"2,keyasint"`
	Instances []Intent        `cbor:"3,keyasint"`
}

func (*PrepareVersion) Kind() Kind     { return KindPrepareVersion }
func (c *PrepareVersion) Check() error { return checkIntents(c.Instances) }

// PlanInstances adds instances to a version that exists: for a node that joined later.
type PlanInstances struct {
	Key       lifecycle.KeyID `cbor:"1,keyasint"`
	Version   uint64          `cbor:"2,keyasint"`
	Instances []Intent        `cbor:"3,keyasint"`
}

func (*PlanInstances) Kind() Kind     { return KindPlanInstances }
func (c *PlanInstances) Check() error { return checkIntents(c.Instances) }

// BindInstance ends a key generation: the node shows the public key it made. The
// proof of possession was checked by the proposer.
type BindInstance struct {
	Key        lifecycle.KeyID  `cbor:"1,keyasint"`
	Version    uint64           `cbor:"2,keyasint"`
	Node       lifecycle.NodeID `cbor:"3,keyasint"`
	CKAID      lifecycle.CKAID  `cbor:"4,keyasint"`
	SPKI       []byte           `cbor:"5,keyasint"`
	KID        string           `cbor:"6,keyasint"`
	Driver     string           `cbor:"7,keyasint"`
	Attributes []string         `cbor:"8,keyasint,omitempty"`
}

func (*BindInstance) Kind() Kind { return KindBindInstance }

func (c *BindInstance) Check() error {
	if err := size("public key", len(c.SPKI), 1, MaxSPKIBytes); err != nil {
		return err
	}
	if err := size("kid", len(c.KID), 43, 43); err != nil { // base64url of 32 bytes
		return err
	}
	if err := count("attributes", len(c.Attributes), MaxAttributes); err != nil {
		return err
	}
	for _, a := range c.Attributes {
		if err := text("attribute", a, true); err != nil {
			return err
		}
	}
	return text("driver", c.Driver, true)
}

// ReportCondition says that a node's key pair was looked for and is not there
// (lost), or is there again with the registered public key (ready).
type ReportCondition struct {
	Key       lifecycle.KeyID     `cbor:"1,keyasint"`
	Version   uint64              `cbor:"2,keyasint"`
	Node      lifecycle.NodeID    `cbor:"3,keyasint"`
	Condition lifecycle.Condition `cbor:"4,keyasint"`
	Detail    string              `cbor:"5,keyasint,omitempty"`
}

func (*ReportCondition) Kind() Kind { return KindReportCondition }

func (c *ReportCondition) Check() error {
	if c.Condition != lifecycle.Ready && c.Condition != lifecycle.Lost {
		return fmt.Errorf("a node reports its instance ready or lost, not %s", c.Condition)
	}
	return text("detail", c.Detail, false)
}

// PublishVersion puts the ready instances of a version into the trust set.
type PublishVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
}

func (*PublishVersion) Kind() Kind   { return KindPublishVersion }
func (*PublishVersion) Check() error { return nil }

// ActivateVersion makes a version the signing one and deactivates its
// predecessor. Early skips the publication lead, with Comment saying why.
type ActivateVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Early   bool            `cbor:"3,keyasint,omitempty"`
	Comment string          `cbor:"4,keyasint,omitempty"`
}

func (*ActivateVersion) Kind() Kind { return KindActivateVersion }

func (c *ActivateVersion) Check() error { return text("comment", c.Comment, c.Early) }

// AdmitInstance lets an instance that was bound to an active version later sign:
// its own publication lead has passed.
type AdmitInstance struct {
	Key     lifecycle.KeyID  `cbor:"1,keyasint"`
	Version uint64           `cbor:"2,keyasint"`
	Node    lifecycle.NodeID `cbor:"3,keyasint"`
}

func (*AdmitInstance) Kind() Kind   { return KindAdmitInstance }
func (*AdmitInstance) Check() error { return nil }

// SuspendVersion stops a version from signing until it is resumed.
type SuspendVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*SuspendVersion) Kind() Kind     { return KindSuspendVersion }
func (c *SuspendVersion) Check() error { return text("comment", c.Comment, false) }

// ResumeVersion ends a suspension.
type ResumeVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*ResumeVersion) Kind() Kind     { return KindResumeVersion }
func (c *ResumeVersion) Check() error { return text("comment", c.Comment, false) }

// DeactivateVersion ends the signing life of a version; it still verifies.
type DeactivateVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*DeactivateVersion) Kind() Kind     { return KindDeactivateVersion }
func (c *DeactivateVersion) Check() error { return text("comment", c.Comment, false) }

// WithdrawVersion takes a deactivated version out of the trust set.
type WithdrawVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*WithdrawVersion) Kind() Kind     { return KindWithdrawVersion }
func (c *WithdrawVersion) Check() error { return text("comment", c.Comment, false) }

// Revoke withdraws trust from a key, from some of its versions, or from one
// node's instance of one version.
type Revoke struct {
	Key              lifecycle.KeyID   `cbor:"1,keyasint"`
	Versions         []uint64          `cbor:"2,keyasint,omitempty"` // ascending; empty = all
	Node             lifecycle.NodeID  `cbor:"3,keyasint,omitempty"` // only this node's instances of Versions
	Reason           lifecycle.Reason  `cbor:"4,keyasint"`
	CompromisedSince lifecycle.Instant `cbor:"5,keyasint,omitempty"`
	Comment          string            `cbor:"6,keyasint,omitempty"`
	Distrust         bool              `cbor:"7,keyasint,omitempty"`
}

func (*Revoke) Kind() Kind { return KindRevoke }

func (c *Revoke) Check() error {
	if _, err := lifecycle.ParseReason(string(c.Reason)); err != nil {
		return err
	}
	if c.CompromisedSince != 0 && !c.Reason.IsCompromise() {
		return fmt.Errorf("compromised_since goes with a compromise reason, not with %s", c.Reason)
	}
	if c.CompromisedSince < 0 {
		return fmt.Errorf("compromised_since lies before 1970")
	}
	if c.Node != "" && c.Reason == lifecycle.CertificateHold {
		return fmt.Errorf("one instance cannot be put on hold: suspend the version, or revoke the instance")
	}
	for i := 1; i < len(c.Versions); i++ {
		if c.Versions[i-1] >= c.Versions[i] {
			return fmt.Errorf("versions are not ascending, or one stands twice")
		}
	}
	return text("comment", c.Comment, false)
}

// ScheduleDestroy asks for the erasure of a version's private keys, not before
// DestroyAt. Cancel takes a request back that has not begun.
type ScheduleDestroy struct {
	Key       lifecycle.KeyID   `cbor:"1,keyasint"`
	Version   uint64            `cbor:"2,keyasint"`
	DestroyAt lifecycle.Instant `cbor:"3,keyasint,omitempty"`
	Cancel    bool              `cbor:"4,keyasint,omitempty"`
	Comment   string            `cbor:"5,keyasint,omitempty"`
}

func (*ScheduleDestroy) Kind() Kind { return KindScheduleDestroy }

func (c *ScheduleDestroy) Check() error {
	if c.Cancel == (c.DestroyAt != 0) {
		return fmt.Errorf("a destruction has a time, a cancellation has none")
	}
	return text("comment", c.Comment, false)
}

// BeginErasure ends the waiting period: from here on nodes may erase.
type BeginErasure struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
}

func (*BeginErasure) Kind() Kind   { return KindBeginErasure }
func (*BeginErasure) Check() error { return nil }

// ConfirmErased is a node's evidence that its key pair is gone: destroyed by
// CKA_ID and SPKI, then not found by two look-ups.
type ConfirmErased struct {
	Key      lifecycle.KeyID  `cbor:"1,keyasint"`
	Version  uint64           `cbor:"2,keyasint"`
	Node     lifecycle.NodeID `cbor:"3,keyasint"`
	Evidence string           `cbor:"4,keyasint"`
}

func (*ConfirmErased) Kind() Kind     { return KindConfirmErased }
func (c *ConfirmErased) Check() error { return text("evidence", c.Evidence, true) }

// SetPolicy replaces a key's policy, owner and business reason.
type SetPolicy struct {
	Key       lifecycle.KeyID   `cbor:"1,keyasint"`
	Policy    lifecycle.Policy  `cbor:"2,keyasint"`
	Owner     string            `cbor:"3,keyasint,omitempty"` // empty = unchanged
	Reason    string            `cbor:"4,keyasint,omitempty"` // empty = unchanged
	ConfirmBy lifecycle.Instant `cbor:"5,keyasint,omitempty"` // 0 = unchanged
	Labels    []lifecycle.Label `cbor:"6,keyasint,omitempty"` // empty = unchanged
}

func (*SetPolicy) Kind() Kind { return KindSetPolicy }

func (c *SetPolicy) Check() error {
	if err := text("owner", c.Owner, false); err != nil {
		return err
	}
	if err := checkLabels(c.Labels); err != nil {
		return err
	}
	return text("business reason", c.Reason, false)
}
