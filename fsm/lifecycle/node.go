package lifecycle

// NodeStatus is what the cluster thinks of a node; membership of the Raft
// configuration is Raft's, this is the authority's.
type NodeStatus string

const (
	Member      NodeStatus = "member"
	Quarantined NodeStatus = "quarantined" // may not sign; the step before removal
	Removed     NodeStatus = "removed"
)

// Addrs are the host:port pairs under which a node's listeners are reached.
type Addrs struct {
	Node   string `cbor:"1,keyasint" json:"node"`
	API    string `cbor:"2,keyasint" json:"api"`
	Public string `cbor:"3,keyasint" json:"public"`
	Gossip string `cbor:"4,keyasint,omitempty" json:"gossip,omitempty"`
}

// Node is a member of the cluster.
type Node struct {
	Rev         uint64     `cbor:"1,keyasint"`
	ID          NodeID     `cbor:"2,keyasint"`
	Name        string     `cbor:"3,keyasint"` // node_name: a label, unique among members
	Incarnation string     `cbor:"4,keyasint"` // of its data directory; Raft's ServerID is ID.Incarnation
	Addrs       Addrs      `cbor:"5,keyasint"`
	CACert      []byte     `cbor:"6,keyasint"` // DER, this node's CA instance
	Voter       bool       `cbor:"7,keyasint,omitempty"`
	Signer      bool       `cbor:"8,keyasint,omitempty"`
	Status      NodeStatus `cbor:"9,keyasint"`
	MaxFormat   uint64     `cbor:"10,keyasint"` // newest Format its binary supports
	Version     string     `cbor:"11,keyasint,omitempty"`
	Driver      string     `cbor:"12,keyasint,omitempty"`
	Joined      Origin     `cbor:"13,keyasint"`
	RemovedAt   Instant    `cbor:"14,keyasint,omitempty"`

	// QuarantineIndex is the fence of its quarantine, 0 when it is not quarantined.
	// The node is not removed before that fence stands, so that no later fence has
	// to wait for a lease of a node that is gone.
	QuarantineIndex uint64 `cbor:"15,keyasint,omitempty"`
	Seals           []Seal `cbor:"16,keyasint,omitempty"` // oldest first, lifted ones included
	ResponderKey    []byte `cbor:"40,keyasint,omitempty"` // DER SubjectPublicKeyInfo of the key it answers OCSP requests with; nil = none yet
}

// ServerID is the node's identity in the Raft configuration: a wiped data
// directory has a new incarnation and is a new server, never the old voter with
// its memory gone.
func (n *Node) ServerID() string { return string(n.ID) + "." + n.Incarnation }

// Signs reports whether the node should hold instances and may use them.
func (n *Node) Signs() bool { return n.Signer && n.Status == Member }
