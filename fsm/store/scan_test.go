package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestScanFindsAlterations changes the file behind the Store's back, then looks
// both in the process that holds it open and in one that opens it afterwards.
func TestScanFindsAlterations(t *testing.T) {
	put := func(t state.Table, key string, row []byte) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte(t)).Put([]byte(key), row) }
	}
	del := func(t state.Table, key string) func(*bolt.Tx) error {
		return func(tx *bolt.Tx) error { return tx.Bucket([]byte(t)).Delete([]byte(key)) }
	}
	first := func(s *Store, table state.Table) (k string, v []byte) {
		if err := s.read(func(r state.Reader) error {
			r.Ascend(table, "", func(key string, row []byte) bool {
				k, v = key, append([]byte(nil), row...)
				return false
			})
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return k, v
	}
	for name, alter := range map[string]func(s *Store) func(*bolt.Tx) error{
		"owner of a key": func(s *Store) func(*bolt.Tx) error {
			k := *s.View().Key(fsmtest.KeyName(2))
			k.Owner = "mallory@example.org"
			return put(state.TableKeys, string(k.ID), command.Marshal(&k))
		},
		"a principal removed": func(s *Store) func(*bolt.Tx) error { return del(state.TablePrincipals, "alice") },
		"an operation removed": func(s *Store) func(*bolt.Tx) error {
			k, _ := first(s, state.TableOperations)
			return del(state.TableOperations, k)
		},
		"a leaf": func(s *Store) func(*bolt.Tx) error {
			k, v := first(s, state.TableLog)
			v[len(v)-3] ^= 1
			return put(state.TableLog, k, v)
		},
		"a stored hash": func(s *Store) func(*bolt.Tx) error {
			k, v := first(s, state.TableLogHashes)
			v[0] ^= 1
			return put(state.TableLogHashes, k, v)
		},
		"a leaf too many": func(s *Store) func(*bolt.Tx) error {
			n := s.Position().LogSize
			return put(state.TableLog, string([]byte{0, 0, 0, 0, 0, 0, byte(n >> 8), byte(n)}), []byte("leaf"))
		},
		"the meta row of another position": func(s *Store) func(*bolt.Tx) error {
			_, before := first(s, state.TableMeta)
			apply(t, s, batch(6, [][]byte{fsmtest.CreateKey(5)}))
			return put(state.TableMeta, "meta", before)
		},
		"no meta row": func(*Store) func(*bolt.Tx) error { return del(state.TableMeta, "meta") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, Options{})
			apply(t, s, batch(1, fsmtest.Script(4)))
			standOf(t, s) // sound before
			tamper(t, s, alter(s))
			_, err := s.Scan(t.Context())
			var a *Altered
			if !errors.As(err, &a) || a.Index == 0 {
				t.Fatalf("held open: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s, err = Open(dir, Options{Fatal: func(error) {}})
			if err == nil {
				_, err = s.Scan(t.Context())
				_ = s.Close()
			}
			if !errors.As(err, &a) && !errors.Is(err, ErrDamaged) {
				t.Fatalf("opened afterwards: %v", err)
			}
		})
	}
}

// TestScanComparesMemoryWithDisk: the digest adds up, and yet readers see something
// else than what is stored.
func TestScanComparesMemoryWithDisk(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(4)))
	s.View().Key(fsmtest.KeyName(2)).Owner = "a writer to a shared row"
	var a *Altered
	if _, err := s.Scan(t.Context()); !errors.As(err, &a) || a.What != "hot rows" {
		t.Fatal(err)
	}
}

func TestScanEnds(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(4)))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Scan(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestDamagedFile spoils each page of the file in turn, and cuts it: Open or Scan
// notices, or the page held nothing. Never a crash.
func TestDamagedFile(t *testing.T) {
	dir, script := t.TempDir(), fsmtest.Script(40)
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:20]))
	apply(t, s, batch(21, script[20:]))
	want := standOf(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	page, noticed := os.Getpagesize(), 0
	check := func(what string, b []byte) {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), b, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{Fatal: func(error) {}})
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: %v", what, err)
			}
			noticed++
			return
		}
		defer s.Close()
		_, err = s.Scan(t.Context())
		var a *Altered
		switch at, digest := s.Digest(); {
		case errors.As(err, &a):
			noticed++
		case err != nil:
			t.Fatalf("%s: %v", what, err)
		case want != stand{at, digest} && at.Index != 20: // the meta page before the last still stands
			t.Fatalf("%s: another state, at %d, is taken for sound", what, at.Index)
		}
	}
	for at := 0; at < len(sound); at += page {
		b := append([]byte(nil), sound...)
		for i := at + 16; i < min(at+page, len(b)); i++ { // all but the page's own header
			b[i] ^= 0x5a
		}
		check(fmt.Sprintf("page %d", at/page), b)
		if at > 0 { // an empty file is a new one, and Start brings it up to the log
			check(fmt.Sprintf("cut at page %d", at/page), sound[:at])
		}
	}
	if noticed < len(sound)/page {
		t.Fatalf("only %d damages of %d pages were noticed", noticed, len(sound)/page)
	}
}
