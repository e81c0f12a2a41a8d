package ocsp

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6960 names responders by it
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"
)

// Delegate is a node's responder key with its certificate for one issuing instance. It
// is immutable.
type Delegate struct {
	certificate         []byte
	keyHash             [20]byte
	private             *ecdsa.PrivateKey
	notBefore, notAfter time.Time
}

// NewDelegate pairs a P-256 key with a certificate for OCSP signing.
func NewDelegate(private *ecdsa.PrivateKey, certificate []byte) (*Delegate, error) {
	cert, err := x509.ParseCertificate(certificate)
	if err != nil {
		return nil, fmt.Errorf("read a responder certificate: %w", err)
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || private == nil || private.Curve != elliptic.P256() || !public.Equal(&private.PublicKey) {
		return nil, fmt.Errorf("use a responder certificate: it is not for this node's P-256 key")
	}
	if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return nil, fmt.Errorf("use a responder certificate: it does not allow OCSP signing")
	}
	bits, err := publicKeyBits(cert.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, fmt.Errorf("read a responder certificate: %w", err)
	}
	return &Delegate{certificate: bytes.Clone(certificate), keyHash: sha1.Sum(bits), private: private, //nolint:gosec // a name
		notBefore: cert.NotBefore, notAfter: cert.NotAfter}, nil
}

// ValidAt reports whether answers may be signed under the certificate.
func (d *Delegate) ValidAt(now time.Time) bool {
	return d != nil && !now.Before(d.notBefore) && now.Before(d.notAfter)
}

// sign makes the response. Its times are cut to the certificate's.
func (d *Delegate) sign(c *Content) ([]byte, error) {
	c.Responder = d.keyHash
	if c.NextUpdate.After(d.notAfter) {
		c.NextUpdate = d.notAfter
	}
	tbs := c.TBS()
	digest := sha256.Sum256(tbs)
	signature, err := ecdsa.SignASN1(rand.Reader, d.private, digest[:])
	if err != nil {
		return nil, fmt.Errorf("sign an OCSP response: %w", err)
	}
	return Assemble(tbs, signature, d.certificate), nil
}
