package crl

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Published is a signed list on this node's disk. It is immutable; a newer one takes its
// place, and whoever has this one open reads on.
type Published struct {
	KID                    string
	Shard                  uint64 // 0 = the full list
	Number                 uint64
	ThisUpdate, NextUpdate time.Time
	TBSHash                [32]byte
	SizeBytes              int64
	ETag                   string // quoted

	path string
}

// Store keeps the newest list of each instance as a file: a list of a million entries
// has 40 MB, and a node serves those of every instance. Any goroutine may use it.
type Store struct {
	dir   string
	write func(path string, b []byte) error

	mu    sync.RWMutex // owns lists
	lists map[place]*Published
}

type place struct {
	kid   string
	shard uint64
}

// file is the name of a list: a kid is base64url, which is fit for file names.
func (p place) file() string {
	if p.shard == 0 {
		return p.kid + suffix
	}
	return p.kid + "." + strconv.FormatUint(p.shard, 10) + suffix
}

const suffix = ".crl"

// OpenStore reads which lists are in a directory, which it makes. write replaces a file
// as a whole or not at all, and returns when it is on the disk. A file that is no list is
// an error: somebody put it there.
func OpenStore(dir string, write func(path string, b []byte) error) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the CRLs: %w", err)
	}
	s := &Store{dir: dir, write: write, lists: map[place]*Published{}}
	files, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open the CRLs: %w", err)
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok {
			continue // a file that was being written
		}
		p := place{kid: name}
		if kid, shard, ok := strings.Cut(name, "."); ok {
			if p.shard, err = strconv.ParseUint(shard, 10, 64); err != nil {
				return nil, fmt.Errorf("open the CRLs: %s is no name of a CRL: move it away", f.Name())
			}
			p.kid = kid
		}
		if err := s.load(p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *Store) load(p place) error {
	path := filepath.Join(s.dir, p.file())
	der, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the CRLs: %w", err)
	}
	f, err := Read(der)
	if err != nil {
		return fmt.Errorf("open the CRLs: %s: %w: remove it, the node gets it again", path, err)
	}
	s.lists[p] = published(p, f, path, int64(len(der)))
	return nil
}

func published(p place, f *Facts, path string, sizeBytes int64) *Published {
	return &Published{KID: p.kid, Shard: p.shard, Number: f.Number, ThisUpdate: f.ThisUpdate, NextUpdate: f.NextUpdate, TBSHash: f.TBSHash,
		SizeBytes: sizeBytes, ETag: `"` + hex.EncodeToString(f.TBSHash[:16]) + `"`, path: path}
}

// Get is the list of an instance, nil when this node has none.
func (s *Store) Get(kid string, shard uint64) *Published {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.lists[place{kid, shard}]
}

// Open opens the list of an instance for reading; nil when this node has none. The file
// is the very list that is described, also when a newer one takes its place meanwhile.
func (s *Store) Open(kid string, shard uint64) (*Published, *os.File, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	p := s.lists[place{kid, shard}]
	if p == nil {
		return nil, nil, nil
	}
	f, err := os.Open(p.path)
	if err != nil {
		return nil, nil, fmt.Errorf("open a CRL: %w", err)
	}
	return p, f, nil
}

// Put keeps a verified list in place of an older one.
func (s *Store) Put(kid string, shard uint64, f *Facts, der []byte) error {
	p := place{kid, shard}
	if strings.ContainsAny(kid, "/.\\") || kid == "" {
		return fmt.Errorf("keep a CRL: %q is no kid", kid)
	}
	s.mu.Lock() // across the write: what is in the map is what is on the disk
	defer s.mu.Unlock()
	if old := s.lists[p]; old != nil && old.Number > f.Number {
		return nil
	}
	path := filepath.Join(s.dir, p.file())
	if err := s.write(path, der); err != nil {
		return fmt.Errorf("keep a CRL: %w", err)
	}
	s.lists[p] = published(p, f, path, int64(len(der)))
	return nil
}
