package client

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/transport/wire"
)

// studio is a CA for one test, with a certificate and a responder.
type studio struct {
	t                   *testing.T
	now                 time.Time
	key, responderKey   crypto.Signer
	ca, leaf, responder *x509.Certificate
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	s := &studio{t: t, now: time.Now().Truncate(time.Second)}
	s.key, s.responderKey = s.newKey(), s.newKey()
	ca := s.template(1, "corp issuing 1")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	s.ca = s.certify(ca, ca, s.key, s.key)
	s.leaf = s.certify(s.template(7, "a.test"), s.ca, s.newKey(), s.key)
	s.responder = s.delegate(x509.ExtKeyUsageOCSPSigning)
	return s
}

func (s *studio) newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	return key
}

func (s *studio) template(serial int64, cn string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: cn}, NotBefore: s.now.Add(-time.Hour), NotAfter: s.now.Add(time.Hour)}
}

func (s *studio) certify(template, parent *x509.Certificate, subject, by crypto.Signer) *x509.Certificate {
	s.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, subject.Public(), by)
	if err != nil {
		s.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		s.t.Fatal(err)
	}
	return cert
}

func (s *studio) delegate(usage x509.ExtKeyUsage) *x509.Certificate {
	t := s.template(3, "responder")
	t.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return s.certify(t, s.ca, s.responderKey, s.key)
}

