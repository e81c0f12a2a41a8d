package seal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func order(i int, key lifecycle.KeyID) lifecycle.Seal {
	return lifecycle.Seal{ID: fmt.Sprintf("%016x", i+1), Key: key, Reason: "drill", By: "uid 0", At: 1_800_000_000_000}
}

// replace is enough of a Replace for tests that crash nothing.
func replace(path string, content []byte) error { return os.WriteFile(path, content, 0o600) }

func open(t *testing.T, path string) *List {
	t.Helper()
	l, err := Open(path, replace)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestSealsSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "seals")
	l := open(t, path)
	if l.Covering("ci") != nil || l.Covering("") != nil || len(l.All()) != 0 {
		t.Fatal("sealed from the first")
	}
	if _, err := l.Add(order(0, "ci")); err != nil {
		t.Fatal(err)
	}
	if l.Covering("ci") == nil || l.Covering("other") != nil || l.Covering("") != nil {
		t.Error("an order about one key covers that key alone")
	}
	again := open(t, path)
	if s := again.Covering("ci"); s == nil || *s != order(0, "ci") {
		t.Errorf("after the restart: %+v", s)
	}
	select {
	case <-again.Added():
	default:
		t.Error("what was kept is not announced after the restart")
	}
	if _, err := again.Add(order(1, "")); err != nil {
		t.Fatal(err)
	}
	if again.Covering("other") == nil || again.Covering("") == nil {
		t.Error("an order about the node covers everything")
	}
	if got, err := again.Add(order(2, "ci")); err != nil || got.ID != order(0, "ci").ID || len(again.All()) != 2 {
		t.Errorf("the same order once more: %+v, %v", got, err)
	}
	if err := again.Remove(order(1, "").ID); err != nil {
		t.Fatal(err)
	}
	if last := open(t, path); last.Covering("ci") == nil || last.Covering("") != nil {
		t.Errorf("after one was lifted: %+v", last.All())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestSealHoldsWithoutADisk: what cannot be written is in force all the same.
func TestSealHoldsWithoutADisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "gone")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	l := open(t, filepath.Join(dir, "seals"))
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Add(order(0, "")); !errors.Is(err, ErrNotKept) {
		t.Fatalf("err = %v, want ErrNotKept", err)
	}
	if l.Covering("ci") == nil {
		t.Fatal("the node signs because its disk is broken")
	}
	if err := l.Remove(order(0, "").ID); err == nil || l.Covering("ci") == nil {
		t.Errorf("lifted in memory and not on the disk: %v", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Add(order(1, "")); err != nil { // asked again, it is kept
		t.Fatal(err)
	}
	if open(t, filepath.Join(dir, "seals")).Covering("ci") == nil {
		t.Error("not kept the second time either")
	}
}

func TestLimits(t *testing.T) {
	l := open(t, filepath.Join(t.TempDir(), "seals"))
	for i := range MaxSeals - 1 {
		if _, err := l.Add(order(i, lifecycle.KeyID(fmt.Sprintf("k%d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Add(order(100, "more")); !errors.Is(err, ErrFull) || l.Covering("more") != nil {
		t.Errorf("err = %v, want ErrFull", err)
	}
	if _, err := l.Add(order(101, "")); err != nil {
		t.Errorf("no room for the order about everything: %v", err)
	}
	for name, change := range map[string]func(*lifecycle.Seal){
		"no id":        func(s *lifecycle.Seal) { s.ID = "" },
		"a long id":    func(s *lifecycle.Seal) { s.ID += "0" },
		"a bad key":    func(s *lifecycle.Seal) { s.Key = "no such/name" },
		"control":      func(s *lifecycle.Seal) { s.Reason = "a\x00b" },
		"a long text":  func(s *lifecycle.Seal) { s.Reason = strings.Repeat("a", 2000) },
		"nobody":       func(s *lifecycle.Seal) { s.By = "" },
		"no time":      func(s *lifecycle.Seal) { s.At = 0 },
		"lifted":       func(s *lifecycle.Seal) { s.LiftedAt = 5 },
		"lifted by":    func(s *lifecycle.Seal) { s.LiftedBy = "x" },
		"not UTF-8":    func(s *lifecycle.Seal) { s.Reason = "\xff" },
		"far future":   func(s *lifecycle.Seal) { s.At = 1 << 60 },
		"capital hex":  func(s *lifecycle.Seal) { s.ID = "ABCDEF0123456789" },
		"before epoch": func(s *lifecycle.Seal) { s.At = -1 },
	} {
		l := open(t, filepath.Join(t.TempDir(), "seals"))
		s := order(0, "ci")
		change(&s)
		if _, err := l.Add(s); err == nil || len(l.All()) != 0 {
			t.Errorf("%s: accepted", name)
		}
	}
}

func good(t testing.TB) string {
	b, err := encode([]lifecycle.Seal{order(0, "ci"), order(1, "")})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestDamagedFile: whatever is wrong with the file, the node does not start as if
// there were no orders.
func TestDamagedFile(t *testing.T) {
	text := good(t)
	for name, damaged := range map[string]string{
		"empty":         "",
		"cut":           text[:len(text)/2],
		"another key":   strings.Replace(text, `"ci"`, `"Ci"`, 1),
		"trailing":      text + "{}",
		"unknown field": strings.Replace(text, `"version"`, `"x": 1, "version"`, 1),
		"twice a field": strings.Replace(text, `"version": 1,`, `"version": 1, "version": 1,`, 1),
		"newer":         strings.Replace(text, `"version": 1`, `"version": 2`, 1),
		"spaces":        text + " ",
		"no seals":      `{"version":1}`,
		"huge":          strings.Repeat(" ", maxFileBytes+1),
		"twice":         strings.Replace(text, order(1, "").ID, order(0, "").ID, 1),
	} {
		path := filepath.Join(t.TempDir(), "seals")
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(path, replace); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v, want ErrDamaged", name, err)
		}
	}
	if _, err := Open(t.TempDir(), replace); err == nil {
		t.Error("a directory was read as a file of seals")
	}
}

// FuzzParse: no panic, and what is accepted is written back byte for byte.
func FuzzParse(f *testing.F) {
	f.Add([]byte(good(f)))
	f.Add([]byte(`{"version":1,"seals":[]}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		seals, err := parse(b)
		if err != nil {
			return
		}
		again, err := encode(seals)
		if err != nil || string(again) != string(b) {
			t.Errorf("%q was accepted and is written as %q, %v", b, again, err)
		}
	})
}
