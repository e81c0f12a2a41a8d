package crl

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Facts are the parts of a signed list that are looked at here. They point into the
// bytes that were read; entries are passed over, whatever their number.
type Facts struct {
	Number                 uint64
	ThisUpdate, NextUpdate time.Time
	TBSHash                [sha256.Size]byte

	issuer, algorithm, signature, tbs []byte
}

// Read cuts a CertificateList that Draft made into its parts. It verifies nothing.
func Read(der []byte) (*Facts, error) {
	in := cryptobyte.String(der)
	var list, tbs, fields, algorithm cryptobyte.String
	f := new(Facts)
	if !in.ReadASN1(&list, asn1.SEQUENCE) || !in.Empty() || !list.ReadASN1Element(&tbs, asn1.SEQUENCE) ||
		!list.ReadASN1Element(&algorithm, asn1.SEQUENCE) || !list.ReadASN1BitStringAsBytes(&f.signature) || !list.Empty() {
		return nil, fmt.Errorf("%w: no CertificateList", ErrList)
	}
	f.tbs, f.algorithm, f.TBSHash = tbs, algorithm, sha256.Sum256(tbs)
	if !tbs.ReadASN1(&fields, asn1.SEQUENCE) || !f.readTBS(fields) {
		return nil, fmt.Errorf("%w: no TBSCertList", ErrList)
	}
	return f, nil
}

func (f *Facts) readTBS(in cryptobyte.String) bool {
	var version int64
	var algorithm, issuer, entries, wrapped, extensions cryptobyte.String
	if !in.ReadASN1Integer(&version) || version != 1 || !in.ReadASN1Element(&algorithm, asn1.SEQUENCE) || !bytes.Equal(algorithm, f.algorithm) ||
		!in.ReadASN1Element(&issuer, asn1.SEQUENCE) || !readTime(&in, &f.ThisUpdate) || !readTime(&in, &f.NextUpdate) ||
		!in.ReadOptionalASN1(&entries, nil, asn1.SEQUENCE) || !in.ReadASN1(&wrapped, explicit0) || !in.Empty() || !wrapped.ReadASN1(&extensions, asn1.SEQUENCE) {
		return false
	}
	f.issuer = issuer
	for !extensions.Empty() {
		var extension, oid, value cryptobyte.String
		var critical bool
		if !extensions.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1(&oid, asn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) || !extension.ReadASN1(&value, asn1.OCTET_STRING) {
			return false
		}
		if bytes.Equal(oid, oidNumber) && !value.ReadASN1Integer(&f.Number) {
			return false
		}
	}
	return f.Number > 0
}

func readTime(in *cryptobyte.String, t *time.Time) bool {
	if in.PeekASN1Tag(asn1.UTCTime) {
		return in.ReadASN1UTCTime(t)
	}
	return in.ReadASN1GeneralizedTime(t)
}

// Verify holds a list against what the log says of it and against the CA certificate of
// its issuer. It does not matter where the bytes came from.
func (f *Facts) Verify(row *lifecycle.CRLState, ca *x509.Certificate, alg lifecycle.Algorithm) error {
	if row == nil || f.Number != row.Number || !bytes.Equal(f.TBSHash[:], row.TBSHash) {
		return fmt.Errorf("%w: number %d, or other contents", ErrList, f.Number)
	}
	algorithm, err := hsm.AlgorithmIdentifier(alg)
	if err != nil {
		return fmt.Errorf("verify a CRL: %w", err)
	}
	if !bytes.Equal(f.algorithm, algorithm) || !bytes.Equal(f.issuer, ca.RawSubject) {
		return fmt.Errorf("%w: another issuer or algorithm", ErrList)
	}
	if err := hsm.VerifySignature(alg, ca.RawSubjectPublicKeyInfo, digest(alg, f.tbs), f.signature); err != nil {
		return fmt.Errorf("%w: %w", ErrList, err)
	}
	return nil
}

// digest is what alg signs of a message.
func digest(alg lifecycle.Algorithm, message []byte) []byte {
	switch alg.Hash() {
	case lifecycle.SHA384:
		sum := sha512.Sum384(message)
		return sum[:]
	case lifecycle.SHA256:
		sum := sha256.Sum256(message)
		return sum[:]
	}
	return message
}
