package pki

import (
	"bytes"
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Application is the certificate request of an instance of one of our own issuers, for
// a CA elsewhere, before the instance has signed it.
type Application struct {
	TBS []byte // CertificationRequestInfo, what the instance signs

	algorithm []byte // AlgorithmIdentifier of the signature, DER
}

// Apply makes the to-be-signed bytes of a request (PKCS #10, RFC 2986) for the CA
// certificate of an instance. It asks for the extensions that Chancery would write itself:
// basicConstraints, keyUsage, subjectKeyIdentifier and the name constraints of the terms.
// The order's serial is not used.
func Apply(o CAOrder, alg lifecycle.Algorithm) (*Application, error) {
	trial, err := tryRoot(o, alg)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1Sequence, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(0) // v1, and there is no other
		b.AddBytes(trial.RawSubject)
		b.AddBytes(trial.RawSubjectPublicKeyInfo)
		b.AddASN1(cbasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
			b.AddASN1(asn1Sequence, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidExtensionRequest)
				b.AddASN1(cbasn1.SET, func(b *cryptobyte.Builder) { addExtensions(b, trial) })
			})
		})
	})
	tbs, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: encode the request: %w", ErrOrder, err)
	}
	return &Application{TBS: tbs, algorithm: signatureAlgorithm(trial.Raw)}, nil
}

var oidExtensionRequest = []int{1, 2, 840, 113549, 1, 9, 14} // RFC 2985 section 5.4.2

func addExtensions(b *cryptobyte.Builder, cert *x509.Certificate) {
	b.AddASN1(asn1Sequence, func(b *cryptobyte.Builder) {
		for _, e := range cert.Extensions {
			b.AddASN1(asn1Sequence, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(e.Id)
				if e.Critical {
					b.AddASN1Boolean(true)
				}
				b.AddASN1OctetString(e.Value)
			})
		}
	})
}

// Assemble puts the instance's signature behind what it signed.
func (a *Application) Assemble(signature []byte) ([]byte, error) {
	der, err := signed(a.TBS, a.algorithm, signature)
	if err != nil {
		return nil, fmt.Errorf("%w: put the request together: %w", ErrOrder, err)
	}
	if csr, err := x509.ParseCertificateRequest(der); err != nil || !bytes.Equal(csr.RawTBSCertificateRequest, a.TBS) {
		return nil, fmt.Errorf("%w: put together it is no request: %w", ErrOrder, err)
	}
	return der, nil
}

// signed is the form that all signed structures of X.509 have.
func signed(tbs, algorithm, signature []byte) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(algorithm)+len(signature)+16))
	b.AddASN1(asn1Sequence, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(algorithm)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}
