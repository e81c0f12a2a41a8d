package lifecycle

import (
	"encoding/hex"
	"fmt"
)

// KeyID is the name of a Key; it is its identity for ever and is never reused.
type KeyID string

// NodeID is the hex SHA-256 of a node's identity SPKI: 64 lower-case digits.
type NodeID string

// Short is what people see where a full id would be noise.
func (n NodeID) Short() string {
	if len(n) > 8 {
		return string(n[:8])
	}
	return string(n)
}

// MaxNameBytes bounds names of keys, principals and nodes.
const MaxNameBytes = 63

// CheckName validates a name: [a-z0-9][a-z0-9-]{0,62}. what is the noun for the
// message ("key", "principal", ...).
func CheckName(what, s string) error {
	if s == "" {
		return fmt.Errorf("the %s has no name", what)
	}
	if len(s) > MaxNameBytes {
		return fmt.Errorf("%s name of %d characters: at most %d are allowed", what, len(s), MaxNameBytes)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case c == '-' && i > 0:
		default:
			return fmt.Errorf("%s name %q: use a-z, 0-9 and '-', beginning with a letter or digit", what, s)
		}
	}
	return nil
}

// Printable reports whether s is UTF-8 without control characters, line separators
// and marks that turn the direction of writing: texts end up in log leaves,
// terminals and CSV files, where they must not pretend to be more.
func Printable(s string) bool {
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0: // C0, DEL, C1
			return false
		case r >= 0x2028 && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // separators, bidi controls
			return false
		case r == 0xfffd: // what range makes of a byte that is not UTF-8
			return false
		}
	}
	return true
}

// CheckNodeID validates the hex form.
func CheckNodeID(n NodeID) error {
	if len(n) != 64 {
		return fmt.Errorf("node id of %d characters: 64 hex digits are needed", len(n))
	}
	for i := 0; i < len(n); i++ {
		if c := n[i]; !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return fmt.Errorf("node id %q is not lower-case hex", string(n))
		}
	}
	return nil
}

// CKAID is the 16-byte PKCS#11 CKA_ID under which an instance's key pair is kept.
type CKAID [16]byte

func (id CKAID) String() string { return hex.EncodeToString(id[:]) }
