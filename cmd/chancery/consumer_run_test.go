package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestReplacePublic: whoever has the old file open goes on reading the old text; a file
// that cannot be replaced stays as it is, and nothing is left beside it.
func TestReplacePublic(t *testing.T) {
	dir := t.TempDir()
	file, held := filepath.Join(dir, "jwks.json"), filepath.Join(dir, "held")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"old", "new"} {
		if err := replacePublic(filepath.Join(link, "jwks.json"), []byte(text)); err != nil {
			t.Fatal(err)
		}
		if text == "old" {
			if err := os.Link(file, held); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, want := range map[string]string{file: "new", held: "old"} {
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info, err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.MkdirAll(filepath.Join(taken, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{taken, filepath.Join(dir, "nowhere", "jwks.json")} {
		if err := replacePublic(bad, []byte("x")); err == nil {
			t.Errorf("%s was replaced", bad)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
		t.Errorf("%v, %v", left, err)
	}
}
