package lifecycle

// Fence is the barrier behind a command that took a right to sign away. It is
// opened by the entry that narrows (R, its Index), fenced when no correct node can
// pass the release gate with the right again, and settled when no client of ours
// accepts a signature that was on its way then. See cluster/lease.
type Fence struct {
	Rev          uint64       `cbor:"1,keyasint"`
	Index        uint64       `cbor:"2,keyasint"`           // R: the entry that opened it
	Cause        string       `cbor:"3,keyasint"`           // kind of its lifecycle leaf: "key.revoked"
	Key          KeyID        `cbor:"4,keyasint,omitempty"` // "" when it is about no key
	Versions     []uint64     `cbor:"5,keyasint,omitempty"`
	Subject      string       `cbor:"6,keyasint,omitempty"` // principal, token or node name, when it is about one
	Actor        string       `cbor:"7,keyasint"`
	RequestID    string       `cbor:"8,keyasint,omitempty"`
	OpenedAt     Instant      `cbor:"9,keyasint"`
	FencedAt     Instant      `cbor:"10,keyasint,omitempty"` // 0 = open
	FencedIndex  uint64       `cbor:"11,keyasint,omitempty"`
	SettledAt    Instant      `cbor:"12,keyasint,omitempty"` // 0 = not yet
	SettledIndex uint64       `cbor:"13,keyasint,omitempty"`
	Nodes        []FencedNode `cbor:"14,keyasint,omitempty"` // one per node that might have signed, in the order of their ids
}

// Event is the kind of the lifecycle leaf that says what became of the fence:
// "key.fenced" for the Cause "key.revoked" or "instance.lost" and "fenced".
func (f *Fence) Event(what string) string {
	for i := 0; i < len(f.Cause); i++ {
		if f.Cause[i] == '.' {
			if noun := f.Cause[:i]; noun != "instance" {
				return noun + "." + what
			}
			break
		}
	}
	return "key." + what
}

// FencedNode is how one node's right ended.
type FencedNode struct {
	Node    NodeID       `cbor:"1,keyasint" json:"node"`
	Outcome FenceOutcome `cbor:"2,keyasint" json:"outcome"`
	Boot    string       `cbor:"3,keyasint,omitempty" json:"boot_id,omitempty"` // of the process that acknowledged
	At      Instant      `cbor:"4,keyasint" json:"at"`                          // the leader's wall clock when it knew
}

// FenceOutcome is why a node cannot sign any more.
type FenceOutcome string

const (
	Acked        FenceOutcome = "acked"         // it applied R, drained its gate and said so
	LeaseExpired FenceOutcome = "lease_expired" // it was not heard; every lease it may hold has run out
	GoneNode     FenceOutcome = "removed"       // it was quarantined, fenced and removed before
)
