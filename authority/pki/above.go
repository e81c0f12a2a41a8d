package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Above puts the certificates in order that came with an imported one: nearest first, the
// root last if it is among them. Each of them must belong to the chain, and a verifier
// that trusts the last must believe the certificate.
func Above(cert *x509.Certificate, others []*x509.Certificate, now lifecycle.Instant) ([]*x509.Certificate, error) {
	var above []*x509.Certificate
	others = slices.Clone(others)
	for last := cert; len(others) > 0 && !SelfIssued(last); {
		i := slices.IndexFunc(others, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, last.RawIssuer) && last.CheckSignatureFrom(c) == nil
		})
		if i < 0 {
			break
		}
		last = others[i]
		above, others = append(above, last), slices.Delete(others, i, i+1)
	}
	if len(others) > 0 {
		return nil, fmt.Errorf("the certificate of %s is not above it: send the CA certificate and those that certify it, the root last", others[0].Subject)
	}
	if len(above) == 0 {
		return nil, nil
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for i, c := range above {
		if c.MaxPathLen >= 0 && c.MaxPathLen <= i { // the verifier counts below it only what is above cert
			return nil, fmt.Errorf("no verifier would believe what it signs: %s has path length %d, and %d CA certificates follow", c.Subject, c.MaxPathLen, i+1)
		}
		if i == len(above)-1 {
			roots.AddCert(c)
		} else {
			between.AddCert(c)
		}
	}
	at := timeOf(now)
	if cert.NotBefore.After(at) {
		at = cert.NotBefore
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil, fmt.Errorf("no verifier would believe it with the certificates above it: %w", err)
	}
	return above, nil
}

// SelfIssued reports whether a certificate names its subject as its issuer, as roots do.
func SelfIssued(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, c.RawIssuer) }
