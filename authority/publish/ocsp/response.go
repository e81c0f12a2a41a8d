package ocsp

import "time"

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
	ID []byte // DER of the CertID, as it was asked
	Standing
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
func (c *Content) TBS() []byte {
	e := newEncoder(make([]byte, 128+len(c.Nonce)+len(c.Singles)*192))
	if c.Nonce != nil {
		e.element(tagOctetString, c.Nonce...)
		e.wrap(tagOctetString, 0)
		e.element(tagOID, oidNonce...)
		e.wrap(tagSequence, 0)
		e.wrap(tagSequence, 0)
		e.wrap(tagExplicit1, 0)
	}
	mark := e.size()
	for i := len(c.Singles) - 1; i >= 0; i-- {
		c.single(&e, &c.Singles[i])
	}
	e.wrap(tagSequence, mark)
	e.time(c.ProducedAt)
	mark = e.size()
	e.element(tagOctetString, c.Responder[:]...)
	e.wrap(tagExplicit2, mark) // byKey
	e.wrap(tagSequence, 0)
	return e.bytes()
}

func (c *Content) single(e *encoder, s *Single) {
	all := e.size()
	e.time(c.NextUpdate)
	e.wrap(tagExplicit0, all)
	e.time(c.ThisUpdate)
	switch s.Status {
	case Good:
		e.element(tagPrimitive0)
	case Revoked:
		revoked := e.size()
		if code := s.Reason.Code(); code != 0 { // unspecified is left out, RFC 5280 section 5.3.1
			e.element(tagEnumerated, byte(code))
			e.wrap(tagExplicit0, revoked)
		}
		e.time(time.UnixMilli(int64(s.RevokedAt)))
		e.wrap(tagExplicit1, revoked)
	default:
		e.element(tagPrimitive2)
	}
	e.put(s.ID...)
	e.wrap(tagSequence, all)
}

// oidBasic is id-pkix-ocsp-basic.
var oidBasic = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01}

// ecdsaWithSHA256 is the AlgorithmIdentifier of RFC 5758 section 3.2.
var ecdsaWithSHA256 = []byte{0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02}

// Assemble makes the OCSPResponse out of a signed ResponseData. The signature is
// ECDSA with SHA-256 in DER; certificate is the responder's.
func Assemble(tbs, signature, certificate []byte) []byte {
	e := newEncoder(make([]byte, 80+len(tbs)+len(signature)+len(certificate)))
	e.put(certificate...)
	e.wrap(tagSequence, 0)
	e.wrap(tagExplicit0, 0)
	mark := e.size()
	e.put(signature...)
	e.put(0) // unused bits
	e.wrap(tagBitString, mark)
	e.put(ecdsaWithSHA256...)
	e.put(tbs...)
	e.wrap(tagSequence, 0)
	e.wrap(tagOctetString, 0)
	e.element(tagOID, oidBasic...)
	e.wrap(tagSequence, 0)
	e.wrap(tagExplicit0, 0)
	e.element(tagEnumerated, 0) // successful
	e.wrap(tagSequence, 0)
	return e.bytes()
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
