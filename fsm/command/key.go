package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

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
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	if err := c.Policy.CheckTexts(); err != nil {
		return err
	}
	if err := c.Policy.CheckApprovals(); err != nil {
		return err
	}
	if err := text("owner", c.Owner, false); err != nil {
		return err
	}
	if err := checkLabels(c.Labels); err != nil {
		return err
	}
	return text("business reason", c.Reason, false)
}

// ConfirmPurpose says that somebody has looked at why a key exists, and that it still
// does. ConfirmBy is when somebody has to look again.
type ConfirmPurpose struct {
	Key       lifecycle.KeyID   `cbor:"1,keyasint"`
	Reason    string            `cbor:"2,keyasint"` // the business reason as it stands now
	ConfirmBy lifecycle.Instant `cbor:"3,keyasint"`
}

func (*ConfirmPurpose) Kind() Kind { return KindConfirmPurpose }

func (c *ConfirmPurpose) Check() error {
	if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
		return err
	}
	if c.ConfirmBy <= 0 || c.ConfirmBy > MaxInstant {
		return fmt.Errorf("confirm_by %s is no wall time", c.ConfirmBy)
	}
	return text("business reason", c.Reason, true)
}
