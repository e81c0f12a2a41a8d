package softkey

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// pair is an opened key pair.
type pair struct {
	object  hsm.Object
	alg     lifecycle.Algorithm
	private crypto.Signer
}

// attributes is what a software key can honestly claim: it leaves the process only
// sealed, but it does leave it.
var attributes = hsm.Attributes{Sensitive: true, Extractable: true, Sign: true}

func generatePrivate(alg lifecycle.Algorithm, bits int) (crypto.Signer, error) {
	switch alg {
	case lifecycle.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case lifecycle.ES384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case lifecycle.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	case lifecycle.RS256, lifecycle.PS256:
		return rsa.GenerateKey(rand.Reader, bits)
	}
	return nil, fmt.Errorf("%q: %w", string(alg), hsm.ErrUnsupported)
}

// newPair computes the public half from the private one, so that the two cannot
// disagree.
func newPair(id hsm.ObjectID, label string, alg lifecycle.Algorithm, private crypto.Signer) (*pair, error) {
	if err := hsm.CheckKey(alg, private.Public()); err != nil {
		return nil, err
	}
	spki, err := hsm.MarshalSPKI(private.Public())
	if err != nil {
		return nil, err
	}
	return &pair{
		object:  hsm.Object{ID: id, Label: label, SPKI: spki, Attributes: attributes},
		alg:     alg,
		private: private,
	}, nil
}

// openPair turns an unsealed record into a usable pair.
func openPair(id hsm.ObjectID, rec record) (*pair, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(rec.pkcs8)
	if err != nil {
		return nil, damaged("sealed private key does not parse: %v", err)
	}
	private, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, damaged("sealed private key is a %T", parsed)
	}
	p, err := newPair(id, rec.label, rec.alg, private)
	if err != nil {
		return nil, damaged("sealed private key is not for %q: %v", string(rec.alg), err)
	}
	return p, nil
}

// sign makes one signature. input was checked for its length.
func (p *pair) sign(alg lifecycle.Algorithm, input []byte) ([]byte, error) {
	var opts crypto.SignerOpts = crypto.Hash(0)
	switch alg {
	case lifecycle.ES256, lifecycle.RS256:
		opts = crypto.SHA256
	case lifecycle.ES384:
		opts = crypto.SHA384
	case lifecycle.PS256:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256}
	}
	fault.Reached(fault.SignInHSM)
	return p.private.Sign(rand.Reader, input, opts)
}
