// Package audit is a node's own record of what it decided and what it signed:
// an append-only, hash-chained journal on the local disk. No record, no action:
// a caller acts only after Append has returned without an error, and Append
// returns only after the record is on the disk.
//
// Threat model. Each line carries the SHA-256 of everything before its own hash,
// the hash of the line before it included, so that changing, removing or
// inserting a line breaks the chain from there on. Whoever can write to the disk
// can still cut whole lines off the end, or rewrite everything from some line to
// the end, because no secret goes into the chain; that shows only against a head
// (sequence number and hash) kept somewhere else. Verify takes such heads as
// anchors.
//
// Failure model. A failed write or sync is never repeated: after a failed fsync
// the kernel may have dropped the pages and report the next one as good. The
// journal is then poisoned, every Append answers ErrUnavailable, and the node
// must be started again, which reads back and rewrites the last segment.
//
// Space is reserved ahead of the records with zeros, which a sync does not have to
// allocate. A killed node leaves them at the end of the last segment; no line holds a
// zero, so readers know them. A stop of the machine may leave some sectors of the
// last, unacknowledged write: see torn.
//
// Concurrency model. Any goroutine may append. Callers encode their own records;
// one committer goroutine numbers, chains and writes all that has queued up while
// the sync before was running, with one write and one fdatasync, so a lone record
// costs exactly one sync and a crowd shares one.
package audit

import (
	"errors"
	"time"
)

// Sentinels. Callers test with errors.Is.
var (
	// ErrUnavailable is returned when the disk has refused a write or a sync. It
	// stays until the journal is opened again.
	ErrUnavailable = errors.New("audit journal is unavailable")
	// ErrBusy is returned when the queue is full. Nothing was recorded.
	ErrBusy = errors.New("audit queue is full")
	// ErrInvalid is returned for a record outside the bounds of limits.go.
	ErrInvalid = errors.New("invalid audit record")
	// ErrBroken is returned when the stored chain does not hold.
	ErrBroken = errors.New("audit chain is broken")
	// ErrLocked is returned when another process holds the directory.
	ErrLocked = errors.New("audit directory is in use")
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("audit journal is closed")
)

// Kind says what a record reports. Kinds are part of the file format: they are
// added, never renamed.
type Kind string

const (
	Decision     Kind = "decision"      // a caller's request was allowed or denied
	Outcome      Kind = "outcome"       // how an allowed request ended
	BreakGlass   Kind = "glass.broken"  // a change that needs approvals was asked for without them
	SignIntent   Kind = "sign.intent"   // the key is about to be used
	SignReleased Kind = "sign.released" // the signature passed the release gate
	SignRefused  Kind = "sign.refused"  // a signature was made, or asked for, and not released
	Start        Kind = "start"         // the node began to serve
	Stop         Kind = "stop"          // the node stopped in order
	Recovered    Kind = "recovered"     // Open dropped an incomplete last line
)

// Record is one event. Empty strings and zero numbers are left out of the stored
// line, Allowed is always written.
type Record struct {
	At        time.Time // stored in UTC to the millisecond; the journal's clock when zero
	Node      string    // set by the journal
	Kind      Kind
	Principal string
	Verb      string
	Key       string
	Version   uint64
	KID       string // RFC 7638 thumbprint of the instance used
	RequestID string
	Remote    string // the caller's network address
	Allowed   bool
	Code      string // error code of the wire, empty when all went well
	Detail    string // cut to maxDetailBytes; never secrets
	Digest    string // lower-case hex: of what is signed, or of the command
	Index     uint64 // state index the decision was made on, or the command's own
}

// Entry is a stored record with its place in the chain.
type Entry struct {
	Seq  uint64 // 1 for a journal's first record, no gaps
	Prev string // hash of the line before, hex
	Hash string // SHA-256 of this line up to its hash member, hex
	Record
}

// Head names the last line of a chain. Kept elsewhere, it proves later that
// nothing up to it was changed.
type Head struct {
	Seq  uint64 `json:"seq"`
	Hash string `json:"hash"`
}
