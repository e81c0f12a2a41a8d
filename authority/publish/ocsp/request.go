package ocsp

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Hash is the function that a CertID was made with.
type Hash uint8

// The hash functions that CertIDs are understood in. SHA-1 only selects the issuer
// here, out of a fixed list: nobody gains by a collision.
const (
	OtherHash Hash = iota
	SHA1
	SHA256
)

// CertID names a certificate (RFC 6960 section 4.1.1). Its slices are parts of the
// request.
type CertID struct {
	Hash     Hash
	NameHash []byte // of the issuer's subject
	KeyHash  []byte // of the issuer's public key
	Serial   []byte // content of the INTEGER
	DER      []byte // the whole element, as it stood in the request
	null     bool   // the algorithm has NULL parameters, not none
}

// Request is what is understood of an OCSPRequest. A signature on it is not looked at:
// answers are for everybody.
type Request struct {
	IDs   []CertID // one to MaxCertificates
	Nonce []byte   // nil = none

	one [1]CertID
}

var (
	oidSHA1   = []byte{0x2b, 0x0e, 0x03, 0x02, 0x1a}
	oidSHA256 = []byte{0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01}
	oidNonce  = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02}
)

// Tags of explicit fields.
const (
	explicit0 = asn1.Tag(0xa0)
	explicit1 = asn1.Tag(0xa1)
	explicit2 = asn1.Tag(0xa2)
)

// ParseRequest reads an OCSPRequest in DER. Every error wraps ErrMalformed. The request
// keeps der.
func ParseRequest(der []byte) (*Request, error) {
	if len(der) > MaxRequestBytes {
		return nil, malformed("%d bytes, at most %d are read", len(der), MaxRequestBytes)
	}
	in := cryptobyte.String(der)
	var request, tbs, signature cryptobyte.String
	var signed bool
	if !in.ReadASN1(&request, asn1.SEQUENCE) || !in.Empty() ||
		!request.ReadASN1(&tbs, asn1.SEQUENCE) || !request.ReadOptionalASN1(&signature, &signed, explicit0) || !request.Empty() {
		return nil, malformed("no OCSPRequest, or bytes behind it")
	}
	r := new(Request)
	return r, r.readTBS(tbs)
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// readTBS reads the fields of a TBSRequest.
func (r *Request) readTBS(tbs cryptobyte.String) error {
	var version, name, list, extensions cryptobyte.String
	var versioned, named, extended bool
	if !tbs.ReadOptionalASN1(&version, &versioned, explicit0) || !tbs.ReadOptionalASN1(&name, &named, explicit1) ||
		!tbs.ReadASN1(&list, asn1.SEQUENCE) || !tbs.ReadOptionalASN1(&extensions, &extended, explicit2) || !tbs.Empty() {
		return malformed("no TBSRequest")
	}
	if versioned {
		var v uint64
		if !version.ReadASN1Integer(&v) || !version.Empty() || v != 0 {
			return malformed("a version other than 1")
		}
	}
	for r.IDs = r.one[:0]; !list.Empty(); {
		if len(r.IDs) == MaxCertificates {
			return malformed("more than %d certificates", MaxCertificates)
		}
		var one, single cryptobyte.String
		var has bool
		var id CertID
		if !list.ReadASN1(&one, asn1.SEQUENCE) || !id.read(&one) || !one.ReadOptionalASN1(&single, &has, explicit0) || !one.Empty() {
			return malformed("no CertID")
		}
		if has && !readExtensions(single, nil) {
			return malformed("an extension of a single request that is not understood")
		}
		r.IDs = append(r.IDs, id)
	}
	if len(r.IDs) == 0 {
		return malformed("it names no certificate")
	}
	if extended && !readExtensions(extensions, &r.Nonce) {
		return malformed("an extension that is not understood, or a nonce of another size than 1 to %d octets", maxNonceBytes)
	}
	return nil
}

// read takes a CertID off the front.
func (id *CertID) read(in *cryptobyte.String) bool {
	whole := []byte(*in)
	var fields, algorithm, oid, serial cryptobyte.String
	if !in.ReadASN1(&fields, asn1.SEQUENCE) || !fields.ReadASN1(&algorithm, asn1.SEQUENCE) || !algorithm.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) {
		return false
	}
	id.DER = whole[:len(whole)-len(*in)]
	if !algorithm.Empty() { // RFC 5754: absent; RFC 3279 and most clients: NULL
		var null cryptobyte.String
		if !algorithm.ReadASN1(&null, asn1.NULL) || !null.Empty() || !algorithm.Empty() {
			return false
		}
		id.null = true
	}
	size := 0 // any
	switch {
	case bytes.Equal(oid, oidSHA1):
		id.Hash, size = SHA1, 20
	case bytes.Equal(oid, oidSHA256):
		id.Hash, size = SHA256, 32
	}
	return readHash(&fields, &id.NameHash, size) && readHash(&fields, &id.KeyHash, size) &&
		fields.ReadASN1(&serial, asn1.INTEGER) && fields.Empty() && id.readSerial(serial)
}

func readHash(in *cryptobyte.String, out *[]byte, size int) bool {
	var s cryptobyte.String
	if !in.ReadASN1(&s, asn1.OCTET_STRING) || size != 0 && len(s) != size || len(s) > 64 {
		return false
	}
	*out = s
	return true
}

// readSerial accepts any integer of bounded size in its shortest form.
func (id *CertID) readSerial(s []byte) bool {
	if len(s) == 0 || len(s) > maxSerialBytes {
		return false
	}
	if len(s) > 1 && (s[0] == 0 && s[1] < 0x80 || s[0] == 0xff && s[1] >= 0x80) {
		return false
	}
	id.Serial = s
	return true
}

// readExtensions reads Extensions inside their explicit tag. A nonce goes to *nonce;
// others are passed over, unless they are critical. nonce nil = none is taken.
func readExtensions(in cryptobyte.String, nonce *[]byte) bool {
	var list cryptobyte.String
	if !in.ReadASN1(&list, asn1.SEQUENCE) || !in.Empty() || list.Empty() {
		return false
	}
	for !list.Empty() {
		var extension, oid, value cryptobyte.String
		var critical bool
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) {
			return false
		}
		if extension.PeekASN1Tag(asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) {
			return false
		}
		if !extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return false
		}
		switch {
		case nonce != nil && bytes.Equal(oid, oidNonce):
			var n cryptobyte.String
			if *nonce != nil || !value.ReadASN1(&n, asn1.OCTET_STRING) || !value.Empty() || len(n) == 0 || len(n) > maxNonceBytes {
				return false
			}
			*nonce = n
		case critical:
			return false
		}
	}
	return true
}
