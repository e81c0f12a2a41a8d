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

// PlanInstances adds instances to a version that exists: for a node that joined later.
type PlanInstances struct {
	Key       lifecycle.KeyID `cbor:"1,keyasint"`
	Version   uint64          `cbor:"2,keyasint"`
	Instances []Intent        `cbor:"3,keyasint"`
}

func (*PlanInstances) Kind() Kind { return KindPlanInstances }

func (c *PlanInstances) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	return checkIntents(c.Instances)
}

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
	if err := checkInstance(c.Key, c.Version, c.Node); err != nil {
		return err
	}
	if err := size("public key", len(c.SPKI), 1, MaxSPKIBytes); err != nil {
		return err
	}
	if err := checkKID(c.KID); err != nil {
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
	if err := checkInstance(c.Key, c.Version, c.Node); err != nil {
		return err
	}
	if c.Condition != lifecycle.Ready && c.Condition != lifecycle.Lost {
		return fmt.Errorf("a node reports its instance ready or lost, not %s", c.Condition)
	}
	return text("detail", c.Detail, false)
}

// AdmitInstance lets an instance that was bound to an active version later sign:
// its own publication lead has passed.
type AdmitInstance struct {
	Key     lifecycle.KeyID  `cbor:"1,keyasint"`
	Version uint64           `cbor:"2,keyasint"`
	Node    lifecycle.NodeID `cbor:"3,keyasint"`
}

func (*AdmitInstance) Kind() Kind     { return KindAdmitInstance }
func (c *AdmitInstance) Check() error { return checkInstance(c.Key, c.Version, c.Node) }

// ConfirmErased is a node's evidence that its key pair is gone: destroyed by
// CKA_ID and SPKI, then not found by two look-ups.
type ConfirmErased struct {
	Key      lifecycle.KeyID  `cbor:"1,keyasint"`
	Version  uint64           `cbor:"2,keyasint"`
	Node     lifecycle.NodeID `cbor:"3,keyasint"`
	Evidence string           `cbor:"4,keyasint"`
}

func (*ConfirmErased) Kind() Kind { return KindConfirmErased }

func (c *ConfirmErased) Check() error {
	if err := checkInstance(c.Key, c.Version, c.Node); err != nil {
		return err
	}
	return text("evidence", c.Evidence, true)
}
