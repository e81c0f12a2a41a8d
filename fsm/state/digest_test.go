package state_test

import (
	"encoding/binary"
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

// TestDigestLanes holds the sums, which are made four lanes at a time, against the
// definition.
func TestDigestLanes(t *testing.T) {
	single := func(row string) (s state.SetHash) {
		s.Add(state.TableKeys, "k", []byte(row))
		return s
	}
	one, two := single("one"), single("two")
	both, without := one, one
	both.Add(state.TableKeys, "k", []byte("two"))
	without.Remove(state.TableKeys, "k", []byte("two"))
	for i := 0; i < len(one); i += 2 {
		a, b := binary.LittleEndian.Uint16(one[i:]), binary.LittleEndian.Uint16(two[i:])
		if got := binary.LittleEndian.Uint16(both[i:]); got != a+b {
			t.Fatalf("lane %d: %d + %d = %d", i/2, a, b, got)
		}
		if got := binary.LittleEndian.Uint16(without[i:]); got != a-b {
			t.Fatalf("lane %d: %d - %d = %d", i/2, a, b, got)
		}
	}
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
	const want = "29999b46f431bede6d8497fc3b64b46f4b0525da39c603f2fe0e77823684fda3" // computed with Python's hashlib and openssl enc -aes-256-ctr as well
	if got := hex.EncodeToString(d[:]); got != want {
		t.Errorf("the digest is now %s and was %s", got, want)
	}
	for _, other := range []state.Meta{{Clock: m.Clock + 1, Epoch: 1, Rows: m.Rows}, {Clock: m.Clock, Epoch: 2, Rows: m.Rows}, {Clock: m.Clock, Epoch: 1}} {
		if other.Digest() == d {
			t.Error("clock, epoch or rows do not count")
		}
	}
}
