package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Node is a member as the cluster records it.
type Node struct {
	Name        string               `json:"node"`
	ID          string               `json:"id"`
	Incarnation string               `json:"incarnation"`
	Status      lifecycle.NodeStatus `json:"status"`
	Roles       []string             `json:"roles"` // voter, signer
	Leader      bool                 `json:"leader"`
	Addrs       lifecycle.Addrs      `json:"addrs"`
	Version     string               `json:"version"`
	Driver      string               `json:"driver"`
	MaxFormat   uint64               `json:"max_format"`
	Joined      Origin               `json:"joined"`
	RemovedAt   Time                 `json:"removed_at"`
	Seals       []Seal               `json:"seals,omitempty"`
	Fence       *Reached             `json:"fence,omitempty"` // of its quarantine: since when it has certainly stopped signing
	Position    *Position            `json:"position,omitempty"`
}

// CreateJoinToken asks for a token that lets one node in.
type CreateJoinToken struct {
	TTL lifecycle.Milliseconds `json:"ttl,omitempty"` // 0 = 10 min
}

// JoinToken carries the secret, once.
type JoinToken struct {
	ID        string   `json:"id"`
	Token     string   `json:"token"`   // with the CA pin and addresses inside; empty when replayed
	Command   string   `json:"command"` // what to type on the new machine, the token left out
	ExpiresAt Time     `json:"expires_at"`
	RequestID string   `json:"request_id"`
	Position  Position `json:"position"`
}

// Promote gives a node roles; what is false is not taken away.
type Promote struct {
	Voter  bool `json:"voter,omitempty"`
	Signer bool `json:"signer,omitempty"`
}

// Quarantine stops a node from signing; release takes it back.
type Quarantine struct {
	Reason  string `json:"reason,omitempty"`
	Release bool   `json:"release,omitempty"`
}

// Seal is an order, given on a node's own machine, that it must not sign.
type Seal struct {
	ID       string `json:"id"`
	Key      string `json:"key,omitempty"` // "" = every key
	Reason   string `json:"reason"`
	At       Time   `json:"at"`
	By       string `json:"by"`
	LiftedAt Time   `json:"lifted_at"` // null = it holds
	LiftedBy string `json:"lifted_by,omitempty"`
}

// Unseal lets a sealed node sign again.
type Unseal struct {
	ID     string `json:"id,omitempty"` // "" = its only seal
	Reason string `json:"reason"`
}

// RemoveNode takes a quarantined node out of the cluster; lost says that its key
// store is gone with it.
type RemoveNode struct {
	Lost   bool   `json:"lost,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Rebuild lets a node whose data directory was wiped come back as a new incarnation.
type Rebuild struct {
	Reason string `json:"reason,omitempty"`
}

// TransferLeader hands leadership over; an empty target leaves the choice to raft.
type TransferLeader struct {
	Target string `json:"target,omitempty"`
}

// Cluster is what must agree everywhere. Its ETag is the revision in quotes.
type Cluster struct {
	ID       string             `json:"id"`
	Name     string             `json:"name"`
	Epoch    uint64             `json:"epoch"`
	Format   uint64             `json:"format"`
	Revision uint64             `json:"revision"`
	Settings lifecycle.Settings `json:"settings"`
	CABundle string             `json:"ca_bundle"` // PEM, the CA instance of every member: what --ca wants
	Created  Origin             `json:"created"`
	Gossip   *GossipKey         `json:"gossip_key,omitempty"` // nil = the one of init
	Position Position           `json:"position"`
}

// GossipKey tells which gossip key the members go over to.
type GossipKey struct {
	Generation uint64 `json:"generation"` // rotations so far
	Digest     []byte `json:"digest"`
	Rotated    Origin `json:"rotated"`
}

// RotateGossipKey has the leader draw a new gossip key.
type RotateGossipKey struct{}

// SetCluster replaces the settings. It needs If-Match.
type SetCluster struct {
	Settings lifecycle.Settings `json:"settings"`
	Comment  string             `json:"comment,omitempty"` // why, for those who have to approve it
}
