package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// NodeRecord is what a node says of itself when it enters.
type NodeRecord struct {
	ID          lifecycle.NodeID `cbor:"1,keyasint"`
	Name        string           `cbor:"2,keyasint"`
	Incarnation string           `cbor:"3,keyasint"`
	Addrs       lifecycle.Addrs  `cbor:"4,keyasint"`
	CACert      []byte           `cbor:"5,keyasint"`
	MaxFormat   uint64           `cbor:"6,keyasint"`
	Version     string           `cbor:"7,keyasint,omitempty"`
	Driver      string           `cbor:"8,keyasint,omitempty"`
}

func (n *NodeRecord) check() error {
	if err := lifecycle.CheckNodeID(n.ID); err != nil {
		return err
	}
	if err := lifecycle.CheckName("node", n.Name); err != nil {
		return err
	}
	if err := lowerHex("incarnation", n.Incarnation, 16); err != nil {
		return err
	}
	if err := checkAddrs(n.Addrs); err != nil {
		return err
	}
	if err := size("CA certificate", len(n.CACert), 1, MaxCertBytes); err != nil {
		return err
	}
	if n.MaxFormat == 0 {
		return fmt.Errorf("node %s supports no format", n.Name)
	}
	if err := text("version", n.Version, false); err != nil {
		return err
	}
	return text("driver", n.Driver, false)
}

func checkAddrs(a lifecycle.Addrs) error {
	for _, s := range []struct {
		what, addr string
		required   bool
	}{{"node address", a.Node, true}, {"api address", a.API, true}, {"public address", a.Public, true}, {"gossip address", a.Gossip, false}} {
		if s.required && s.addr == "" {
			return fmt.Errorf("%s is empty", s.what)
		}
		if len(s.addr) > MaxAddrBytes {
			return fmt.Errorf("%s of %d bytes: at most %d are allowed", s.what, len(s.addr), MaxAddrBytes)
		}
		if err := printable(s.what, s.addr); err != nil {
			return err
		}
	}
	return nil
}

// AddJoinToken lets one node in until ExpiresAt.
type AddJoinToken struct {
	ID        string            `cbor:"1,keyasint"`
	MACKey    []byte            `cbor:"2,keyasint"`
	ExpiresAt lifecycle.Instant `cbor:"3,keyasint"`
}

func (*AddJoinToken) Kind() Kind { return KindAddJoinToken }

func (c *AddJoinToken) Check() error {
	if err := tokenID(c.ID); err != nil {
		return err
	}
	return size("token MAC key", len(c.MACKey), sha256.Size, sha256.Size)
}

// JoinNode spends a join token and makes the node a member: no voter, no signer.
type JoinNode struct {
	TokenID string     `cbor:"1,keyasint"`
	Node    NodeRecord `cbor:"2,keyasint"`
}

func (*JoinNode) Kind() Kind { return KindJoinNode }

func (c *JoinNode) Check() error {
	if err := tokenID(c.TokenID); err != nil {
		return err
	}
	return c.Node.check()
}

// UpdateNode changes what a node may say of itself: where it is and what it runs.
type UpdateNode struct {
	ID          lifecycle.NodeID `cbor:"1,keyasint"`
	Addrs       lifecycle.Addrs  `cbor:"2,keyasint"`
	MaxFormat   uint64           `cbor:"3,keyasint"`
	Version     string           `cbor:"4,keyasint,omitempty"`
	Driver      string           `cbor:"5,keyasint,omitempty"`
	Incarnation string           `cbor:"6,keyasint,omitempty"` // set by the rebuild of a node whose data directory was wiped
}

func (*UpdateNode) Kind() Kind { return KindUpdateNode }

func (c *UpdateNode) Check() error {
	if err := lifecycle.CheckNodeID(c.ID); err != nil {
		return err
	}
	if c.Incarnation != "" {
		if err := lowerHex("incarnation", c.Incarnation, 16); err != nil {
			return err
		}
	}
	if c.MaxFormat == 0 {
		return fmt.Errorf("the node supports no format")
	}
	if err := text("version", c.Version, false); err != nil {
		return err
	}
	if err := text("driver", c.Driver, false); err != nil {
		return err
	}
	return checkAddrs(c.Addrs)
}

// SetNodeRoles records which roles a node was given: Voter follows the Raft
// configuration, Signer lets it hold instances. Only operators change them.
type SetNodeRoles struct {
	ID     lifecycle.NodeID `cbor:"1,keyasint"`
	Voter  bool             `cbor:"2,keyasint,omitempty"`
	Signer bool             `cbor:"3,keyasint,omitempty"`
}

func (*SetNodeRoles) Kind() Kind     { return KindSetNodeRoles }
func (c *SetNodeRoles) Check() error { return lifecycle.CheckNodeID(c.ID) }

// SetNodeStatus quarantines, readmits or removes a node.
type SetNodeStatus struct {
	ID     lifecycle.NodeID     `cbor:"1,keyasint"`
	Status lifecycle.NodeStatus `cbor:"2,keyasint"`
	Reason string               `cbor:"3,keyasint,omitempty"`
	Lost   bool                 `cbor:"4,keyasint,omitempty"` // its HSM is gone too: its instances become lost
}

func (*SetNodeStatus) Kind() Kind { return KindSetNodeStatus }

func (c *SetNodeStatus) Check() error {
	switch c.Status {
	case lifecycle.Member, lifecycle.Quarantined, lifecycle.Removed:
	default:
		return fmt.Errorf("unknown node status %q", string(c.Status))
	}
	if c.Lost && c.Status != lifecycle.Removed {
		return fmt.Errorf("only a removed node can be lost with its HSM")
	}
	if err := text("reason", c.Reason, false); err != nil {
		return err
	}
	return lifecycle.CheckNodeID(c.ID)
}
