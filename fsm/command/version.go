package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// PrepareVersion begins a rotation: the next version, in pre-activation.
type PrepareVersion struct {
	Key       lifecycle.KeyID `cbor:"1,keyasint"`
	Version   uint64          `cbor:"2,keyasint"`
	Instances []Intent        `cbor:"3,keyasint"`
}

func (*PrepareVersion) Kind() Kind { return KindPrepareVersion }

func (c *PrepareVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return checkIntents(c.Instances)
}

// PublishVersion puts the ready instances of a version into the trust set.
type PublishVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
}

func (*PublishVersion) Kind() Kind     { return KindPublishVersion }
func (c *PublishVersion) Check() error { return checkVersion(c.Key, c.Version) }

// ActivateVersion makes a version the signing one and deactivates its
// predecessor. Early skips the publication lead, with Comment saying why.
type ActivateVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Early   bool            `cbor:"3,keyasint,omitempty"`
	Comment string          `cbor:"4,keyasint,omitempty"`
}

func (*ActivateVersion) Kind() Kind { return KindActivateVersion }

func (c *ActivateVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, c.Early)
}

// SuspendVersion stops a version from signing until it is resumed.
type SuspendVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*SuspendVersion) Kind() Kind { return KindSuspendVersion }

func (c *SuspendVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, false)
}

// ResumeVersion ends a suspension.
type ResumeVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*ResumeVersion) Kind() Kind { return KindResumeVersion }

func (c *ResumeVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, false)
}

// DeactivateVersion ends the signing life of a version; it still verifies.
type DeactivateVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*DeactivateVersion) Kind() Kind { return KindDeactivateVersion }

func (c *DeactivateVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, false)
}

// WithdrawVersion takes a deactivated version out of the trust set.
type WithdrawVersion struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
	Comment string          `cbor:"3,keyasint,omitempty"`
}

func (*WithdrawVersion) Kind() Kind { return KindWithdrawVersion }

func (c *WithdrawVersion) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return text("comment", c.Comment, false)
}

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
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	if c.Node != "" {
		if err := lifecycle.CheckNodeID(c.Node); err != nil {
			return err
		}
	}
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
	if c.Distrust && c.Reason == lifecycle.CertificateHold {
		return fmt.Errorf("a hold can be taken back and distrust cannot: choose another reason, or leave distrust out")
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
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	if c.Cancel == (c.DestroyAt != 0) {
		return fmt.Errorf("a destruction has a time, a cancellation has none")
	}
	if c.DestroyAt < 0 || c.DestroyAt > MaxInstant {
		return fmt.Errorf("destroy_at %s is no wall time", c.DestroyAt)
	}
	return text("comment", c.Comment, false)
}

// BeginErasure ends the waiting period: from here on nodes may erase.
type BeginErasure struct {
	Key     lifecycle.KeyID `cbor:"1,keyasint"`
	Version uint64          `cbor:"2,keyasint"`
}

func (*BeginErasure) Kind() Kind     { return KindBeginErasure }
func (c *BeginErasure) Check() error { return checkVersion(c.Key, c.Version) }
