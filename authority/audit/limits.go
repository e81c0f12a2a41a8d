package audit

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// Every bound of this package, with its reason.
const (
	maxNodeBytes      = 64   // a label
	maxKindBytes      = 32   // our own words
	maxPrincipalBytes = 256  // a principal's URI with room
	maxVerbBytes      = 64   // our own words
	maxKeyBytes       = 63   // the grammar of key names
	maxKIDBytes       = 64   // 43 characters of thumbprint
	maxRequestIDBytes = 64   // a UUID is 36
	maxRemoteBytes    = 128  // an IPv6 address with zone and port
	maxCodeBytes      = 64   // our own words
	maxDetailBytes    = 1024 // longer details are cut, not refused: they may quote a caller
	maxDigestBytes    = 128  // SHA-512 in hex

	// An escaped byte takes at most six characters, so a line with every field
	// full of control characters still fits.
	maxLineBytes = 16 << 10

	// A caller that waits is one record; more than this many waiting means that the
	// disk hangs, and the callers are better told so.
	maxQueuedRecords = 16 << 10
	// Outcomes nobody waits for may take only part of the queue, so that they never
	// keep out a decision.
	maxQueuedAsync  = 4 << 10
	maxBatchRecords = 1 << 10 // one AppendBatch
	// One write of the committer, unless a single batch of a caller is larger. It
	// bounds what a crash of the machine can leave half written, and so how much of a
	// damaged end may pass for that.
	maxCommitBytes = 256 << 10
	placeBytes     = 192 // seq, prev and hash of a line, with room
	sectorBytes    = 512 // what a disk writes whole or not at all
	// Space is reserved in such steps: some 2,500 records.
	reserveBytes = 1 << 20
	// The committer's buffer goes back to the collector when one commit made it
	// larger than this.
	maxIdleBufferBytes = 1 << 20

	// A segment is the unit that Open reads and rewrites: 16 MiB is about 40,000
	// records and well under a second.
	defaultSegmentBytes = 16 << 20
	maxSegmentBytes     = 1 << 30

	// Outcomes ride with the next sync, but wait no longer than this for one.
	defaultFlushDelay = time.Second
)

// fit makes a detail storable. It may quote a hostile caller, so it is repaired
// and cut where every other field is refused.
func (r *Record) fit() {
	if !utf8.ValidString(r.Detail) {
		r.Detail = strings.ToValidUTF8(r.Detail, "\uFFFD")
	}
	if len(r.Detail) <= maxDetailBytes {
		return
	}
	const mark = "…"
	end := maxDetailBytes - len(mark)
	for end > 0 && !utf8.RuneStart(r.Detail[end]) {
		end--
	}
	r.Detail = r.Detail[:end] + mark
}

// check refuses a record that does not fit the format.
func (r *Record) check() error {
	for _, f := range [...]struct {
		name  string
		value string
		max   int
	}{
		{"principal", r.Principal, maxPrincipalBytes},
		{"verb", r.Verb, maxVerbBytes},
		{"key", r.Key, maxKeyBytes},
		{"kid", r.KID, maxKIDBytes},
		{"request_id", r.RequestID, maxRequestIDBytes},
		{"remote", r.Remote, maxRemoteBytes},
		{"code", r.Code, maxCodeBytes},
		{"detail", r.Detail, maxDetailBytes},
		{"digest", r.Digest, maxDigestBytes},
	} {
		if len(f.value) > f.max {
			return fmt.Errorf("%w: %s has %d bytes, at most %d are allowed", ErrInvalid, f.name, len(f.value), f.max)
		}
		if !utf8.ValidString(f.value) {
			return fmt.Errorf("%w: %s is not UTF-8", ErrInvalid, f.name)
		}
	}
	if !validKind(r.Kind) {
		return fmt.Errorf("%w: kind must be 1 to %d characters of a-z and dot", ErrInvalid, maxKindBytes)
	}
	for i := 0; i < len(r.Digest); i++ {
		if c := r.Digest[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return fmt.Errorf("%w: digest is not lower-case hex", ErrInvalid)
		}
	}
	if !validInstant(r.At) {
		return fmt.Errorf("%w: at lies outside the years 1970 to 9999", ErrInvalid)
	}
	return nil
}

func validKind(k Kind) bool {
	if k == "" || len(k) > maxKindBytes {
		return false
	}
	for i := 0; i < len(k); i++ {
		if c := k[i]; (c < 'a' || c > 'z') && c != '.' {
			return false
		}
	}
	return true
}

// validInstant is false where RFC 3339 cannot write the instant.
func validInstant(at time.Time) bool {
	year := at.UTC().Year()
	return year >= 1970 && year <= 9999
}
