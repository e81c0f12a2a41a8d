package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ReportSeal tells the cluster that a node was forbidden to sign by hand, over its
// own socket. The node obeys its seal from the first; this makes it known.
type ReportSeal struct {
	Node     lifecycle.NodeID  `cbor:"1,keyasint"`
	ID       string            `cbor:"2,keyasint"`           // 64 random bits, hex
	Key      lifecycle.KeyID   `cbor:"3,keyasint,omitempty"` // "" = every key
	Reason   string            `cbor:"4,keyasint,omitempty"`
	By       string            `cbor:"5,keyasint"` // who asked, as the node's machine knows them
	SealedAt lifecycle.Instant `cbor:"6,keyasint"`
}

func (*ReportSeal) Kind() Kind { return KindReportSeal }

func (c *ReportSeal) Check() error {
	if err := checkSealName(c.Node, c.ID); err != nil {
		return err
	}
	if c.Key != "" {
		if err := lifecycle.CheckName("key", string(c.Key)); err != nil {
			return err
		}
	}
	if c.SealedAt <= 0 || c.SealedAt > MaxInstant {
		return fmt.Errorf("sealed_at %s is no wall time", c.SealedAt)
	}
	if err := text("reason", c.Reason, false); err != nil {
		return err
	}
	return text("who sealed", c.By, true)
}

// LiftSeal lets a node sign again that was sealed by hand.
type LiftSeal struct {
	Node lifecycle.NodeID `cbor:"1,keyasint"`
	ID   string           `cbor:"2,keyasint"`

	Reason string `cbor:"3,keyasint,omitempty"`
}

func (*LiftSeal) Kind() Kind { return KindLiftSeal }

func (c *LiftSeal) Check() error {
	if err := checkSealName(c.Node, c.ID); err != nil {
		return err
	}
	return text("reason", c.Reason, false)
}

func checkSealName(node lifecycle.NodeID, id string) error {
	if err := lowerHex("seal id", id, 16); err != nil {
		return err
	}
	return lifecycle.CheckNodeID(node)
}
