package store

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/fsmtest"
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// batch makes entries out of a script, the first at index from.
func batch(from uint64, script [][]byte) []Entry {
	out := make([]Entry, len(script))
	for i, data := range script {
		out[i] = Entry{Index: from + uint64(i), Data: data}
	}
	return out
}

func apply(t testing.TB, s *Store, entries []Entry) {
	t.Helper()
	outs, err := s.ApplyBatch(entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outs {
		if !o.OK() {
			t.Fatalf("entry %d: %v", entries[i].Index, o.Err())
		}
	}
}

func TestApplyReopen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, fsmtest.Script(20)))
	at, digest := s.Digest()
	if at.Index != 21 || at.LogSize == 0 || at.Epoch != 1 {
		t.Fatalf("position %+v", at)
	}
	if _, err := s.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if at2, digest2 := s.Digest(); at2 != at || digest2 != digest {
		t.Fatalf("reopened at %+v", at2)
	}
	if s.View().Key(fsmtest.KeyName(7)) == nil {
		t.Fatal("key 7 is gone")
	}
}