func (s *studio) list(number int64, change func(*x509.RevocationList), revoked ...x509.RevocationListEntry) []byte {
	s.t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: s.now, NextUpdate: s.now.Add(time.Hour), RevokedCertificateEntries: revoked}
	if change != nil {
		change(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, s.ca, s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

func (s *studio) answer(change func(*ocsp.Response)) []byte {
	s.t.Helper()
	r := ocsp.Response{Status: ocsp.Good, SerialNumber: s.leaf.SerialNumber, ThisUpdate: s.now, NextUpdate: s.now.Add(time.Hour), Certificate: s.responder}
	if change != nil {
		change(&r)
	}
	der, err := ocsp.CreateResponse(s.ca, s.responder, r, s.responderKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return der
}

func entry(serial int64, reason int) x509.RevocationListEntry {
	return x509.RevocationListEntry{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().Add(-time.Minute), ReasonCode: reason}
}

func extension(critical bool, id ...int) func(*x509.RevocationList) {
	return func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{{Id: id, Critical: critical, Value: []byte{0x30, 0}}}
	}
}

func TestStandingByCRL(t *testing.T) {
	s, stranger := newStudio(t), newStudio(t)
	broken := s.list(1, nil)
	broken[len(broken)-1] ^= 1
	other := stranger.leaf // of a CA of the same name
	late := s.now.Add(2 * time.Hour)
	for name, c := range map[string]struct {
		lists [][]byte
		want  string
		err   error
	}{
		"good":                     {[][]byte{s.list(1, nil, entry(8, 1))}, wire.Good, nil},
		"revoked":                  {[][]byte{s.list(1, nil, entry(8, 1), entry(7, 1))}, wire.Revoked, nil},
		"on hold":                  {[][]byte{s.list(1, nil, entry(7, 6))}, wire.CertificateOnHold, nil},
		"released":                 {[][]byte{s.list(2, nil), s.list(1, nil, entry(7, 6))}, wire.Good, nil},
		"revoked since":            {[][]byte{s.list(1, nil), s.list(2, nil, entry(7, 1))}, wire.Revoked, nil},
		"none":                     {nil, "", ErrOtherQuestion},
		"same name, another key":   {[][]byte{stranger.list(1, nil)}, "", ErrForged},
		"forged beside a good one": {[][]byte{s.list(1, nil), broken}, "", ErrForged},
		"over": {[][]byte{s.list(1, func(l *x509.RevocationList) {
			l.ThisUpdate, l.NextUpdate = s.now.Add(-time.Hour), s.now.Add(-2*time.Minute)
		})}, "", ErrExpired},
		"of the future":        {[][]byte{s.list(1, func(l *x509.RevocationList) { l.ThisUpdate = s.now.Add(5 * time.Minute) })}, "", ErrExpired},
		"a shard":              {[][]byte{s.list(1, extension(true, 2, 5, 29, 28))}, "", ErrOtherQuestion},
		"a delta":              {[][]byte{s.list(1, extension(false, 2, 5, 29, 27))}, "", ErrOtherQuestion},
		"unknown and critical": {[][]byte{s.list(1, extension(true, 1, 2, 3))}, "", ErrOtherQuestion},
		"takes an entry back":  {[][]byte{s.list(1, nil, entry(9, 8))}, "", ErrForged},
	} {
		st, err := StandingByCRL(s.leaf, s.ca, s.now, c.lists...)
		if !errors.Is(err, c.err) || c.err == nil && (st == nil || st.Status != c.want) || st.Good() != (c.want == wire.Good) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	if st, err := StandingByCRL(other, s.ca, s.now, s.list(1, nil)); !errors.Is(err, ErrForged) {
		t.Errorf("a certificate that another CA signed: %+v, %v", st, err)
	}
	if st, err := StandingByCRL(s.leaf, s.ca, late, s.list(1, func(l *x509.RevocationList) { l.NextUpdate = late })); !errors.Is(err, ErrExpired) {
		t.Errorf("after the CA's end: %+v, %v", st, err)
	}
	if _, err := StandingByCRL(s.leaf, s.ca, s.now, []byte("hello")); err == nil {
		t.Error("no CRL at all")
	}
}

func TestStandingByOCSP(t *testing.T) {
	s, stranger := newStudio(t), newStudio(t)
	for name, c := range map[string]struct {
		change func(*ocsp.Response)
		want   string
		err    error
	}{
		"good":                {nil, wire.Good, nil},
		"revoked":             {func(r *ocsp.Response) { r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, s.now, 1 }, wire.Revoked, nil},
		"on hold":             {func(r *ocsp.Response) { r.Status, r.RevokedAt, r.RevocationReason = ocsp.Revoked, s.now, 6 }, wire.CertificateOnHold, nil},
		"unknown":             {func(r *ocsp.Response) { r.Status = ocsp.Unknown }, wire.Unknown, nil},
		"about another":       {func(r *ocsp.Response) { r.SerialNumber = big.NewInt(8) }, "", ErrForged},
		"over":                {func(r *ocsp.Response) { r.ThisUpdate, r.NextUpdate = s.now.Add(-time.Hour), s.now.Add(-2*time.Minute) }, "", ErrExpired},
		"without an end":      {func(r *ocsp.Response) { r.NextUpdate = time.Time{} }, "", ErrExpired},
		"of the future":       {func(r *ocsp.Response) { r.ThisUpdate = s.now.Add(5 * time.Minute) }, "", ErrExpired},
		"by a stranger's":     {func(r *ocsp.Response) { r.Certificate = stranger.responder }, "", ErrForged},
		"by no responder":     {func(r *ocsp.Response) { r.Certificate = s.delegate(x509.ExtKeyUsageServerAuth) }, "", ErrForged},
		"without certificate": {func(r *ocsp.Response) { r.Certificate = nil }, "", ErrForged},
	} {
		st, err := StandingByOCSP(s.leaf, s.ca, s.now, s.answer(c.change))
		if !errors.Is(err, c.err) || c.err == nil && (st == nil || st.Status != c.want) || st.Good() != (c.want == wire.Good) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	if st, err := StandingByOCSP(s.leaf, stranger.ca, s.now, s.answer(nil)); !errors.Is(err, ErrForged) {
		t.Errorf("an issuer that did not sign it: %+v, %v", st, err)
	}
	if _, err := StandingByOCSP(s.leaf, s.ca, s.now, []byte{0x30, 3, 0x0a, 1, 6}); !errors.Is(err, ErrForged) {
		t.Errorf("an error response: %v", err)
	}
}

func TestEndedIsNotGood(t *testing.T) {
	s := newStudio(t)
	end := s.template(7, "a.test")
	end.NotAfter = s.now.Add(-time.Minute)
	s.leaf = s.certify(end, s.ca, s.newKey(), s.key)
	if st, err := StandingByCRL(s.leaf, s.ca, s.now, s.list(1, nil)); err != nil || st.Status != wire.CertificateEnded {
		t.Errorf("%+v, %v", st, err)
	}
	if st, err := StandingByOCSP(s.leaf, s.ca, s.now, s.answer(nil)); err != nil || st.Status != wire.CertificateEnded {
		t.Errorf("%+v, %v", st, err)
	}
}
