package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
)

// try makes the certificate with the throwaway key of the CA's algorithm.
func (ca *CA) try(template *x509.Certificate, subject any) (*x509.Certificate, error) {
	template.SignatureAlgorithm = x509Algorithm(ca.alg)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.parent, subject, ca.trial.key)
	if err != nil {
		return nil, fmt.Errorf("encode it: %w", err)
	}
	return x509.ParseCertificate(der)
}

// tryLeaf is try, as long as a verifier has to judge the result. After that nobody looks
// at the throwaway signature any more, and one that is made already will do: the lint is
// about what stands before it.
func (ca *CA) tryLeaf(template *x509.Certificate, subject any) (*x509.Certificate, error) {
	proven := ca.proven.Load()
	if proven == nil {
		return ca.try(template, subject)
	}
	template.SignatureAlgorithm = x509Algorithm(ca.alg)
	r := recorder{public: ca.trial.key.Public()}
	if _, err := x509.CreateCertificate(nil, template, ca.parent, subject, &r); !errors.Is(err, errRecorded) {
		return nil, fmt.Errorf("encode it: %w", err)
	}
	der, err := signed(r.tbs, signatureAlgorithm(proven.Raw), proven.Signature)
	if err != nil {
		return nil, fmt.Errorf("encode it: %w", err)
	}
	return x509.ParseCertificate(der)
}

var errRecorded = errors.New("nothing was signed: the bytes to be signed are recorded")

// recorder is a signer that signs nothing and keeps what it was to sign.
type recorder struct {
	public crypto.PublicKey
	tbs    []byte
}

func (r *recorder) Public() crypto.PublicKey { return r.public }

func (r *recorder) SignMessage(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	r.tbs = message
	return nil, errRecorded
}

func (r *recorder) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("a digest cannot be recorded")
}
