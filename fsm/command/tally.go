package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TallyItem counts what one instance of the reporting node has signed. Counts are since
// the instance was made, so a report that is lost or repeated changes nothing.
type TallyItem struct {
	Key      lifecycle.KeyID   `cbor:"1,keyasint"`
	Version  uint64            `cbor:"2,keyasint"`
	KID      string            `cbor:"3,keyasint"`
	Released uint64            `cbor:"4,keyasint"`
	Open     uint64            `cbor:"5,keyasint,omitempty"`
	LastAt   lifecycle.Instant `cbor:"6,keyasint,omitempty"`
}

// ReportTally commits how far a node's signature ledger is and what it counts up to
// there, for many signatures at once. It is a node's verb and carries no request id.
type ReportTally struct {
	Node  lifecycle.NodeID  `cbor:"1,keyasint"`
	Seq   uint64            `cbor:"2,keyasint"`           // last line that is counted
	Hash  []byte            `cbor:"3,keyasint"`           // SHA-256 that ends it
	At    lifecycle.Instant `cbor:"4,keyasint"`           // by the node's clock: what it recorded before is counted
	Anew  bool              `cbor:"5,keyasint,omitempty"` // the line that the last report named is not in this ledger: count from Seq on; brings no items
	More  bool              `cbor:"6,keyasint,omitempty"` // another report of the same line follows: the head stays where it was
	Items []TallyItem       `cbor:"7,keyasint,omitempty"` // those that changed
}

func (*ReportTally) Kind() Kind { return KindReportTally }

func (c *ReportTally) Check() error {
	if err := lifecycle.CheckNodeID(c.Node); err != nil {
		return err
	}
	if c.Seq == 0 || len(c.Hash) != sha256.Size {
		return fmt.Errorf("a tally names the line of the ledger that it ends with, and the SHA-256 of it")
	}
	if c.Anew && (c.More || len(c.Items) > 0) {
		return fmt.Errorf("a ledger that begins anew is reported alone, its counts afterwards")
	}
	if c.At <= 0 || c.At > MaxInstant {
		return fmt.Errorf("at %s is no wall time", c.At)
	}
	if err := count("instances", len(c.Items), MaxTallies); err != nil {
		return err
	}
	for i := range c.Items {
		it := &c.Items[i]
		if err := checkVersion(it.Key, it.Version); err != nil {
			return err
		}
		if err := checkKID(it.KID); err != nil {
			return err
		}
		if it.Released > MaxReleased || it.Open > MaxReleased {
			return fmt.Errorf("no instance signs more than %d times", uint64(MaxReleased))
		}
		if it.LastAt < 0 || it.LastAt > MaxInstant {
			return fmt.Errorf("last_at %s is no wall time", it.LastAt)
		}
	}
	return nil
}
