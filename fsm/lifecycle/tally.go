package lifecycle

// Tally is what a node says it has done with one of its instances, as of a line of its
// ledger. Released only grows, whatever becomes of the ledger itself.
type Tally struct {
	Rev      uint64  `cbor:"1,keyasint"`
	Key      KeyID   `cbor:"2,keyasint"`
	Version  uint64  `cbor:"3,keyasint"`
	Node     NodeID  `cbor:"4,keyasint"`
	KID      string  `cbor:"5,keyasint"`
	Released uint64  `cbor:"6,keyasint"`           // signatures that passed the release gate
	Open     uint64  `cbor:"7,keyasint,omitempty"` // uses of the key whose outcome is not on record: each may have been released
	LastAt   Instant `cbor:"8,keyasint,omitempty"` // of the last release or open use, by the node's clock
	Seq      uint64  `cbor:"9,keyasint"`           // the line of the ledger up to which this counts
}

// LedgerHead is how far a node's ledger is accounted for in the log. The hash makes the
// ledger up to there unforgeable: whoever rewrites a line of it cannot reach it again.
type LedgerHead struct {
	Rev      uint64        `cbor:"1,keyasint"`
	Node     NodeID        `cbor:"2,keyasint"`
	Seq      uint64        `cbor:"3,keyasint"`
	Hash     []byte        `cbor:"4,keyasint"` // SHA-256 that ends line Seq
	At       Instant       `cbor:"5,keyasint"` // by the node's clock: everything recorded before is counted
	Released uint64        `cbor:"6,keyasint"` // by all instances of the node, ever
	Breaks   []LedgerBreak `cbor:"7,keyasint,omitempty"`
}

// LedgerBreak is the end of one ledger of a node and the beginning of another: the disk
// was lost, or lines were cut off or changed. What was released after KnownAt and before
// At, no tally counts; what was released before, only the tallies do.
type LedgerBreak struct {
	At      Instant `cbor:"1,keyasint" json:"at"`       // when the new ledger was first accounted for
	KnownAt Instant `cbor:"2,keyasint" json:"known_at"` // LedgerHead.At of the old one
	Seq     uint64  `cbor:"3,keyasint" json:"seq"`      // its last line that is accounted for
	Index   uint64  `cbor:"4,keyasint" json:"index"`    // the entry that says so: tallies that are older count lines of the old ledger
}
