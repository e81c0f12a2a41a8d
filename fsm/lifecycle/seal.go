package lifecycle

// Seal is an order given on a node, over its own socket, that it must not sign. It
// binds the node before and without the cluster; here the cluster remembers it.
type Seal struct {
	ID       string  `cbor:"1,keyasint" json:"id"`                      // 64 random bits, hex
	Key      KeyID   `cbor:"2,keyasint,omitempty" json:"key,omitempty"` // "" = every key
	Reason   string  `cbor:"3,keyasint,omitempty" json:"reason,omitempty"`
	At       Instant `cbor:"4,keyasint" json:"at"` // by the node's wall clock
	By       string  `cbor:"5,keyasint" json:"by"`
	LiftedAt Instant `cbor:"6,keyasint,omitempty" json:"lifted_at,omitempty"` // 0 = it holds
	LiftedBy string  `cbor:"7,keyasint,omitempty" json:"lifted_by,omitempty"`
}

// Covers reports whether the seal holds and forbids signing with the key.
func (s *Seal) Covers(key KeyID) bool {
	return s.LiftedAt == 0 && (s.Key == "" || s.Key == key)
}

// SealedFor is the seal that forbids the node to sign with the key, nil when none
// does. For key "" only a seal of the whole node counts.
func (n *Node) SealedFor(key KeyID) *Seal {
	for i := range n.Seals {
		if n.Seals[i].Covers(key) {
			return &n.Seals[i]
		}
	}
	return nil
}

// Seal finds a seal by its id, lifted or not; nil when it is not known.
func (n *Node) Seal(id string) *Seal {
	for i := range n.Seals {
		if n.Seals[i].ID == id {
			return &n.Seals[i]
		}
	}
	return nil
}
