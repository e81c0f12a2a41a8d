package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"
	"unicode/utf8"
)

// hexHash is a SHA-256 in lower-case hex, an array so that chaining allocates
// nothing.
type hexHash [2 * sha256.Size]byte

// zeroHash stands before the first line of a journal.
var zeroHash = func() (h hexHash) {
	for i := range h {
		h[i] = '0'
	}
	return h
}()

const instantLayout = "2006-01-02T15:04:05.000Z"

// appendBody appends the members of a record that do not depend on its place in
// the chain, in canonical order, each with the comma before it. Callers do this
// on their own goroutine; the committer adds seq, prev and hash.
func appendBody(dst []byte, r *Record, node string) []byte {
	dst = append(dst, `,"at":"`...)
	dst = appendInstant(dst, r.At)
	dst = append(dst, '"')
	dst = appendMember(dst, `,"node":`, node)
	dst = appendMember(dst, `,"kind":`, string(r.Kind))
	dst = appendMember(dst, `,"principal":`, r.Principal)
	dst = appendMember(dst, `,"verb":`, r.Verb)
	dst = appendMember(dst, `,"key":`, r.Key)
	dst = appendNumber(dst, `,"version":`, r.Version)
	dst = appendMember(dst, `,"kid":`, r.KID)
	dst = appendMember(dst, `,"request_id":`, r.RequestID)
	dst = appendMember(dst, `,"remote":`, r.Remote)
	if r.Allowed {
		dst = append(dst, `,"allowed":true`...)
	} else {
		dst = append(dst, `,"allowed":false`...)
	}
	dst = appendMember(dst, `,"code":`, r.Code)
	dst = appendMember(dst, `,"detail":`, r.Detail)
	dst = appendMember(dst, `,"digest":`, r.Digest)
	return appendNumber(dst, `,"index":`, r.Index)
}

// appendLine appends one whole line, newline included, and returns its hash.
func appendLine(dst []byte, seq uint64, prev *hexHash, body []byte) ([]byte, hexHash) {
	start := len(dst)
	dst = appendPlace(dst, seq, prev[:])
	dst = append(dst, body...)
	return appendHash(dst, start)
}

// appendPlace opens a line with its place in the chain.
func appendPlace[T string | []byte](dst []byte, seq uint64, prev T) []byte {
	dst = append(dst, `{"seq":`...)
	dst = strconv.AppendUint(dst, seq, 10)
	dst = append(dst, `,"prev":"`...)
	dst = append(dst, prev...)
	return append(dst, '"')
}

// appendHash closes the line that begins at start with the hash over all of it.
func appendHash(dst []byte, start int) ([]byte, hexHash) {
	sum := sha256.Sum256(dst[start:])
	var h hexHash
	hex.Encode(h[:], sum[:])
	dst = append(dst, `,"hash":"`...)
	dst = append(dst, h[:]...)
	return append(dst, '"', '}', '\n'), h
}

// AppendJSON appends the entry's line as it is stored, without the newline.
func (e *Entry) AppendJSON(dst []byte) []byte {
	start := len(dst)
	dst = appendPlace(dst, e.Seq, e.Prev)
	dst = appendBody(dst, &e.Record, e.Node)
	dst, _ = appendHash(dst, start)
	return dst[:len(dst)-1]
}

// MarshalJSON is the stored line, so that an exported record still verifies.
func (e Entry) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

func appendInstant(dst []byte, at time.Time) []byte {
	return at.UTC().AppendFormat(dst, instantLayout)
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return appendString(append(dst, name...), value)
}

func appendNumber(dst []byte, name string, value uint64) []byte {
	if value == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), value, 10)
}

// appendString appends a JSON string. There is exactly one encoding for each
// value: quote, backslash, controls and the invisible characters of hidden() are
// escaped as \u00xx (quote and backslash with a backslash), bytes that are not
// UTF-8 become U+FFFD, all else stands as it is. So a log viewer's terminal sees
// no escape sequence and no text that runs backwards.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			if r, size = utf8.DecodeRuneInString(s[i:]); !hidden(r) && (r != utf8.RuneError || size > 1) {
				i += size
				continue
			}
		}
		dst = append(dst, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case r == utf8.RuneError:
			dst = append(dst, "\uFFFD"...)
		default:
			dst = appendEscape(dst, r)
		}
		i += size
		from = i
	}
	return append(append(dst, s[from:]...), '"')
}

func appendEscape(dst []byte, r rune) []byte {
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15])
}

// hidden lists the characters above ASCII that change how text looks without
// being seen: C1 controls, zero width and direction marks, line separators. The
// list is fixed because it is part of the file format; Unicode tables move.
func hidden(r rune) bool {
	switch {
	case r >= 0x80 && r <= 0x9f, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e,
		r >= 0x2060 && r <= 0x206f, r == 0xfeff:
		return true
	}
	return false
}
