package ocsp

import (
	"encoding/asn1"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	der "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Status is what is said of one certificate, RFC 6960 section 2.2.
type Status uint8

const (
	Unknown Status = iota // not issued by this issuer, as far as the state knows
	Good                  // issued, and not on the CRL
	Revoked               // on the CRL, also when on hold
)

func (s Status) String() string { return [...]string{"unknown", "good", "revoked"}[s] }

// Single is the answer about one certificate.
type Single struct {
	ID        []byte // DER of the CertID, as it was asked
	Status    Status
	RevokedAt lifecycle.Instant
	Reason    lifecycle.Reason
}

// Content is what a response says, before it is signed.
type Content struct {
	Responder              [20]byte // SHA-1 of the responder's public key
	ProducedAt             time.Time
	ThisUpdate, NextUpdate time.Time
	Singles                []Single
	Nonce                  []byte // echoed; nil = none
}

// TBS is the DER of a ResponseData (RFC 6960 section 4.2.1).
func (c *Content) TBS() ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 128+len(c.Nonce)+len(c.Singles)*192))
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit2, func(b *cryptobyte.Builder) { b.AddASN1OctetString(c.Responder[:]) }) // byKey
		b.AddASN1GeneralizedTime(c.ProducedAt.UTC())
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			for i := range c.Singles {
				c.addSingle(b, &c.Singles[i])
			}
		})
		if c.Nonce != nil {
			b.AddASN1(explicit1, c.addNonce)
		}
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode an OCSP response: %w", err)
	}
	return tbs, nil
}

func (c *Content) addSingle(b *cryptobyte.Builder, s *Single) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(s.ID)
		switch s.Status {
		case Good:
			b.AddASN1(der.Tag(0).ContextSpecific(), func(*cryptobyte.Builder) {})
		case Revoked:
			b.AddASN1(explicit1, func(b *cryptobyte.Builder) {
				b.AddASN1GeneralizedTime(time.UnixMilli(int64(s.RevokedAt)).UTC())
				if code := s.Reason.Code(); code != 0 { // unspecified is left out, RFC 5280 section 5.3.1
					b.AddASN1(explicit0, func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(code)) })
				}
			})
		default:
			b.AddASN1(der.Tag(2).ContextSpecific(), func(*cryptobyte.Builder) {})
		}
		b.AddASN1GeneralizedTime(c.ThisUpdate.UTC())
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) { b.AddASN1GeneralizedTime(c.NextUpdate.UTC()) })
	})
}

func (c *Content) addNonce(b *cryptobyte.Builder) {
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(der.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oidNonce) })
			b.AddASN1(der.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(c.Nonce) })
		})
	})
}

var (
	oidBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}
	// ecdsaWithSHA256 is the AlgorithmIdentifier of RFC 5758 section 3.2.
	ecdsaWithSHA256 = []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}
)

// Assemble makes the OCSPResponse out of a signed ResponseData. The signature is
// ECDSA with SHA-256 in DER; certificate is the responder's.
func Assemble(tbs, signature, certificate []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 96+len(tbs)+len(signature)+len(certificate)))
	b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0) // successful
		b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
			b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasic)
				b.AddASN1(der.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(tbs)
						b.AddBytes(ecdsaWithSHA256)
						b.AddASN1BitString(signature)
						b.AddASN1(explicit0, func(b *cryptobyte.Builder) {
							b.AddASN1(der.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(certificate) })
						})
					})
				})
			})
		})
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode an OCSP response: %w", err)
	}
	return out, nil
}

// Refusals: OCSPResponses that consist of a status alone, and are not signed.
var (
	malformedRequest = refusal(1)
	tryLater         = refusal(3)
	unauthorized     = refusal(6) // RFC 5019 section 2.2.3: we do not answer for this issuer
)

func refusal(status byte) *Answer {
	return &Answer{Body: []byte{0x30, 0x03, 0x0a, 0x01, status}}
}
