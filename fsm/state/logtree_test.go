package state

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestEdgeIsTheTreeOfTlog appends leaves and compares every stored hash and every root
// with what tlog makes of the same records, and the edge with what is loaded.
func TestEdgeIsTheTreeOfTlog(t *testing.T) {
	rows := treeRows{}
	var e edge
	var want []tlog.Hash
	for size := range uint64(300) {
		record := fmt.Appendf(nil, "record %d", size)
		stored, err := tlog.StoredHashes(int64(size), record, hashReader{rows})
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, stored...)
		e.append(rows, size, record)
		if len(rows) != len(want) {
			t.Fatalf("leaf %d: %d hashes are stored, not %d", size, len(rows), len(want))
		}
		for i := len(want) - len(stored); i < len(want); i++ {
			if !bytes.Equal(rows[number(uint64(i))], want[i][:]) {
				t.Fatalf("leaf %d: stored hash %d is another", size, i)
			}
		}
		root, err := tlog.TreeHash(int64(size+1), hashReader{rows})
		if err != nil {
			t.Fatal(err)
		}
		if e.root() != [32]byte(root) {
			t.Fatalf("leaf %d: the root is another", size)
		}
		loaded, err := loadEdge(rows, size+1)
		if err != nil || fmt.Sprint(loaded) != fmt.Sprint(e) {
			t.Fatalf("leaf %d: loaded %v, %v; kept %v", size, loaded, err, e)
		}
	}
	delete(rows, number(uint64(tlog.StoredHashIndex(8, 0))))
	if _, err := loadEdge(rows, 300); err == nil {
		t.Error("an edge was loaded without one of its hashes")
	}
}

// treeRows are stored hashes by number, kept as they were given, like bbolt does until
// the transaction ends.
type treeRows map[string][]byte

func (r treeRows) Get(_ Table, key string) []byte { return r[key] }

func (r treeRows) Ascend(Table, string, func(string, []byte) bool) {}

func (r treeRows) Put(_ Table, key string, row []byte) { r[key] = row }

func (r treeRows) Delete(Table, string) {}
