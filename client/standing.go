package client

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/transport/wire"
)

// Standing is what a CRL or an OCSP answer says of a certificate, after its signature,
// its author and its time have been checked. No cluster is asked, so it is worth as much
// as NextUpdate says: what is revoked after ThisUpdate is not in it.
type Standing struct {
	Status     string    `json:"status"` // good, revoked, on_hold, expired or unknown
	Source     string    `json:"source"` // crl or ocsp
	RevokedAt  wire.Time `json:"revoked_at,omitzero"`
	ReasonCode int       `json:"reason_code,omitempty"` // RFC 5280 section 5.3.1
	ThisUpdate wire.Time `json:"this_update"`
	NextUpdate wire.Time `json:"next_update"`
	Number     string    `json:"crl_number,omitempty"`
}

// Good reports whether the certificate may be relied on.
func (s *Standing) Good() bool { return s != nil && s.Status == wire.Good }

const (
	reasonHold    = 6 // certificateHold
	reasonRemoved = 8 // removeFromCRL, in delta CRLs only
)

// StandingByCRL looks a certificate up in the CRL of the CA that issued it, DER. The
// caller vouches for issuer: it may come out of a chain that was verified, or from a file
// that is trusted. Of several lists those by other CAs are passed over and the one with
// the highest number counts, but none of its own CA's may be broken.
//
// Fail closed: on any error nothing is known about the certificate.
func StandingByCRL(cert, issuer *x509.Certificate, now time.Time, lists ...[]byte) (*Standing, error) {
	if err := issuedBy(cert, issuer, now); err != nil {
		return nil, err
	}
	var newest *x509.RevocationList
	for _, der := range lists {
		l, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, fmt.Errorf("read a CRL: %w", err)
		}
		if !bytes.Equal(l.RawIssuer, issuer.RawSubject) {
			continue
		}
		if err := checkList(l, issuer, now); err != nil {
			return nil, err
		}
		if newest == nil || l.Number.Cmp(newest.Number) > 0 {
			newest = l
		}
	}
	if newest == nil {
		return nil, fmt.Errorf("%w: no CRL by %s is among %d", ErrOtherQuestion, issuer.Subject, len(lists))
	}
	s := &Standing{Status: unended(cert, now), Source: "crl", Number: newest.Number.String(), ThisUpdate: wire.AsTime(newest.ThisUpdate), NextUpdate: wire.AsTime(newest.NextUpdate)}
	for i := range newest.RevokedCertificateEntries {
		if e := &newest.RevokedCertificateEntries[i]; e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
			s.revoked(e.RevocationTime, e.ReasonCode)
		}
	}
	return s, nil
}

// StandingByOCSP reads an OCSP response about a certificate, DER, such as one that a
// server stapled: signed by the CA that issued it, or by a responder whom that CA made
// one. The caller vouches for issuer.
//
// Fail closed: on any error nothing is known about the certificate.
func StandingByOCSP(cert, issuer *x509.Certificate, now time.Time, response []byte) (*Standing, error) {
	if err := issuedBy(cert, issuer, now); err != nil {
		return nil, err
	}
	r, err := ocsp.ParseResponseForCert(response, cert, issuer) // checks both signatures, and finds the serial
	if err != nil {
		return nil, fmt.Errorf("%w: OCSP response: %w", ErrForged, err)
	}
	if r.SerialNumber.Cmp(cert.SerialNumber) != 0 {
		return nil, fmt.Errorf("%w: the OCSP response is about serial %x", ErrOtherQuestion, r.SerialNumber)
	}
	if d := r.Certificate; d != nil && !bytes.Equal(d.Raw, issuer.Raw) {
		if !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
			return nil, fmt.Errorf("%w: the OCSP response is signed by %s, who was not made a responder", ErrForged, d.Subject)
		}
		if err := inTime("the responder's certificate", d.NotBefore, d.NotAfter, now); err != nil {
			return nil, err
		}
	}
	if err := inTime("the OCSP response", r.ThisUpdate, r.NextUpdate, now); err != nil {
		return nil, err
	}
	s := &Standing{Status: unended(cert, now), Source: "ocsp", ThisUpdate: wire.AsTime(r.ThisUpdate), NextUpdate: wire.AsTime(r.NextUpdate)}
	switch r.Status {
	case ocsp.Good:
	case ocsp.Revoked:
		s.revoked(r.RevokedAt, r.RevocationReason)
	default:
		s.Status = wire.Unknown
	}
	return s, nil
}

func (s *Standing) revoked(at time.Time, reason int) {
	s.Status, s.RevokedAt, s.ReasonCode = wire.Revoked, wire.AsTime(at), reason
	if reason == reasonHold {
		s.Status = wire.CertificateOnHold
	}
}

func unended(cert *x509.Certificate, now time.Time) string {
	if now.After(cert.NotAfter) {
		return wire.CertificateEnded
	}
	return wire.Good
}

// issuedBy checks that issuer signed cert and may have.
func issuedBy(cert, issuer *x509.Certificate, now time.Time) error {
	if err := cert.CheckSignatureFrom(issuer); err != nil || !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%w: the certificate was not issued by %s", ErrForged, issuer.Subject)
	}
	if now.Add(maxSkew).Before(cert.NotBefore) {
		return fmt.Errorf("%w: the certificate begins at %s", ErrExpired, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return inTime("the CA certificate", issuer.NotBefore, issuer.NotAfter, now)
}

// inTime checks that something is neither of the future nor over. What names no end is
// over, because nobody would notice that its successor is withheld.
func inTime(what string, from, to, now time.Time) error {
	if now.Add(maxSkew).Before(from) || to.IsZero() || now.Add(-maxSkew).After(to) {
		return fmt.Errorf("%w: %s is of %s to %s", ErrExpired, what, from.UTC().Format(time.RFC3339), to.UTC().Format(time.RFC3339))
	}
	return nil
}

// Extensions of a CRL that may be critical: none is, in a list that says everything. An
// issuing distribution point makes it a part, a delta indicator a difference.
func checkList(l *x509.RevocationList, issuer *x509.Certificate, now time.Time) error {
	if err := l.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%w: the CRL: %w", ErrForged, err)
	}
	if len(issuer.SubjectKeyId) > 0 && len(l.AuthorityKeyId) > 0 && !bytes.Equal(l.AuthorityKeyId, issuer.SubjectKeyId) {
		return fmt.Errorf("%w: the CRL is by another key of %s", ErrForged, issuer.Subject)
	}
	if l.Number == nil {
		l.Number = new(big.Int)
	}
	for _, e := range l.Extensions {
		if e.Critical || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}) || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) {
			return fmt.Errorf("%w: the CRL is a part of one, or a difference (extension %s): load the full one", ErrOtherQuestion, e.Id)
		}
	}
	for i := range l.RevokedCertificateEntries {
		if e := &l.RevokedCertificateEntries[i]; e.ReasonCode == reasonRemoved {
			return errors.Join(ErrForged, errors.New("a full CRL does not take entries back"))
		}
	}
	return inTime("the CRL", l.ThisUpdate, l.NextUpdate, now)
}
