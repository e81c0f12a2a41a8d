package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Init is the first command of a cluster's log: genesis.
type Init struct {
	ClusterID string             `cbor:"1,keyasint"` // 128 random bits, hex
	Name      string             `cbor:"2,keyasint"`
	Node      NodeRecord         `cbor:"3,keyasint"`
	Admin     PrincipalRecord    `cbor:"4,keyasint"`
	Settings  lifecycle.Settings `cbor:"5,keyasint"`
}

func (*Init) Kind() Kind { return KindInit }

func (c *Init) Check() error {
	if err := lowerHex("cluster id", c.ClusterID, 32); err != nil {
		return err
	}
	if err := lifecycle.CheckName("cluster", c.Name); err != nil {
		return err
	}
	if err := c.Node.check(); err != nil {
		return err
	}
	if err := c.Admin.check(); err != nil {
		return err
	}
	return checkSettings(c.Settings)
}

// ClockReading is one voter's wall time as the leader received it.
type ClockReading struct {
	Node lifecycle.NodeID  `cbor:"1,keyasint"`
	At   lifecycle.Instant `cbor:"2,keyasint"`
}

// AdvanceClock moves the state's clock past what an ordinary command may: it
// carries the wall times of a majority of voters, and their lower median counts.
type AdvanceClock struct {
	Readings []ClockReading `cbor:"1,keyasint"`
}

func (*AdvanceClock) Kind() Kind { return KindAdvanceClock }

func (c *AdvanceClock) Check() error {
	if len(c.Readings) == 0 {
		return fmt.Errorf("no clock readings")
	}
	for _, r := range c.Readings {
		if err := lifecycle.CheckNodeID(r.Node); err != nil {
			return err
		}
		if r.At <= 0 || r.At > MaxInstant {
			return fmt.Errorf("clock reading %s of node %s is no wall time", r.At, r.Node.Short())
		}
	}
	return count("clock readings", len(c.Readings), MaxNodes)
}

// RaiseFormat lets newer command kinds in; it is never lowered.
type RaiseFormat struct {
	Format uint64 `cbor:"1,keyasint"`
}

func (*RaiseFormat) Kind() Kind { return KindRaiseFormat }

func (c *RaiseFormat) Check() error {
	if c.Format == 0 {
		return fmt.Errorf("format 0 does not exist")
	}
	return nil
}

// MarkCheckpoint makes every node note {log size, root, state digest} at this
// entry's index, so that they can be compared.
type MarkCheckpoint struct{}

func (*MarkCheckpoint) Kind() Kind   { return KindMarkCheckpoint }
func (*MarkCheckpoint) Check() error { return nil }

// RecordCheckpoint states what a majority of voters, the leader among them,
// noted at the mark. A node that noted something else stops.
type RecordCheckpoint struct {
	MarkIndex uint64             `cbor:"1,keyasint"`
	LogSize   uint64             `cbor:"2,keyasint"`
	Root      []byte             `cbor:"3,keyasint"`
	Digest    []byte             `cbor:"4,keyasint"`
	Voters    []lifecycle.NodeID `cbor:"5,keyasint"` // who agreed
}

func (*RecordCheckpoint) Kind() Kind { return KindRecordCheckpoint }

func (c *RecordCheckpoint) Check() error {
	if c.MarkIndex == 0 {
		return fmt.Errorf("the checkpoint names no mark")
	}
	if err := size("root", len(c.Root), sha256.Size, sha256.Size); err != nil {
		return err
	}
	if err := size("state digest", len(c.Digest), sha256.Size, sha256.Size); err != nil {
		return err
	}
	if len(c.Voters) == 0 {
		return fmt.Errorf("no voter agreed")
	}
	for _, id := range c.Voters {
		if err := lifecycle.CheckNodeID(id); err != nil {
			return err
		}
	}
	return count("voters", len(c.Voters), MaxNodes)
}

// SetSettings replaces the cluster's settings.
type SetSettings struct {
	Settings lifecycle.Settings `cbor:"1,keyasint"`
}

func (*SetSettings) Kind() Kind     { return KindSetSettings }
func (c *SetSettings) Check() error { return checkSettings(c.Settings) }

// RotateGossipKey tells the members by which digest they know the next gossip key.
type RotateGossipKey struct {
	Digest []byte `cbor:"1,keyasint"`
}

func (*RotateGossipKey) Kind() Kind { return KindRotateGossipKey }

func (c *RotateGossipKey) Check() error {
	return size("gossip key digest", len(c.Digest), sha256.Size, sha256.Size)
}

func checkSettings(s lifecycle.Settings) error {
	if err := text("public_url", s.PublicURL, false); err != nil {
		return err
	}
	if s.CheckpointEvery < 100 || s.CheckpointEvery > lifecycle.Day {
		return fmt.Errorf("checkpoint_every = %s: allowed are 100ms to 1d", s.CheckpointEvery)
	}
	if s.MaxTokenTTL < lifecycle.Minute || s.MaxTokenTTL > 10*366*lifecycle.Day {
		return fmt.Errorf("max_token_ttl = %s: allowed are 1m to ten years", s.MaxTokenTTL)
	}
	if s.BusinessReasonConfirm < lifecycle.Day || s.BusinessReasonConfirm > 10*366*lifecycle.Day {
		return fmt.Errorf("business_reason_confirm = %s: allowed are 1d to ten years", s.BusinessReasonConfirm)
	}
	if err := s.CheckApprovals(); err != nil {
		return err
	}
	if err := s.CheckWebhooks(); err != nil {
		return err
	}
	lease, age := s.SigningTerms()
	if lease < minLease || lease > maxLease {
		return fmt.Errorf("lease = %s: allowed are %s to %s", lease, minLease, maxLease)
	}
	if age < minRequestAge || age > lease {
		return fmt.Errorf("request_age = %s: allowed are %s to the lease, %s", age, minRequestAge, lease)
	}
	return nil
}
