package identity

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery-project/chancery/cluster/disk"
)

// Files of an identity directory, all 0600.
const (
	keyFile    = "node.key"
	leafFile   = "node.crt"
	caKeyFile  = "ca.key"
	caCertFile = "ca.crt"
	bundleFile = "bundle.pem"

	statusKeyFile  = "status.key"
	statusLeafFile = "status.crt"

	privateBlock = "PRIVATE KEY"
)

// Store is the identity directory of a node. Its methods touch the disk and keep
// nothing in memory; one goroutine writes at a time.
type Store struct{ dir string }

// NewStore names the directory (disk.Dir.Identity).
func NewStore(dir string) Store { return Store{dir} }

func (s Store) path(name string) string { return filepath.Join(s.dir, name) }

// LoadOrCreateKey reads the identity key, or draws it when the node has none yet.
// Only plain absence creates: an unreadable key is an error, because a new key is
// a new node.
func (s Store) LoadOrCreateKey() (*Key, error) {
	private, err := readPrivate(s.path(keyFile))
	if err == nil {
		return newKey(private)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("load identity key: %w", err)
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	if err := writePrivate(s.path(keyFile), key.private); err != nil {
		return nil, fmt.Errorf("save identity key: %w", err)
	}
	return key, nil
}

// LoadKey reads the identity key; fs.ErrNotExist when the node has none.
func (s Store) LoadKey() (*Key, error) {
	private, err := readPrivate(s.path(keyFile))
	if err != nil {
		return nil, fmt.Errorf("load identity key: %w", err)
	}
	return newKey(private)
}

// SaveLeaf replaces the node's certificate, after checking that it is for key.
func (s Store) SaveLeaf(key *Key, leaf *x509.Certificate) error {
	if SPKIHashOf(leaf) != string(key.id) {
		return fmt.Errorf("save node certificate: %w", ErrMismatch)
	}
	if err := disk.WriteFileAtomic(s.path(leafFile), encodeCertificates(leaf), disk.FileMode); err != nil {
		return fmt.Errorf("save node certificate: %w", err)
	}
	return nil
}

// LoadLeaf reads the node's certificate as crypto/tls wants it. An expired one is
// returned like any other: Raft still works with it. fs.ErrNotExist when none.
func (s Store) LoadLeaf(key *Key) (*tls.Certificate, error) {
	leaf, err := readCertificate(s.path(leafFile))
	if err != nil {
		return nil, fmt.Errorf("load node certificate: %w", err)
	}
	return key.TLS(leaf)
}

// TLS joins the key with a certificate for it.
func (k *Key) TLS(leaf *x509.Certificate) (*tls.Certificate, error) {
	if SPKIHashOf(leaf) != string(k.id) {
		return nil, fmt.Errorf("use node certificate: %w: delete it, the node asks for another", ErrMismatch)
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: k.private, Leaf: leaf}, nil
}

// CreateAuthority stores a new CA instance. It never overwrites one.
//
// The certificate is written first: dying in between leaves a certificate without
// a key, which LoadAuthority reports as absent and a repeated call replaces.
func (s Store) CreateAuthority(a *Authority) error {
	if _, err := os.Lstat(s.path(caKeyFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("save CA: %s: %w", s.path(caKeyFile), errors.Join(ErrExists, err))
	}
	if err := disk.WriteFileAtomic(s.path(caCertFile), encodeCertificates(a.cert), disk.FileMode); err != nil {
		return fmt.Errorf("save CA certificate: %w", err)
	}
	if err := writePrivate(s.path(caKeyFile), a.private); err != nil {
		return fmt.Errorf("save CA key: %w", err)
	}
	return nil
}

// LoadAuthority reads the CA instance; fs.ErrNotExist when the node has none.
func (s Store) LoadAuthority(cluster string) (*Authority, error) {
	private, err := readPrivate(s.path(caKeyFile))
	if err != nil {
		return nil, fmt.Errorf("load CA key: %w", err)
	}
	cert, err := readCertificate(s.path(caCertFile))
	if err != nil {
		return nil, fmt.Errorf("load CA certificate: %w", err)
	}
	return newAuthority(cluster, cert.Raw, private)
}

// SaveBundle replaces the CA bundle.
func (s Store) SaveBundle(b *Bundle) error {
	if err := disk.WriteFileAtomic(s.path(bundleFile), b.PEM(), disk.FileMode); err != nil {
		return fmt.Errorf("save CA bundle: %w", err)
	}
	return nil
}

// LoadBundle reads the CA bundle; fs.ErrNotExist when none.
func (s Store) LoadBundle() (*Bundle, error) {
	text, err := os.ReadFile(s.path(bundleFile))
	if err != nil {
		return nil, fmt.Errorf("load CA bundle: %w", err)
	}
	return ParseBundle(text)
}

func readCertificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(text)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(certs) != 1 {
		return nil, fmt.Errorf("read %s: %d certificates where one belongs", path, len(certs))
	}
	return certs[0], nil
}

// readPrivate reads a PKCS #8 P-256 key and refuses a file that others can read.
// Its errors never contain what the file holds.
func readPrivate(path string) (*ecdsa.PrivateKey, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("read %s: %w (mode %04o): run chmod 600 on it, and rejoin with a new key if others could log in here", path, ErrPermissions, info.Mode().Perm())
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != privateBlock || len(rest) != 0 {
		return nil, fmt.Errorf("read %s: it is not one PKCS #8 PEM block: restore it from a backup", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	private, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok || private.Curve.Params().BitSize != 256 {
		return nil, fmt.Errorf("read %s: it is not an ECDSA P-256 key: restore it from a backup", path)
	}
	return private, nil
}

func writePrivate(path string, private *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return fmt.Errorf("encode private key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der})
	clear(der)
	defer clear(text)
	return disk.WriteFileAtomic(path, text, disk.FileMode)
}
