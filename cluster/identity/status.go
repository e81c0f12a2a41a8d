package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// StatusKey signs what a node says about keys to verifiers who only know the
// cluster's CA. It is not the identity key, so that its use shows nothing of that
// one, and its certificate has a usage of its own: it cannot serve TLS, be a peer,
// or be a principal. ECDSA P-256, kept in a file like the identity key: it protects
// answers that live for seconds, and no right follows from it.
type StatusKey struct{ private *ecdsa.PrivateKey }

// NewStatusKey draws a key pair.
func NewStatusKey() (*StatusKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate status key: %w", err)
	}
	return &StatusKey{private}, nil
}

// Public is the public key.
func (k *StatusKey) Public() crypto.PublicKey { return k.private.Public() }

// Signer signs status answers.
func (k *StatusKey) Signer() *ecdsa.PrivateKey { return k.private }

// Request is a PKCS #10 request that proves possession. It names nobody: the issuer
// knows who asks.
func (k *StatusKey) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, k.private)
	if err != nil {
		return nil, fmt.Errorf("request a status certificate: %w", err)
	}
	return der, nil
}

// ParseStatusRequest reads a Request and checks the proof in it.
func ParseStatusRequest(der []byte) (crypto.PublicKey, error) {
	r, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read a status request: %w", err)
	}
	if err := r.CheckSignature(); err != nil {
		return nil, fmt.Errorf("read a status request: it does not prove possession of its key: %w", err)
	}
	if p, ok := r.PublicKey.(*ecdsa.PublicKey); !ok || p.Curve != elliptic.P256() {
		return nil, fmt.Errorf("read a status request: a status key is ECDSA P-256, not %T", r.PublicKey)
	}
	return r.PublicKey, nil
}

func statusUsage() asn1.ObjectIdentifier { return lifecycle.StatusUsage() }

// IssueStatus makes the certificate of a node's status key:
// chancery://<cluster>/status/<node id>.
func (a *Authority) IssueStatus(node lifecycle.NodeID, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	t := &x509.Certificate{UnknownExtKeyUsage: []asn1.ObjectIdentifier{statusUsage()}}
	return a.issue(t, Subject{a.cluster, Status, string(node)}, public, LeafLifetime, now)
}

// VerifyStatus checks the certificate of a status key and says whose it is.
func (b *Bundle) VerifyStatus(chain []*x509.Certificate, cluster string, now time.Time) (lifecycle.NodeID, error) {
	s, err := b.verify(chain, cluster, Status, x509.ExtKeyUsageAny, now)
	if err != nil {
		return "", err
	}
	if leaf := chain[0]; len(leaf.ExtKeyUsage) > 0 || !slices.EqualFunc(leaf.UnknownExtKeyUsage, []asn1.ObjectIdentifier{statusUsage()}, asn1.ObjectIdentifier.Equal) {
		return "", fmt.Errorf("%w: it is not made for status answers", ErrUntrusted)
	}
	return lifecycle.NodeID(s.Name), nil
}

// LoadOrCreateStatusKey reads the status key, or draws it when the node has none. A
// file that cannot be read is an error, because somebody may have put it there.
func (s Store) LoadOrCreateStatusKey() (*StatusKey, error) {
	private, err := readPrivate(s.path(statusKeyFile))
	if err == nil {
		return &StatusKey{private}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load status key: %w; or remove status.key and status.crt, and the node makes new ones", err)
	}
	key, err := NewStatusKey()
	if err != nil {
		return nil, err
	}
	if err := writePrivate(s.path(statusKeyFile), key.private); err != nil {
		return nil, fmt.Errorf("save status key: %w", err)
	}
	return key, nil
}

// SaveStatusLeaf replaces the status key's certificate, after checking that it is
// for key.
func (s Store) SaveStatusLeaf(key *StatusKey, leaf *x509.Certificate) error {
	if !key.private.PublicKey.Equal(leaf.PublicKey) {
		return fmt.Errorf("save status certificate: %w", ErrMismatch)
	}
	if err := disk.WriteFileAtomic(s.path(statusLeafFile), encodeCertificates(leaf), disk.FileMode); err != nil {
		return fmt.Errorf("save status certificate: %w", err)
	}
	return nil
}

// LoadStatusLeaf reads the certificate, expired or not; fs.ErrNotExist when there
// is none.
func (s Store) LoadStatusLeaf(key *StatusKey) (*x509.Certificate, error) {
	leaf, err := readCertificate(s.path(statusLeafFile))
	if err != nil {
		return nil, fmt.Errorf("load status certificate: %w", err)
	}
	if !key.private.PublicKey.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("load status certificate: %w: remove status.crt, the node asks for another", ErrMismatch)
	}
	return leaf, nil
}
