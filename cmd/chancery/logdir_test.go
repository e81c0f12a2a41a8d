package main

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/store"
)

// offline runs the program without any node to ask.
func offline(t *testing.T, args ...string) outcome {
	t.Helper()
	t.Setenv("CHANCERY_CONFIG_DIR", t.TempDir())
	var out, errOut bytes.Buffer
	code := run(append([]string{"chancery"}, args...), strings.NewReader(""), &out, &errOut)
	return outcome{code, out.String(), errOut.String()}
}

// stoppedNode makes a data directory with a state in it.
func stoppedNode(t *testing.T) (dir string, s *store.Store) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(filepath.Join(dir, "state"), store.Options{Fatal: func(err error) { t.Error(err) }, MmapBytes: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() }) // a second time does nothing
	var entries []store.Entry
	for i, b := range fsmtest.Script(4) {
		entries = append(entries, store.Entry{Index: uint64(i) + 1, Data: b})
	}
	if _, err := s.ApplyBatch(entries); err != nil {
		t.Fatal(err)
	}
	return dir, s
}

func TestLogOfAStoppedNode(t *testing.T) {
	dir, s := stoppedNode(t)
	at := s.Position()
	root := base64.StdEncoding.EncodeToString(at.LogRoot[:])
	if got := offline(t, "log", "verify", "--dir", dir); got.code != exitRefused || !strings.Contains(got.err, "a node runs in") {
		t.Fatalf("while it runs: %+v", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := offline(t, "log", "verify", "--dir", dir, "--root", root)
	if got.code != exitDone || !strings.Contains(got.out, root) {
		t.Fatalf("verify: %+v", got)
	}
	if got := offline(t, "log", "verify", "--dir", dir, "--root", base64.StdEncoding.EncodeToString(make([]byte, 32))); got.code != exitCheckFailed {
		t.Errorf("another root passes: %+v", got)
	}
	dump := filepath.Join(t.TempDir(), "dump")
	if got := offline(t, "log", "dump", "--dir", dir, "--out", dump); got.code != exitDone || !strings.Contains(got.err, root) {
		t.Fatalf("dump: %+v", got)
	}
	if got := offline(t, "log", "verify", "--file", dump, "--root", root); got.code != exitDone {
		t.Errorf("the dump: %+v", got)
	}
	if got := offline(t, "log", "verify", "--file", dump, "--root", root, "--dir", dir); got.code != exitUsage {
		t.Errorf("both: %+v", got)
	}
	if got := offline(t, "log", "verify", "--dir", filepath.Join(dir, "none")); got.code != exitUsage || !strings.Contains(got.err, "data directory") {
		t.Errorf("no directory: %+v", got)
	}
}

// TestLogOfAnAlteredNode: a changed byte of a leaf is found, and said to be in the file.
func TestLogOfAnAlteredNode(t *testing.T) {
	dir, s := stoppedNode(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "state", "state.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := bytes.ReplaceAll(b, []byte("kind: key.created"), []byte("kind: key.changed"))
	if bytes.Equal(changed, b) {
		t.Fatal("nothing to change")
	}
	if err := os.WriteFile(file, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := offline(t, "log", "verify", "--dir", dir); got.code != exitCheckFailed || !strings.Contains(got.err, "does not hold") {
		t.Errorf("%+v", got)
	}
}
