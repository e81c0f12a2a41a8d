package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// ConfirmPurpose says again why a key exists.
type ConfirmPurpose struct {
	BusinessReason string `json:"business_reason"`
	ConfirmBy      Time   `json:"confirm_by,omitzero"` // absent = the time that the settings give
}

// SignatureReport is what a key has signed, as far as the nodes' ledgers say, and how
// much of that is known. Counts are on the first page only.
type SignatureReport struct {
	Key      string          `json:"key"`
	Since    Time            `json:"since"`    // null = since the key was made
	Until    Time            `json:"until"`    // null = until now
	Complete bool            `json:"complete"` // every node's part is known: see nodes
	Released uint64          `json:"released"` // by the nodes that answered
	Open     uint64          `json:"open"`     // uses of the key whose outcome no ledger holds: each may have been released
	Callers  []CallerCount   `json:"callers"`  // most first
	Others   uint64          `json:"others"`   // released for callers beyond those listed
	Items    []SignatureUse  `json:"items"`    // released, oldest first
	OpenUses []SignatureUse  `json:"open_uses"`
	Nodes    []LedgerOfANode `json:"nodes"`
	Next     Text            `json:"next"`
	Position Position        `json:"position"`
	AsOf     Time            `json:"as_of"`
}

// CallerCount is what one caller had signed.
type CallerCount struct {
	Caller   string `json:"caller"`
	Released uint64 `json:"released"`
	Open     uint64 `json:"open"`
}

// SignatureUse is one line of a node's ledger.
type SignatureUse struct {
	At        Time   `json:"at"`
	Node      string `json:"node"`
	Version   uint64 `json:"version"`
	KID       string `json:"kid"`
	Caller    string `json:"caller"`
	Digest    string `json:"digest"` // of what was signed, hex
	RequestID string `json:"request_id"`
	Remote    Text   `json:"remote"`
	Index     uint64 `json:"index"` // strict keys: the entry it stands in; else the state it was admitted on
	Verb      string `json:"verb"`
	Seq       uint64 `json:"seq"`
	Hash      string `json:"hash"`
}

// How much is known of a node's ledger.
const (
	LedgerComplete    = "complete"    // every use in the range is counted
	LedgerPartial     = "partial"     // it answered, and not for all of the range
	LedgerUnreachable = "unreachable" // what is known is its last tally
	LedgerRemoved     = "removed"     // likewise: it is no member any more
)

// LedgerOfANode says how much is known of one node.
type LedgerOfANode struct {
	Node        string           `json:"node"`
	ID          lifecycle.NodeID `json:"id"`
	State       string           `json:"state"`    // complete, partial, unreachable or removed
	KnownTo     Time             `json:"known_to"` // every use of the key before is counted; null = nothing is known
	Why         Text             `json:"why"`      // what is missing, null when complete
	Released    uint64           `json:"released"` // in the range, by its own ledger
	Open        uint64           `json:"open"`
	Tallied     uint64           `json:"tallied"`      // released since the key was made, by its last tally in the log
	TalliedOpen uint64           `json:"tallied_open"` // likewise, without an outcome
	TalliedTo   Time             `json:"tallied_to"`
	Missing     uint64           `json:"missing"` // tallied, and in no ledger
	HeadSeq     uint64           `json:"head_seq,omitempty"`
	Head        Text             `json:"head"`
}

// What the log knows of a strict key's signature.
const (
	SignatureRecorded    = "recorded"
	SignatureNotRecorded = "not_recorded" // and it would, had this cluster released it as anything but a canary
	SignatureUnknown     = "unknown"      // it need not be there, or nobody could look
)

// How a record stands to the time since which the key is compromised.
const (
	BeforeCompromise = "before"
	AfterCompromise  = "after"
)

// SignatureRecord is where a strict key's signature stands in the log.
type SignatureRecord struct {
	State            string `json:"state"` // recorded, not_recorded or unknown
	Why              Text   `json:"why"`
	Index            uint64 `json:"index,omitempty"`
	At               Time   `json:"at"`         // by the clock of the node that wrote the entry
	By               Text   `json:"by"`         // who had it signed; for those who may read the log
	RequestID        Text   `json:"request_id"` // likewise
	CompromisedSince Time   `json:"compromised_since"`
	Stands           Text   `json:"stands"` // before or after compromised_since; null when that is not known
}

// SignedCanary says that what was signed is the text of a canary: a node signed it so
// that a consumer could prove what it verifies with. It shows that its author had the
// key, is no statement by the key's owner about anything, and is never recorded.
type SignedCanary struct {
	Consumer string `json:"consumer"` // whom it was made for
	Instance string `json:"instance"` // of the consumer
}
