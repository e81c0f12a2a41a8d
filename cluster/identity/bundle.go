package identity

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
)

// MaxBundle bounds a bundle: more CA instances than any cluster has voters, with
// room for those that a rotation leaves behind.
const MaxBundle = 64

// Bundle is the set of CA certificates that clients of one cluster trust. It is
// immutable; equal sets encode to equal bytes.
type Bundle struct {
	certs []*x509.Certificate
	pool  *x509.CertPool
}

// NewBundle takes self-signed CA certificates, drops duplicates and sorts.
func NewBundle(certs ...*x509.Certificate) (*Bundle, error) {
	b := &Bundle{pool: x509.NewCertPool()}
	for _, c := range certs {
		if err := checkAuthority(c); err != nil {
			return nil, err
		}
		b.certs = append(b.certs, c)
	}
	byBytes := func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) }
	slices.SortFunc(b.certs, byBytes)
	b.certs = slices.CompactFunc(b.certs, (*x509.Certificate).Equal)
	if len(b.certs) == 0 {
		return nil, fmt.Errorf("read CA bundle: it holds no certificate")
	}
	if len(b.certs) > MaxBundle {
		return nil, fmt.Errorf("read CA bundle: %d certificates, at most %d are allowed", len(b.certs), MaxBundle)
	}
	for _, c := range b.certs {
		b.pool.AddCert(c)
	}
	return b, nil
}

// ParseBundle reads PEM. Anything but certificates in it is an error: a private
// key that slipped into a bundle must not go unnoticed.
func ParseBundle(text []byte) (*Bundle, error) {
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read CA bundle: %w", err)
	}
	return NewBundle(certs...)
}

// With adds certificates.
func (b *Bundle) With(certs ...*x509.Certificate) (*Bundle, error) {
	return NewBundle(append(slices.Clone(b.certs), certs...)...)
}

// Certificates lists the bundle; treat them as read-only.
func (b *Bundle) Certificates() []*x509.Certificate { return slices.Clone(b.certs) }

// Pool is the bundle as crypto/tls wants it; treat it as read-only.
func (b *Bundle) Pool() *x509.CertPool { return b.pool }

// PEM is the file that clients are given.
func (b *Bundle) PEM() []byte { return encodeCertificates(b.certs...) }

func checkAuthority(c *x509.Certificate) error {
	if !c.BasicConstraintsValid || !c.IsCA || c.KeyUsage&x509.KeyUsageCertSign == 0 {
		return fmt.Errorf("%q is not a CA certificate", c.Subject.CommonName)
	}
	if err := c.CheckSignatureFrom(c); err != nil {
		return fmt.Errorf("CA certificate %q is not self-signed: %w", c.Subject.CommonName, err)
	}
	return nil
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a bytes.Buffer does not fail
	}
	return out.Bytes()
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		text = bytes.TrimSpace(text)
		if len(text) == 0 {
			return certs, nil
		}
		var block *pem.Block
		if !bytes.HasPrefix(text, []byte("-----BEGIN ")) {
			return nil, fmt.Errorf("text outside PEM blocks")
		}
		if block, text = pem.Decode(text); block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a PEM block is not a certificate")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		certs = append(certs, c)
	}
}
