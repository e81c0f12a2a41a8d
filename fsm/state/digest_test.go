package state_test

import (
	"encoding/hex"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/state"
)

type rowOf struct{ t, key, row string }

func TestDigestIsOfASet(t *testing.T) {
	gen := rapid.SliceOfNDistinct(rapid.Custom(func(t *rapid.T) rowOf {
		return rowOf{rapid.SampledFrom([]string{"keys", "nodes"}).Draw(t, "table"), rapid.StringN(0, 3, -1).Draw(t, "key"), rapid.StringN(0, 3, -1).Draw(t, "row")}
	}), 0, 12, func(r rowOf) rowOf { return r })
	sum := func(rows []rowOf) (s state.SetHash) {
		for _, r := range rows {
			s.Add(state.Table(r.t), r.key, []byte(r.row))
		}
		return s
	}
	rapid.Check(t, func(t *rapid.T) {
		rows := gen.Draw(t, "rows")
		shuffled := rapid.Permutation(rows).Draw(t, "shuffled")
		s := sum(rows)
		if sum(shuffled) != s {
			t.Fatal("the order matters")
		}
		if len(rows) == 0 {
			return
		}
		without := sum(rows[1:])
		if without == s {
			t.Fatal("a row does not count")
		}
		s.Remove(state.Table(rows[0].t), rows[0].key, []byte(rows[0].row))
		if s != without {
			t.Fatal("taking a row out is not the same as never putting it in")
		}
	})
}

// TestDigestKeepsPartsApart: moving a byte from the table to the key to the row
// makes another row.
func TestDigestKeepsPartsApart(t *testing.T) {
	seen := map[state.SetHash]rowOf{}
	for _, r := range []rowOf{{"a", "bc", "d"}, {"ab", "c", "d"}, {"a", "b", "cd"}, {"a", "bcd", ""}, {"", "", "abcd"}, {"a", "bc", "e"}} {
		var s state.SetHash
		s.Add(state.Table(r.t), r.key, []byte(r.row))
		if other, ok := seen[s]; ok {
			t.Errorf("%v and %v have one digest", r, other)
		}
		seen[s] = r
	}
}

// TestDigestBytes: replicas of different versions compare them.
func TestDigestBytes(t *testing.T) {
	m := state.Meta{Clock: 1767355200000, Epoch: 1}
	m.Rows.Add(state.TableKeys, "ci", []byte("row"))
	d := m.Digest()
	const want = "226e1d80d8ededd38a6aad621821f0064b18e73bf421b3c738072943ce457d85" // computed with Python's hashlib as well
	if got := hex.EncodeToString(d[:]); got != want {
		t.Errorf("the digest is now %s and was %s", got, want)
	}
	for _, other := range []state.Meta{{Clock: m.Clock + 1, Epoch: 1, Rows: m.Rows}, {Clock: m.Clock, Epoch: 2, Rows: m.Rows}, {Clock: m.Clock, Epoch: 1}} {
		if other.Digest() == d {
			t.Error("clock, epoch or rows do not count")
		}
	}
}
