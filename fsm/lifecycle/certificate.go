package lifecycle

import (
	"bytes"
	"fmt"
)

// CertState is how far a certificate has come. Expired is no state: it is what NotAfter
// says. The zero value is invalid.
type CertState uint8

const (
	CertIntent  CertState = iota + 1 // its serial and TBS hash stand; it may have been signed, and counts so
	CertIssued                       // signed and recorded: it may be given out
	CertHeld                         // on the CRL with certificateHold; may be released
	CertRevoked                      // on the CRL for good
)

// CertStates lists every valid state.
var CertStates = []CertState{CertIntent, CertIssued, CertHeld, CertRevoked}

var certStateNames = [...]string{"invalid", "intent", "issued", "held", "revoked"}

func (s CertState) String() string {
	if int(s) < len(certStateNames) {
		return certStateNames[s]
	}
	return "invalid"
}

// MarshalText gives the name users see.
func (s CertState) MarshalText() ([]byte, error) {
	if s < CertIntent || s > CertRevoked {
		return nil, fmt.Errorf("invalid certificate state %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText accepts exactly the names MarshalText gives.
func (s *CertState) UnmarshalText(b []byte) error {
	for _, v := range CertStates {
		if v.String() == string(b) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("unknown certificate state %q", b)
}

// CertRevocation says why, since when and by whom a certificate is on the CRL.
type CertRevocation struct {
	Reason       Reason  `cbor:"1,keyasint" json:"reason"`
	At           Instant `cbor:"2,keyasint" json:"at"` // revocationDate
	By           string  `cbor:"3,keyasint" json:"by"`
	InvalidityAt Instant `cbor:"4,keyasint,omitempty" json:"invalidity_at,omitempty"` // RFC 5280 section 5.3.2; 0 = none
	Comment      string  `cbor:"5,keyasint,omitempty" json:"comment,omitempty"`
	Index        uint64  `cbor:"6,keyasint" json:"index"`
	Unrecorded   bool    `cbor:"7,keyasint,omitempty" json:"unrecorded,omitempty"` // its record never came, or too late: it was not given out
}

// Certificate is a certificate that an instance of an issuer signed, or may have signed.
// The certificate itself, its DER, is kept beside it.
type Certificate struct {
	Rev         uint64          `cbor:"1,keyasint"`
	Serial      Serial          `cbor:"2,keyasint"`
	Issuer      KeyID           `cbor:"3,keyasint"`
	IssuerKID   string          `cbor:"4,keyasint"`
	Version     uint64          `cbor:"-"` // of the issuer; filled in from the kid when it is read
	Node        NodeID          `cbor:"-"` // likewise
	Profile     string          `cbor:"5,keyasint"`
	ProfileHash []byte          `cbor:"6,keyasint"` // SHA-256 of the profile as it was used
	TBSHash     []byte          `cbor:"7,keyasint"` // SHA-256 of the TBSCertificate
	State       CertState       `cbor:"8,keyasint"`
	Subject     string          `cbor:"9,keyasint,omitempty"` // common name
	DNS         []string        `cbor:"10,keyasint,omitempty"`
	IPs         []string        `cbor:"11,keyasint,omitempty"`
	URIs        []string        `cbor:"12,keyasint,omitempty"`
	Emails      []string        `cbor:"13,keyasint,omitempty"`
	NotBefore   Instant         `cbor:"14,keyasint"`
	NotAfter    Instant         `cbor:"15,keyasint"`
	Requester   string          `cbor:"16,keyasint"`
	RequestID   string          `cbor:"17,keyasint,omitempty"`
	SPKIHash    []byte          `cbor:"18,keyasint"` // SHA-256 of the subject's SubjectPublicKeyInfo
	IntentAt    Instant         `cbor:"19,keyasint"`
	DeadlineAt  Instant         `cbor:"20,keyasint,omitempty"` // when the intent counts as lost; 0 once it is recorded
	IssuedAt    Instant         `cbor:"21,keyasint,omitempty"`
	Index       uint64          `cbor:"22,keyasint,omitempty"` // of the entry that recorded it; before that, of the one that announced it
	Revocation  *CertRevocation `cbor:"23,keyasint,omitempty"`
	Replaces    *Serial         `cbor:"24,keyasint,omitempty"` // renewed from
	TokenID     string          `cbor:"26,keyasint,omitempty"` // the requester's, until it is recorded
	ByReplaced  bool            `cbor:"27,keyasint,omitempty"` // the certificate that it replaces asked for it
	ReplacedBy  *Serial         `cbor:"25,keyasint,omitempty"`
}

// Names are the names a verifier may match, each once, as they stand in the index:
// lower case, common name included.
func (c *Certificate) Names() []string { return IndexNames(c.Subject, c.DNS, c.IPs, c.URIs, c.Emails) }

// IsLive reports whether the certificate could pass for valid at an instant: it was, or
// may have been, issued, is not on the CRL and has not expired.
func (c *Certificate) IsLive(now Instant) bool {
	return (c.State == CertIntent || c.State == CertIssued) && now <= c.NotAfter
}

// ExpiryWarning is how long before its end a certificate is called expiring.
const ExpiryWarning = 7 * Day

// CertMark is a place in the order in which certificates end.
type CertMark struct {
	NotAfter Instant `cbor:"1,keyasint"`
	Serial   Serial  `cbor:"2,keyasint"`
}

// Before reports whether m comes earlier than other.
func (m CertMark) Before(other CertMark) bool {
	if m.NotAfter != other.NotAfter {
		return m.NotAfter < other.NotAfter
	}
	return bytes.Compare(m.Serial[:], other.Serial[:]) < 0
}

// NeedsWarning reports whether somebody should hear that the certificate ends soon: it
// has no successor, and it lives so long that it was not about to end from the first.
// The cluster renews its own responder certificates.
func (c *Certificate) NeedsWarning() bool {
	return c.State == CertIssued && c.ReplacedBy == nil && c.Profile != ProfileOCSP && c.NotAfter-c.NotBefore > Instant(2*ExpiryWarning)
}

// IndexNames lists names as the index of certificates holds them.
func IndexNames(subject string, lists ...[]string) (out []string) {
	add := func(name string) {
		if name = IndexName(name); name != "" && !contains(out, name) {
			out = append(out, name)
		}
	}
	add(subject)
	for _, l := range lists {
		for _, n := range l {
			add(n)
		}
	}
	return out
}

// IndexName is a name as the index of certificates has it: ASCII letters in lower case.
// Others are left alone: host names in certificates are ASCII, and what Unicode calls
// lower case changes with its version.
func IndexName(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// CertTally counts what one instance of an issuer signed.
type CertTally struct {
	Rev       uint64 `cbor:"1,keyasint"`
	KID       string `cbor:"2,keyasint"`
	Intents   uint64 `cbor:"3,keyasint,omitempty"` // open now
	Issued    uint64 `cbor:"4,keyasint,omitempty"` // ever, revoked ones included
	Revoked   uint64 `cbor:"5,keyasint,omitempty"` // ever, held ones not included
	Held      uint64 `cbor:"6,keyasint,omitempty"` // now
	Abandoned uint64 `cbor:"7,keyasint,omitempty"` // intents that counted as lost, part of Revoked
	OnCRL     uint64 `cbor:"8,keyasint,omitempty"` // entries its next CRL has

	// IssuedIndex is the last entry that made a certificate known, RevokedIndex the last
	// that put one on the CRL or took one off: an answer about a certificate that was
	// made from a state at or after them is still right.
	IssuedIndex  uint64 `cbor:"9,keyasint,omitempty"`
	RevokedIndex uint64 `cbor:"10,keyasint,omitempty"`

	// LastNotAfter is the end of the certificate that lives longest of all that were
	// announced, CA certificates below it included and OCSP delegates not: so long somebody
	// asks for the CRL.
	LastNotAfter Instant `cbor:"11,keyasint,omitempty"`
}

// MatchGlob reports whether s matches a pattern in which '*' stands for any run of
// characters, the empty one too.
func MatchGlob(pattern, s string) bool { return match(pattern, s) }
