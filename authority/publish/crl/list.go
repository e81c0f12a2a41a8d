// Package crl makes certificate revocation lists (RFC 5280 section 5) out of entries
// that were encoded when their certificates were revoked.
//
// A list may have a million entries, so it is spliced: the entries are copied once into
// one buffer, with room in front for what comes before them and behind for the
// signature; the to-be-signed bytes and the finished list are parts of that buffer. It
// costs little more than copying and hashing, and little more memory than the list.
//
// A full list has no issuing distribution point: GnuTLS was seen to accept a revoked
// certificate, and NSS to refuse the list, where lists are sharded under a critical one.
// A Shard has it, and stands beside the full list, never in its place.
//
// Everything here is pure: the number, the times and the entries come from the log, so
// every node makes the same bytes from them, and a number can stand for one hash.
package crl

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	// ErrEntry is returned for an entry that is not one element of DER.
	ErrEntry = errors.New("not a CRL entry")
	// ErrList is returned for bytes that are no CRL, or another one than the log says.
	ErrList = errors.New("not the CRL that the log knows")
)

// Issuer is the instance that signs a list.
type Issuer struct {
	Subject []byte // of its CA certificate, the Name in DER, byte for byte
	KeyID   []byte // its subjectKeyIdentifier
	Alg     lifecycle.Algorithm
}

// List is what a CRL says beside its entries.
type List struct {
	Issuer     Issuer
	Number     uint64 // cRLNumber; one list has it, for ever
	ThisUpdate lifecycle.Instant
	NextUpdate lifecycle.Instant
	Shard      string // URL of the distribution point that this list is for; "" = the full list
}

// Draft is a list that is not signed yet. It belongs to one goroutine.
type Draft struct {
	Entries int // how many there are

	buffer    []byte
	tbs       int    // where the TBSCertList begins
	algorithm []byte // of the signature
}

const (
	outerHeader = 1 + 5 // identifier, and a length of up to 4 GiB
	// signatureRoom is for AlgorithmIdentifier and BIT STRING, up to RSA of 4096 bits.
	signatureRoom = 768
)

// Draft splices a list. sizeHint is about how many bytes the entries have; a hint that is
// too small costs copying. The sequence gives each entry in DER, in any order; it may use
// the same memory for the next one.
func (l *List) Draft(sizeHint int, entries iter.Seq2[[]byte, error]) (*Draft, error) {
	algorithm, err := hsm.AlgorithmIdentifier(l.Issuer.Alg)
	if err != nil {
		return nil, fmt.Errorf("make a CRL: %w", err)
	}
	head, err := l.head(algorithm)
	if err != nil {
		return nil, fmt.Errorf("make a CRL: %w", err)
	}
	tail, err := l.tail()
	if err != nil {
		return nil, fmt.Errorf("make a CRL: %w", err)
	}
	room := outerHeader + outerHeader + len(head) + outerHeader
	d := &Draft{buffer: make([]byte, room, room+sizeHint+len(tail)+signatureRoom), algorithm: algorithm}
	if err := d.splice(entries); err != nil {
		return nil, fmt.Errorf("make a CRL: %w", err)
	}
	at, end := room, len(d.buffer)
	if d.Entries > 0 { // revokedCertificates is absent when empty, section 5.1.2.6
		at = d.prepend(at, header(asn1.SEQUENCE, end-at))
	}
	d.buffer = append(d.buffer, tail...)
	at = d.prepend(at, head)
	d.tbs = d.prepend(at, header(asn1.SEQUENCE, len(d.buffer)-at))
	if len(d.buffer) > math.MaxInt32 {
		return nil, fmt.Errorf("make a CRL: %d bytes are more than anybody reads", len(d.buffer))
	}
	return d, nil
}

// splice copies the entries.
func (d *Draft) splice(entries iter.Seq2[[]byte, error]) error {
	for entry, err := range entries {
		if err != nil {
			return err //nolint:wrapcheck // Draft says what it was for
		}
		if !isElement(entry) {
			return fmt.Errorf("entry %d: %x: %w", d.Entries, entry, ErrEntry)
		}
		d.buffer = append(d.buffer, entry...)
		d.Entries++
	}
	return nil
}

// isElement reports whether b is one SEQUENCE of less than 128 bytes and nothing else:
// serial, time, reason and invalidity date have at most 90.
func isElement(b []byte) bool {
	return len(b) > 2 && b[0] == byte(asn1.SEQUENCE) && b[1] < 0x80 && int(b[1]) == len(b)-2
}

