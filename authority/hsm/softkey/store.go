// Package softkey is the software key store: key pairs sealed at rest, one file
// each, for development and small installations.
//
// Threat model: whoever steals the data directory or a backup of it gets nothing,
// because the sealing key comes from a file outside of it. Whoever controls the
// running process, or root on the machine, gets the keys; that is what an HSM is
// for, and Attributes.Extractable says so. A file deleted from the directory is
// not detected here but by the reconciler above, which knows what must exist.
//
// Concurrency: mu owns the set of files and the opened pairs; Generate and Destroy
// hold it exclusively, Sign only to look its pair up. slots bounds how many
// signatures are computed at one time.
package softkey

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func init() {
	hsm.Register(hsm.DriverSoft, func(ctx context.Context, cfg hsm.Config, log *slog.Logger) (hsm.KeyStore, error) {
		return Open(ctx, cfg, log)
	})
}

// Store is an open software key store.
type Store struct {
	dir       string
	clusterID string
	lock      *os.File
	log       *slog.Logger

	mu     sync.RWMutex // owns ring, sealer, pairs, closed and the files in dir
	ring   *keyring
	sealer sealingKey // for new files
	pairs  map[hsm.ObjectID]*pair
	closed bool

	health  atomic.Pointer[hsm.Health]
	slots   chan struct{} // one token per signature being computed
	pending atomic.Int64  // signatures computed or waiting
	bound   int64         // most pending allowed
}

var (
	_ hsm.KeyStore = (*Store)(nil)
	_ hsm.Prober   = (*Store)(nil)
)

// warning is logged at each open, because a software store must not slip into
// production unnoticed.
const warning = "software key store: for development and small installations. " +
	"Its keys are sealed on disk but live in this process's memory; whoever controls the process or root has them. " +
	"Use driver pkcs11 with an HSM to keep them out of reach"

// Open opens or creates the store in cfg.Dir and checks that the configured secret
// opens what is there. A single damaged file does not stop it; Health and each use
// of that key say so.
func Open(ctx context.Context, cfg hsm.Config, log *slog.Logger) (*Store, error) {
	cfg = cfg.WithDefaults()
	if cfg.Dir == "" || cfg.ClusterID == "" {
		return nil, errors.New("open software key store: directory and cluster id must be set")
	}
	if len(cfg.ClusterID) > 1<<16-1 {
		return nil, errors.New("open software key store: cluster id is too long")
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open software key store: %w", err)
	}
	ring, err := openKeyring(cfg)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open software key store: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: cfg.Dir, clusterID: cfg.ClusterID, lock: lock, log: log, ring: ring,
		pairs: make(map[hsm.ObjectID]*pair),
		slots: make(chan struct{}, cfg.Concurrency),
		bound: int64(cfg.Concurrency + cfg.QueueMax),
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	log.Warn(warning, "node", cfg.NodeName, "dir", cfg.Dir)
	return s, nil
}

// load opens each file once. All of them refusing the secret means that the secret
// is wrong, some of them that these are damaged.
func (s *Store) load() error {
	ids, err := s.listIDs()
	if err != nil {
		return err
	}
	var broken []error
	for _, id := range ids {
		if _, err := s.open(id); err != nil {
			broken = append(broken, err)
		}
	}
	if len(broken) > 0 && len(broken) == len(ids) {
		return fmt.Errorf("open software key store: none of %d keys opens; check key_file or passphrase_file and the cluster id: %w", len(ids), broken[0])
	}
	s.setHealth(errors.Join(broken...))
	if s.sealer.kdf.kind != 0 {
		return nil
	}
	kdf, err := newDerivation(s.ring.kind)
	if err != nil {
		return err
	}
	s.sealer, err = s.ring.derive(kdf)
	return err
}

func (s *Store) setHealth(err error) {
	h := hsm.Health{OK: err == nil, Token: s.dir}
	if err != nil {
		h.Why = err.Error() + ". Restore the files from a backup, or report the instances as lost"
	}
	s.health.Store(&h)
}

// open reads, unseals and caches one pair. The caller holds mu.
func (s *Store) open(id hsm.ObjectID) (*pair, error) {
	file, err := readFile(s.path(id))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("key %s: %w", id, hsm.ErrNotFound)
	case errors.Is(err, hsm.ErrCorrupt):
		return nil, fmt.Errorf("key %s: %w", id, err)
	case err != nil:
		return nil, fmt.Errorf("key %s: read file: %w: %w", id, hsm.ErrUnavailable, err)
	}
	p, key, err := s.unsealPair(id, file)
	if err != nil {
		return nil, fmt.Errorf("key file %s: %w", s.path(id), err)
	}
	if s.sealer.kdf.kind == 0 {
		s.sealer = key // one salt for the whole store, so that Argon2id runs once
	}
	s.pairs[id] = p
	return p, nil
}

