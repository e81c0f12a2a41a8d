package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strconv"
	"time"
	"unicode/utf8"
)

// Why a line is refused. They are wrapped into a BrokenError that says where.
var (
	errLineForm   = errors.New("is not a canonical audit line")
	errLineHash   = errors.New("does not match its own hash")
	errLinkBefore = errors.New("does not follow the segment before it")
)

// parseLine reads one line, given without its newline. A line is accepted only
// if encoding the result again gives the same bytes, so that each record has one
// representation, and if its hash is right. scratch is reused for the check and
// returned.
func parseLine(line, scratch []byte) (Entry, []byte, error) {
	var e Entry
	c := cursor{rest: line}
	c.literal(`{"seq":`)
	e.Seq = c.number()
	c.literal(`,"prev":`)
	e.Prev = c.text()
	c.literal(`,"at":`)
	e.At = c.instant()
	e.Node = c.member(`,"node":`)
	e.Kind = Kind(c.member(`,"kind":`))
	e.Principal = c.member(`,"principal":`)
	e.Verb = c.member(`,"verb":`)
	e.Key = c.member(`,"key":`)
	e.Version = c.optionalNumber(`,"version":`)
	e.KID = c.member(`,"kid":`)
	e.RequestID = c.member(`,"request_id":`)
	e.Remote = c.member(`,"remote":`)
	c.literal(`,"allowed":`)
	e.Allowed = c.boolean()
	e.Code = c.member(`,"code":`)
	e.Detail = c.member(`,"detail":`)
	e.Digest = c.member(`,"digest":`)
	e.Index = c.optionalNumber(`,"index":`)
	c.literal(`,"hash":`)
	e.Hash = c.text()
	c.literal(`}`)
	if c.failed || len(c.rest) > 0 || e.Seq == 0 || len(e.Prev) != len(zeroHash) || e.check() != nil {
		return Entry{}, scratch, errLineForm
	}
	scratch = scratch[:0]
	scratch = append(e.AppendJSON(scratch), '\n')
	if err := sameLine(line, scratch[:len(scratch)-1]); err != nil {
		return Entry{}, scratch, err
	}
	return e, scratch, nil
}

// sameLine tells a line that is not canonical from one whose hash is wrong: both
// end in a hash member of fixed length.
func sameLine(got, want []byte) error {
	if bytes.Equal(got, want) {
		return nil
	}
	const tail = len(`"}`) + 2*sha256.Size
	if len(got) == len(want) && bytes.Equal(got[:len(got)-tail], want[:len(want)-tail]) {
		return errLineHash
	}
	return errLineForm
}

// cursor reads canonical JSON members one after the other. After the first
// mismatch it stays failed.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) has(s string) bool {
	if c.failed || len(c.rest) < len(s) || string(c.rest[:len(s)]) != s {
		return false
	}
	c.rest = c.rest[len(s):]
	return true
}

func (c *cursor) literal(s string) {
	if !c.has(s) {
		c.failed = true
	}
}

func (c *cursor) member(name string) string {
	if !c.has(name) {
		return ""
	}
	return c.text()
}

func (c *cursor) optionalNumber(name string) uint64 {
	if !c.has(name) {
		return 0
	}
	return c.number()
}

func (c *cursor) boolean() bool {
	if c.has("true") {
		return true
	}
	c.literal("false")
	return false
}

func (c *cursor) number() uint64 {
	n := 0
	for n < len(c.rest) && c.rest[n] >= '0' && c.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseUint(string(c.rest[:n]), 10, 64)
	if err != nil {
		c.failed = true
	}
	c.rest = c.rest[n:]
	return v
}

func (c *cursor) instant() time.Time {
	s := c.text()
	at, err := time.Parse(instantLayout, s)
	if err != nil {
		c.failed = true
	}
	return at
}

// text reads a JSON string with the escapes that appendString writes; whether it
// was the canonical choice is found out by encoding again.
func (c *cursor) text() string {
	c.literal(`"`)
	if c.failed {
		return ""
	}
	end := bytes.IndexByte(c.rest, '"')
	if end >= 0 && bytes.IndexByte(c.rest[:end], '\\') < 0 {
		s := string(c.rest[:end])
		c.rest = c.rest[end+1:]
		return s
	}
	return c.escapedText()
}

func (c *cursor) escapedText() string {
	var out []byte
	for i := 0; i < len(c.rest); i++ {
		switch b := c.rest[i]; b {
		case '"':
			c.rest = c.rest[i+1:]
			return string(out)
		case '\\':
			r, size := unescape(c.rest[i+1:])
			if size == 0 {
				c.failed = true
				return ""
			}
			out = utf8.AppendRune(out, r)
			i += size
		default:
			out = append(out, b)
		}
	}
	c.failed = true
	return ""
}

// unescape reads what follows a backslash; size 0 means that it is no escape of
// ours.
func unescape(b []byte) (r rune, size int) {
	if len(b) == 0 {
		return 0, 0
	}
	if b[0] == '"' || b[0] == '\\' {
		return rune(b[0]), 1
	}
	var raw [2]byte
	if b[0] != 'u' || len(b) < 5 {
		return 0, 0
	}
	if _, err := hex.Decode(raw[:], b[1:5]); err != nil {
		return 0, 0
	}
	return rune(raw[0])<<8 | rune(raw[1]), 5
}
