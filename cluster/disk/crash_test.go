package disk

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// crasher stops at the n-th durable step and counts them.
type crasher struct {
	n, seen int
	at      string
}

func (c *crasher) step(name string) error {
	c.seen++
	if c.seen == c.n {
		c.at = name
		return errCrash
	}
	return nil
}

func TestWriteFileAtomicCrash(t *testing.T) {
	for n := 1; ; n++ {
		path := filepath.Join(t.TempDir(), "file")
		if err := WriteFileAtomic(path, []byte("old"), 0o640); err != nil {
			t.Fatal(err)
		}
		c := &crasher{n: n}
		err := writeFileAtomic(path, []byte("newer"), 0o600, c.step)
		got, readErr := os.ReadFile(path)
		if readErr != nil || string(got) != "old" && string(got) != "newer" {
			t.Fatalf("crash at %q left %q, %v", c.at, got, readErr)
		}
		if c.at == "" {
			if err != nil || string(got) != "newer" {
				t.Fatalf("uninterrupted write: %q, %v", got, err)
			}
			if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
				t.Fatalf("mode %o", info.Mode().Perm())
			}
			if n != 5 {
				t.Fatalf("%d crash points, want 4", n-1)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("crash at %q: %v", c.at, err)
		}
	}
}

func TestWriteFileAtomicFailureLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteFileAtomic(filepath.Join(dir, "taken"), []byte("x"), 0o600); err == nil {
		t.Fatal("replaced a directory by a file")
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
	if err := WriteFileAtomic(filepath.Join(dir, "absent", "x"), nil, 0o600); err == nil {
		t.Fatal("wrote into a directory that does not exist")
	}
}

// TestFirstOpenCrash cuts the power at every step of the first Open: the next one
// must complete the directory.
func TestFirstOpenCrash(t *testing.T) {
	for n := 1; ; n++ {
		root := filepath.Join(t.TempDir(), "data")
		c := &crasher{n: n}
		d, err := Open(root, Options{crash: c.step, BootID: boot("a")})
		if c.at == "" {
			if err != nil {
				t.Fatal(err)
			}
			d.Close()
			if n < 10 {
				t.Fatalf("only %d crash points", n-1)
			}
			return
		}
		if !errors.Is(err, errCrash) {
			t.Fatalf("crash at %q: %v", c.at, err)
		}
		d = mustOpen(t, root, Options{BootID: boot("b")})
		if !isIncarnation(d.Incarnation()) {
			t.Fatalf("crash at %q: incarnation %q", c.at, d.Incarnation())
		}
		assertSwept(t, root)
	}
}

func assertSwept(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if strings.Contains(path, temporaryInfix) {
			t.Errorf("unfinished file left: %s", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestSetAsideCrash cuts the power at every step of SetAside. Whatever the next
// Open shows, the old incarnation and a missing log never come together.
func TestSetAsideCrash(t *testing.T) {
	for n := 1; ; n++ {
		root := t.TempDir()
		c := &crasher{n: -1}
		d := mustOpen(t, root, Options{crash: c.step, BootID: boot("a")})
		old := d.Incarnation()
		for _, f := range []string{d.RaftLog(), filepath.Join(d.State(), "state.db"), filepath.Join(d.Identity(), "node.key")} {
			if err := os.WriteFile(f, []byte(old), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.seen, c.n = 0, n
		aside, err := d.SetAside()
		d.Abandon()
		if c.at == "" {
			if err != nil || aside != filepath.Join(root, "aside-"+old) {
				t.Fatalf("SetAside: %q, %v", aside, err)
			}
		} else if !errors.Is(err, errCrash) {
			t.Fatalf("crash at %q: %v", c.at, err)
		}

		d = mustOpen(t, root, Options{BootID: boot("a")})
		_, logErr := os.Stat(d.RaftLog())
		hasLog := logErr == nil
		if (d.Incarnation() == old) != hasLog {
			t.Fatalf("crash at %q: incarnation old=%v with a log=%v", c.at, d.Incarnation() == old, hasLog)
		}
		if kept, err := os.ReadFile(filepath.Join(d.Identity(), "node.key")); err != nil || string(kept) != old {
			t.Fatalf("crash at %q: identity %q, %v", c.at, kept, err)
		}
		if d.Incarnation() != old {
			for _, f := range []string{"raft/log.db", "state/state.db"} {
				if got, err := os.ReadFile(filepath.Join(root, "aside-"+old, f)); err != nil || string(got) != old {
					t.Fatalf("crash at %q: evidence %s: %q, %v", c.at, f, got, err)
				}
			}
			if _, err := os.Stat(d.Snapshots()); err != nil {
				t.Fatalf("crash at %q: %v", c.at, err)
			}
		}
		if c.at == "" {
			if n < 10 {
				t.Fatalf("only %d crash points", n-1)
			}
			return
		}
	}
}

// TestForsake: what is asked for happens at the next start, whatever happened to this
// one, and a node does not ask twice by itself.
func TestForsake(t *testing.T) {
	root := t.TempDir()
	d := mustOpen(t, root, Options{BootID: boot("a")})
	old := d.Incarnation()
	if err := os.WriteFile(d.RaftLog(), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Forsake(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.RaftLog()); err != nil || d.Incarnation() != old {
		t.Errorf("something moved under open stores: %v", err)
	}
	d.Abandon()
	d = mustOpen(t, root, Options{BootID: boot("a")})
	if _, err := os.Stat(d.RaftLog()); err == nil || d.Incarnation() == old {
		t.Errorf("it starts with its old log (%v) or as %s", err, d.Incarnation())
	}
	aside := filepath.Join(root, "aside-"+old)
	if got, err := os.ReadFile(filepath.Join(aside, "raft", "log.db")); err != nil || string(got) != old {
		t.Errorf("evidence: %q, %v", got, err)
	}
	again := d.Incarnation()
	if err := d.Forsake(); !errors.Is(err, ErrSetAside) || !strings.Contains(err.Error(), aside) {
		t.Errorf("asked a second time: %v", err)
	}
	d.Abandon()
	if d = mustOpen(t, root, Options{BootID: boot("a")}); d.Incarnation() != again {
		t.Error("a refused request was carried out")
	}
}
