// Package identity holds what a node and a principal are to each other on the
// wire: the node's long-lived identity key, the CA instance that each voter keeps,
// the short-lived certificates it issues, and the URIs in them.
//
// Threat model: a node IS the SHA-256 of its key's SPKI; peers compare that hash
// with the committed configuration and take nothing from the certificate but the
// key and its dates. A principal's certificate likewise only carries a key, whose
// hash must be registered in the state. The CA instances exist for clients, which
// know the bundle and not the members, so a stolen CA key can fool a client about
// which node it talks to and cannot make a node or a principal of anybody.
//
// Everything is a value or immutable after construction and safe to share. Time is
// always passed in.
package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Sentinels, wrapped with what was found and what to do.
var (
	// ErrSubject is returned when a certificate's URI names no node or principal.
	ErrSubject = errors.New("certificate does not name a chancery node or principal")
	// ErrUntrusted is returned when a certificate does not chain to the bundle.
	ErrUntrusted = errors.New("certificate is not from this cluster")
	// ErrExpired is returned when it would be trusted at another time.
	ErrExpired = errors.New("certificate is outside its validity")
	// ErrMismatch is returned when a certificate belongs to another key.
	ErrMismatch = errors.New("certificate is for another key")
	// ErrPermissions is returned when others can read a private key.
	ErrPermissions = errors.New("private key file is open to others")
	// ErrExists is returned when a private key would be overwritten.
	ErrExists = errors.New("private key file already exists")
)

// Key is a node's identity key pair: ECDSA P-256, because TLS stacks and tools
// everywhere take it. It never changes while the node lives.
type Key struct {
	private *ecdsa.PrivateKey
	id      lifecycle.NodeID
}

// NewKey draws a key pair.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate identity key: %w", err)
	}
	return newKey(private)
}

func newKey(private *ecdsa.PrivateKey) (*Key, error) {
	hash, err := SPKIHash(private.Public())
	if err != nil {
		return nil, err
	}
	return &Key{private: private, id: lifecycle.NodeID(hash)}, nil
}

// NodeID is the hex SHA-256 of the SPKI.
func (k *Key) NodeID() lifecycle.NodeID { return k.id }

// Public is the public key, for a certificate.
func (k *Key) Public() crypto.PublicKey { return k.private.Public() }

// Signer signs TLS handshakes.
func (k *Key) Signer() crypto.Signer { return k.private }

// SPKIHash is the lower-case hex SHA-256 of a public key's DER
// SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7): a node id, and the form in
// which a principal's keys are registered.
func SPKIHash(public crypto.PublicKey) (string, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:]), nil
}

// SPKIHashOf is SPKIHash over the bytes that stand in the certificate.
func SPKIHashOf(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
