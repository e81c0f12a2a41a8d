package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// FencedAt is one fence that stands: how the right of every node ended that might
// have signed.
type FencedAt struct {
	Index uint64                 `cbor:"1,keyasint"`           // of the fence: the entry that opened it
	Nodes []lifecycle.FencedNode `cbor:"2,keyasint,omitempty"` // in the order of their ids
}

func (f *FencedAt) check() error {
	if f.Index == 0 {
		return fmt.Errorf("a fence has no index")
	}
	if err := count("fenced nodes", len(f.Nodes), MaxNodes); err != nil {
		return err
	}
	for i, n := range f.Nodes {
		if err := lifecycle.CheckNodeID(n.Node); err != nil {
			return err
		}
		if i > 0 && f.Nodes[i-1].Node >= n.Node {
			return fmt.Errorf("fenced nodes are not sorted, or %s stands twice", n.Node.Short())
		}
		if n.At <= 0 || n.At > MaxInstant {
			return fmt.Errorf("node %s was fenced at %s, which is no wall time", n.Node.Short(), n.At)
		}
		if err := checkFenceOutcome(n); err != nil {
			return err
		}
	}
	return nil
}

// checkFenceOutcome: an acknowledgement is one process's word, everything else is
// nobody's.
func checkFenceOutcome(n lifecycle.FencedNode) error {
	switch n.Outcome {
	case lifecycle.Acked:
		return lowerHex("boot id", n.Boot, 32)
	case lifecycle.LeaseExpired, lifecycle.GoneNode:
		if n.Boot != "" {
			return fmt.Errorf("node %s did not acknowledge and has a boot id", n.Node.Short())
		}
		return nil
	}
	return fmt.Errorf("unknown fence outcome %q", string(n.Outcome))
}

// RecordFenced states that no correct node passes the release gate any more with
// the rights these fences are about.
type RecordFenced struct {
	Term   uint64     `cbor:"1,keyasint"` // of the leader that waited
	Fences []FencedAt `cbor:"2,keyasint"` // in the order of their indexes
}

func (*RecordFenced) Kind() Kind { return KindRecordFenced }

func (c *RecordFenced) Check() error {
	if len(c.Fences) == 0 {
		return fmt.Errorf("no fence is named")
	}
	if err := count("fences", len(c.Fences), MaxFences); err != nil {
		return err
	}
	for i := range c.Fences {
		if err := c.Fences[i].check(); err != nil {
			return err
		}
		if i > 0 && c.Fences[i-1].Index >= c.Fences[i].Index {
			return fmt.Errorf("fences are not sorted, or %d stands twice", c.Fences[i].Index)
		}
	}
	return nil
}

// RecordSettled states that what passed the gate before these fences stood has
// reached its caller or never will.
type RecordSettled struct {
	Indexes []uint64 `cbor:"1,keyasint"` // ascending
	Term    uint64   `cbor:"2,keyasint"` // of the leader that waited
}

func (*RecordSettled) Kind() Kind { return KindRecordSettled }

func (c *RecordSettled) Check() error {
	if len(c.Indexes) == 0 {
		return fmt.Errorf("no fence is named")
	}
	if err := count("fences", len(c.Indexes), MaxFences); err != nil {
		return err
	}
	for i, n := range c.Indexes {
		if n == 0 || i > 0 && c.Indexes[i-1] >= n {
			return fmt.Errorf("fences are not sorted, or one stands twice")
		}
	}
	return nil
}