func (s *Store) unsealPair(id hsm.ObjectID, file []byte) (*pair, sealingKey, error) {
	h, _, err := parseHeader(file)
	if err != nil {
		return nil, sealingKey{}, err
	}
	key, err := s.ring.derive(h.kdf)
	if err != nil {
		return nil, sealingKey{}, err
	}
	rec, err := unseal(key, s.clusterID, id, file)
	if err != nil {
		return nil, sealingKey{}, err
	}
	defer clear(rec.pkcs8)
	p, err := openPair(id, rec)
	return p, key, err
}

// Driver implements hsm.KeyStore.
func (s *Store) Driver() string { return hsm.DriverSoft }

// Health implements hsm.KeyStore.
func (s *Store) Health() hsm.Health { return *s.health.Load() }

// Check implements hsm.KeyStore. Every algorithm of lifecycle is offered.
func (s *Store) Check(alg lifecycle.Algorithm, bits int) error {
	if err := lifecycle.CheckAlgorithm(alg, bits); err != nil {
		return fmt.Errorf("%w: %w", hsm.ErrUnsupported, err)
	}
	return nil
}

// Generate implements hsm.KeyStore.
func (s *Store) Generate(ctx context.Context, spec hsm.Spec) (hsm.Object, error) {
	if err := s.Check(spec.Alg, spec.Bits); err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	// Computed outside the lock: an RSA key takes up to a second.
	private, err := generatePrivate(spec.Alg, spec.Bits)
	if err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	p, err := newPair(spec.ID, spec.Label, spec.Alg, private)
	if err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	// Lstat, not the cache: a damaged file holds the id as well.
	if _, err := os.Lstat(s.path(spec.ID)); !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return hsm.Object{}, fmt.Errorf("generate key %s: %w: %w", spec.ID, hsm.ErrUnavailable, err)
		}
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, hsm.ErrExists)
	}
	if err := s.store(p); err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	return copyObject(p.object), nil
}

// store seals and writes a pair, and opens it again from what was written. The
// caller holds mu.
func (s *Store) store(p *pair) error {
	pkcs8, err := x509.MarshalPKCS8PrivateKey(p.private)
	if err != nil {
		return fmt.Errorf("encode private key: %w", err)
	}
	defer clear(pkcs8)
	file, err := seal(s.sealer, s.clusterID, p.object.ID, record{alg: p.alg, label: p.object.Label, pkcs8: pkcs8})
	if err != nil {
		return err
	}
	if err := s.writeFile(p.object.ID, file); err != nil {
		return err
	}
	_, err = s.open(p.object.ID)
	return err
}

// usable refuses work on a closed store or past the caller's deadline. The caller
// holds mu.
func (s *Store) usable(ctx context.Context) error {
	if s.closed {
		return hsm.ErrClosed
	}
	return ctx.Err()
}

// Find implements hsm.KeyStore. It reads the file, not the cache.
func (s *Store) Find(ctx context.Context, id hsm.ObjectID) (hsm.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return hsm.Object{}, fmt.Errorf("find key %s: %w", id, err)
	}
	p, err := s.open(id)
	if err != nil {
		delete(s.pairs, id)
		return hsm.Object{}, fmt.Errorf("find: %w", err)
	}
	return copyObject(p.object), nil
}

// Inventory implements hsm.KeyStore. A damaged file is listed with its id and no
// SPKI: its content is unknown, its existence is not.
func (s *Store) Inventory(ctx context.Context) ([]hsm.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return nil, fmt.Errorf("list keys: %w", err)
	}
	ids, err := s.listIDs()
	if err != nil {
		return nil, err
	}
	objects := make([]hsm.Object, 0, len(ids))
	var broken []error
	for _, id := range ids {
		p, err := s.open(id)
		if err != nil {
			delete(s.pairs, id)
			broken = append(broken, err)
			objects = append(objects, hsm.Object{ID: id})
			continue
		}
		objects = append(objects, copyObject(p.object))
	}
	s.setHealth(errors.Join(broken...))
	return objects, nil
}

// Destroy implements hsm.KeyStore. It removes the file; on a journalling or flash
// file system the sealed bytes may survive in unused blocks, worthless without the
// sealing key.
func (s *Store) Destroy(ctx context.Context, id hsm.ObjectID, spki []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return fmt.Errorf("destroy key %s: %w", id, err)
	}
	p, err := s.open(id)
	if err != nil {
		return fmt.Errorf("destroy: %w", err)
	}
	if !bytes.Equal(p.object.SPKI, spki) {
		return fmt.Errorf("destroy key %s: %w", id, hsm.ErrMismatch)
	}
	if err := s.removeFile(id); err != nil {
		return fmt.Errorf("destroy key %s: %w", id, err)
	}
	delete(s.pairs, id)
	return nil
}

// Close implements hsm.KeyStore.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.ring.forget()
	clear(s.pairs)
	s.sealer = sealingKey{}
	s.health.Store(&hsm.Health{Why: hsm.ErrClosed.Error(), Token: s.dir})
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("unlock software key store: %w", err)
	}
	return nil
}

// copyObject keeps callers from writing into the cached SPKI.
func copyObject(o hsm.Object) hsm.Object {
	o.SPKI = bytes.Clone(o.SPKI)
	return o
}
