package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/chancery-project/chancery/authority/pki"
)

// newKey makes a key pair of a kind.
func newKey(kind string) (key crypto.Signer, err error) {
	switch kind {
	case pki.KeyP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case pki.KeyP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case pki.KeyEd25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
		return key, err
	case pki.KeyRSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case pki.KeyRSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case pki.KeyRSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, usagef("--key-type %q: choose one of %v", kind, pki.KeyTypes)
}

// requestFor makes the certificate request of a key: the same bytes every time, because
// without randomness an ECDSA signature is that of RFC 6979 and the others have none.
func requestFor(key crypto.Signer, cn string) ([]byte, error) {
	template := new(x509.CertificateRequest)
	template.Subject.CommonName = cn
	der, err := x509.CreateCertificateRequest(nil, template, key)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

func (s *session) privateKey(file string) (crypto.Signer, error) {
	b, err := s.read(file, 64<<10)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
				return nil, fmt.Errorf("%s holds no private key in PKCS#8, SEC 1 or PKCS#1 form", file)
			}
		}
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key that signs", file)
	}
	return key, nil
}
