package crl_test

import (
	"crypto/sha256"
	"iter"
	"runtime"
	"testing"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// table is n entries as a database page holds them: one after the other.
func table(n int) (size int, entries iter.Seq2[[]byte, error]) {
	var rows []byte
	entry := 0
	for i := range n {
		s := serialOf(byte(i))
		s[10], s[11], s[12] = byte(i>>16), byte(i>>8), byte(i)
		row := lifecycle.EncodeCRLEntry(s, 1_700_000_000_000, lifecycle.KeyCompromise, 0)
		entry = len(row)
		rows = append(rows, row...)
	}
	return len(rows), func(yield func([]byte, error) bool) {
		for at := 0; at < len(rows); at += entry {
			if !yield(rows[at:at+entry], nil) {
				return
			}
		}
	}
}

// TestMillion makes a list of a million entries and counts what it allocates. Three
// times its size are allowed; with a hint of the size it is hardly more than once.
func TestMillion(t *testing.T) {
	const n = 1_000_000
	ca := pkitest.Root(t, "root")
	size, entries := table(n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := listOf(ca, 1).Draft(size, entries)
	if err != nil {
		t.Fatal(err)
	}
	tbs := len(d.TBS())
	der := d.Finish(make([]byte, 72))
	runtime.ReadMemStats(&after)
	if d.Entries != n || tbs < size || len(der) < tbs {
		t.Fatalf("%d entries, %d bytes of %d", d.Entries, tbs, size)
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(len(der))*3/2 {
		t.Errorf("%d bytes allocated for a list of %d", allocated, len(der))
	}
	if f, err := crl.Read(der); err != nil || f.Number != 1 {
		t.Errorf("read back: %+v, %v", f, err)
	}
}

// BenchmarkMillion compares making a list and hashing it for its signature with copying
// and hashing the bytes.
func BenchmarkMillion(b *testing.B) {
	const n = 1_000_000
	ca := pkitest.Root(b, "root")
	size, entries := table(n)
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			d, err := listOf(ca, 1).Draft(size, entries)
			if err != nil {
				b.Fatal(err)
			}
			sha256.Sum256(d.TBS())
		}
	})
	b.Run("copy and hash", func(b *testing.B) {
		from := make([]byte, size)
		for b.Loop() {
			to := make([]byte, size)
			copy(to, from)
			sha256.Sum256(to)
		}
	})
}
