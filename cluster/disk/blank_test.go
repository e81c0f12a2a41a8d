package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestBlank(t *testing.T) {
	root := filepath.Join(t.TempDir(), "data")
	is := func(want bool, when string) {
		t.Helper()
		if got, err := Blank(root); got != want || err != nil {
			t.Errorf("%s: blank = %t, %v", when, got, err)
		}
	}
	is(true, "absent")
	if err := mustOpen(t, root, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	is(true, "opened and closed")
	for _, name := range []string{"identity/node.key", "keys/x", "raft/log.db", "state/state.db", "audit/a.jsonl", "notes", "reserve"} {
		path := filepath.Join(root, name)
		if err := os.WriteFile(path, nil, FileMode); err != nil {
			t.Fatal(err)
		}
		is(false, name)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	is(true, "emptied")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(root, link); err != nil {
		t.Fatal(err)
	}
	if got, err := Blank(link); !got || err != nil {
		t.Errorf("through a link: blank = %t, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(root, "raft", "lock"), nil, FileMode); err != nil {
		t.Fatal(err)
	}
	is(false, "a file of our names in another place")
}
