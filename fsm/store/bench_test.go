package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func BenchmarkApplyBatch(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, b.TempDir(), Options{})
			apply(b, s, batch(1, [][]byte{fsmtest.Genesis()}))
			next := 1
			for b.Loop() {
				b.StopTimer()
				entries := make([]Entry, size)
				for i := range entries {
					entries[i] = Entry{Index: uint64(next + 1), Data: fsmtest.CreateKey(next)}
					next++
				}
				b.StartTimer()
				apply(b, s, entries)
			}
			b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

const manyKeys = 100_000

// manyDir is what many made; TestMain removes it.
var manyDir string

// many is a directory with a state of manyKeys keys and its snapshot, made once.
var many = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "chancery-bench-")
	if err != nil {
		return "", err
	}
	manyDir = dir
	s, err := Open(dir, Options{Fatal: func(err error) { panic(err) }})
	if err != nil {
		return "", err
	}
	script := fsmtest.Script(manyKeys)
	for i := 0; i < len(script); i += 1000 {
		if _, err := s.ApplyBatch(batch(uint64(i+1), script[i:min(i+1000, len(script))])); err != nil {
			return "", err
		}
	}
	n, err := s.Snapshot()
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	if _, err := n.Write(&buf); err != nil {
		return "", err
	}
	n.Release()
	if err := os.WriteFile(filepath.Join(dir, "taken.snap"), buf.Bytes(), 0o600); err != nil {
		return "", err
	}
	return dir, s.Close()
})

// manyOpen opens a state of manyKeys.
func manyOpen(b *testing.B) (string, *Store) {
	b.Helper()
	dir, err := many()
	if err != nil {
		b.Fatal(err)
	}
	return dir, open(b, dir, Options{})
}

func BenchmarkView(b *testing.B) {
	_, s := manyOpen(b)
	names := make([]lifecycle.KeyID, manyKeys)
	for i := range names {
		names[i] = fsmtest.KeyName(i + 1)
	}
	b.Run("hot", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i = (i + 7919) % manyKeys {
				if s.View().Key(names[i]) == nil {
					b.Error("no key")
				}
			}
		})
	})
	b.Run("cold", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			for i := uint64(0); pb.Next(); i = (i + 1) % manyKeys {
				if err := s.View().Leaves(i, func(uint64, *state.Leaf, []byte) bool { return false }); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

func BenchmarkSnapshot(b *testing.B) {
	_, s := manyOpen(b)
	for b.Loop() {
		n, err := s.Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := n.Write(io.Discard); err != nil {
			b.Fatal(err)
		}
		n.Release()
	}
}

// BenchmarkApplyBesideSnapshot applies single entries while a large snapshot is
// written again and again, and reports the longest that one of them took.
func BenchmarkApplyBesideSnapshot(b *testing.B) {
	dir, err := many()
	if err != nil {
		b.Fatal(err)
	}
	s := open(b, copyDir(b, dir), Options{})
	before, err := s.Sizes()
	if err != nil {
		b.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			n, err := s.Snapshot()
			if err == nil {
				_, err = n.Write(&untilWriter{stop})
				n.Release()
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	var longest time.Duration
	for b.Loop() {
		n := int(s.Position().Index)
		entries := batch(uint64(n+1), [][]byte{fsmtest.CreateKey(n)})
		began := time.Now()
		apply(b, s, entries)
		longest = max(longest, time.Since(began))
	}
	close(stop)
	if err := <-done; !errors.Is(err, ErrClosed) {
		b.Fatal(err)
	}
	z, err := s.Sizes()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(z.FileBytes-before.FileBytes)/float64(b.N), "growth-B/op")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
}

// untilWriter throws everything away until it is told to stop.
type untilWriter struct{ stop chan struct{} }

func (w *untilWriter) Write(p []byte) (int, error) {
	if isClosed(w.stop) {
		return 0, ErrClosed
	}
	return len(p), nil
}

func BenchmarkRestore(b *testing.B) {
	dir, err := many()
	if err != nil {
		b.Fatal(err)
	}
	snap, err := os.ReadFile(filepath.Join(dir, "taken.snap"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(snap)))
	for b.Loop() {
		s := open(b, b.TempDir(), Options{})
		if _, replaced, err := s.Restore(bytes.NewReader(snap)); err != nil || !replaced {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir, s := manyOpen(b)
	for b.Loop() {
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		s = open(b, dir, Options{})
	}
}

func BenchmarkScan(b *testing.B) {
	_, s := manyOpen(b)
	for b.Loop() {
		if _, err := s.Scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplay passes over entries that were applied before.
func BenchmarkReplay(b *testing.B) {
	s := open(b, b.TempDir(), Options{})
	entries := batch(1, fsmtest.Script(63))
	apply(b, s, entries)
	for b.Loop() {
		apply(b, s, entries)
	}
	b.ReportMetric(float64(b.N*len(entries))/b.Elapsed().Seconds(), "entries/s")
}
