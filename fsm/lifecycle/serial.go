package lifecycle

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// SerialBytes is the longest serial number RFC 5280 section 4.1.2.2 allows.
const SerialBytes = 20

// Serial is the serial number of a certificate that this cluster issued, big endian:
// one octet 0x01, which keeps it positive and of one length, the 48 bits of its
// instant in milliseconds, and 104 random bits. It is unique over all issuers. Serials
// sort by time, so new certificates are appended to the tables and not strewn about.
type Serial [SerialBytes]byte

// NewSerial makes a serial of an instant and 104 bits from crypto/rand.
func NewSerial(at Instant, random [13]byte) (s Serial) {
	s[0] = 1
	for i := range 6 {
		s[1+i] = byte(uint64(at) >> (40 - 8*i))
	}
	copy(s[7:], random[:])
	return s
}

// At is the instant the serial was drawn, as the node that drew it saw it.
func (s Serial) At() Instant {
	var n int64
	for _, b := range s[1:7] {
		n = n<<8 | int64(b)
	}
	return Instant(n)
}

// Valid reports whether the serial is of the form this cluster gives out.
func (s Serial) Valid() bool { return s[0] == 1 }

// String is 40 lower-case hex digits.
func (s Serial) String() string { return hex.EncodeToString(s[:]) }

// MarshalText gives the text people see.
func (s Serial) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText accepts what ParseSerial does.
func (s *Serial) UnmarshalText(b []byte) (err error) {
	*s, err = ParseSerial(string(b))
	return err
}

// ParseSerial reads a serial as tools print it: hex digits of any case, with colons or
// spaces between them, with 0x in front, with or without leading zeros.
func ParseSerial(text string) (s Serial, err error) {
	const longest = 256 // enough for any way to write 40 digits
	if len(text) > longest {
		return s, fmt.Errorf("serial of %d characters: write its 40 hex digits", len(text))
	}
	digits := strings.ToLower(strings.TrimSpace(text))
	digits = strings.TrimPrefix(digits, "0x")
	digits = strings.NewReplacer(":", "", " ", "").Replace(digits)
	digits = strings.TrimLeft(digits, "0")
	raw, err := hex.DecodeString("0" + digits)
	if err != nil || len(raw) != SerialBytes || raw[0] != 1 {
		return s, fmt.Errorf("serial %q is none this cluster gives out: those have 40 hex digits and begin with 01", text)
	}
	return Serial(raw), nil
}

// SerialOf reads the content of a DER INTEGER. ok is false for a serial that this
// cluster cannot have given out.
func SerialOf(integer []byte) (s Serial, ok bool) {
	if len(integer) != SerialBytes || integer[0] != 1 {
		return s, false
	}
	return Serial(integer), true
}