// prepend writes b in front of at, into the room that was left.
func (d *Draft) prepend(at int, b []byte) int {
	at -= len(b)
	copy(d.buffer[at:], b)
	return at
}

// TBS is what is to be signed.
func (d *Draft) TBS() []byte { return d.buffer[d.tbs:] }

// Finish appends the signature: the whole CertificateList in DER. The draft is used up.
func (d *Draft) Finish(signature []byte) []byte {
	d.buffer = append(d.buffer, d.algorithm...)
	d.buffer = append(d.buffer, header(asn1.BIT_STRING, len(signature)+1)...)
	d.buffer = append(d.buffer, 0) // unused bits
	d.buffer = append(d.buffer, signature...)
	at := d.prepend(d.tbs, header(asn1.SEQUENCE, len(d.buffer)-d.tbs))
	return d.buffer[at:]
}

// header is an identifier octet and a length in its shortest form.
func header(tag asn1.Tag, length int) []byte {
	switch {
	case length < 0x80:
		return []byte{byte(tag), byte(length)}
	case length < 1<<8:
		return []byte{byte(tag), 0x81, byte(length)}
	case length < 1<<16:
		return []byte{byte(tag), 0x82, byte(length >> 8), byte(length)}
	case length < 1<<24:
		return []byte{byte(tag), 0x83, byte(length >> 16), byte(length >> 8), byte(length)}
	}
	return []byte{byte(tag), 0x84, byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length)}
}

// head is what stands before the entries: version, algorithm, issuer, times.
func (l *List) head(algorithm []byte) ([]byte, error) {
	if l.NextUpdate <= l.ThisUpdate || l.ThisUpdate <= 0 {
		return nil, fmt.Errorf("it would be valid from %s to %s", l.ThisUpdate, l.NextUpdate)
	}
	if len(l.Issuer.Subject) == 0 || len(l.Issuer.KeyID) == 0 {
		return nil, errors.New("its issuer has no subject or no key identifier")
	}
	var b cryptobyte.Builder
	b.AddASN1Int64(1) // v2
	b.AddBytes(algorithm)
	b.AddBytes(l.Issuer.Subject)
	addTime(&b, l.ThisUpdate)
	addTime(&b, l.NextUpdate)
	return b.Bytes() //nolint:wrapcheck // Draft says what it was for
}

// addTime writes a UTCTime through 2049 and a GeneralizedTime from 2050 on (section
// 5.1.2.4), in whole seconds.
func addTime(b *cryptobyte.Builder, at lifecycle.Instant) {
	if t := time.UnixMilli(int64(at)).UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
	} else {
		b.AddASN1GeneralizedTime(t)
	}
}

// OIDs of extensions, section 5.2.
var (
	oidAuthorityKeyID = []byte{0x55, 0x1d, 0x23}
	oidNumber         = []byte{0x55, 0x1d, 0x14}
	oidIDP            = []byte{0x55, 0x1d, 0x1c}
)

const (
	context0        = asn1.Tag(0x80)
	explicit0       = asn1.Tag(0xa0)
	uniformResource = asn1.Tag(0x86)
)

// tail is what stands behind the entries: the extensions.
func (l *List) tail() ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addExtension(b, oidAuthorityKeyID, false, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					b.AddASN1(context0, func(b *cryptobyte.Builder) { b.AddBytes(l.Issuer.KeyID) })
				})
			})
			addExtension(b, oidNumber, false, func(b *cryptobyte.Builder) { b.AddASN1Uint64(l.Number) })
			if l.Shard != "" {
				addExtension(b, oidIDP, true, l.addDistributionPoint)
			}
		})
	})
	return b.Bytes() //nolint:wrapcheck // Draft says what it was for
}

// addDistributionPoint writes an IssuingDistributionPoint with one URL (section 5.2.5).
func (l *List) addDistributionPoint(b *cryptobyte.Builder) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) { // distributionPoint
			b.AddASN1(explicit0, func(b *cryptobyte.Builder) { // fullName
				b.AddASN1(uniformResource, func(b *cryptobyte.Builder) { b.AddBytes([]byte(l.Shard)) })
			})
		})
	})
}

func addExtension(b *cryptobyte.Builder, oid []byte, critical bool, value func(*cryptobyte.Builder)) {
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oid) })
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(asn1.OCTET_STRING, value)
	})
}
