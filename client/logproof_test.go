package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/transport/wire"
)

// memoryLog is a log of n leaves, "leaf 0" and so on.
type memoryLog []tlog.Hash

func (m *memoryLog) ReadHashes(indexes []int64) (out []tlog.Hash, err error) {
	for _, i := range indexes {
		out = append(out, (*m)[i])
	}
	return out, nil
}

func newMemoryLog(t *testing.T, n int64) *memoryLog {
	t.Helper()
	m := new(memoryLog)
	for i := range n {
		h, err := tlog.StoredHashes(i, fmt.Appendf(nil, "leaf %d", i), m)
		if err != nil {
			t.Fatal(err)
		}
		*m = append(*m, h...)
	}
	return m
}

func (m *memoryLog) root(t *testing.T, size int64) []byte {
	t.Helper()
	h, err := tlog.TreeHash(size, m)
	if err != nil {
		t.Fatal(err)
	}
	return h[:]
}

func raw(hashes []tlog.Hash) (out [][]byte) {
	for i := range hashes {
		out = append(out, hashes[i][:])
	}
	return out
}

// TestLogProofs of every leaf in, and of every log before, logs of every size to 20.
func TestLogProofs(t *testing.T) {
	for size := int64(1); size <= 20; size++ {
		m := newMemoryLog(t, size)
		at := wire.Position{LogSize: uint64(size), LogRoot: m.root(t, size)}
		for n := range size {
			inclusion, err := tlog.ProveRecord(size, n, m)
			if err != nil {
				t.Fatal(err)
			}
			p := &wire.LogProof{Inclusion: raw(inclusion), Position: at}
			if err := CheckLeaf(p, uint64(n), fmt.Sprint("leaf ", n)); err != nil {
				t.Errorf("leaf %d of %d: %v", n, size, err)
			}
			if err := CheckLeaf(p, uint64(n), "another"); !errors.Is(err, ErrLogProof) {
				t.Errorf("another leaf %d of %d: %v", n, size, err)
			}
			consistency, err := tlog.ProveTree(size, n+1, m)
			if err != nil {
				t.Fatal(err)
			}
			p = &wire.LogProof{Consistency: raw(consistency), Position: at}
			if err := CheckExtends(p, uint64(n+1), m.root(t, n+1)); err != nil {
				t.Errorf("size %d of %d: %v", n+1, size, err)
			}
			if err := CheckExtends(p, uint64(n+1), make([]byte, 32)); !errors.Is(err, ErrLogProof) {
				t.Errorf("another log of %d, then %d: %v", n+1, size, err)
			}
		}
	}
}

// TestForgedLogProofs: whatever a node sends, nothing is proven and nothing panics.
func TestForgedLogProofs(t *testing.T) {
	m := newMemoryLog(t, 5)
	root := m.root(t, 5)
	good, err := tlog.ProveRecord(5, 3, m)
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]wire.LogProof{
		"empty":          {},
		"no proof":       {Position: wire.Position{LogSize: 5, LogRoot: root}},
		"short hash":     {Inclusion: [][]byte{{1}}, Consistency: [][]byte{{1}}, Position: wire.Position{LogSize: 5, LogRoot: root}},
		"short root":     {Inclusion: raw(good), Consistency: raw(good), Position: wire.Position{LogSize: 5, LogRoot: root[1:]}},
		"too many":       {Inclusion: append(raw(good), root), Consistency: append(raw(good), root), Position: wire.Position{LogSize: 5, LogRoot: root}},
		"another size":   {Inclusion: raw(good), Consistency: raw(good), Position: wire.Position{LogSize: 4, LogRoot: root}},
		"no leaves":      {Inclusion: raw(good), Consistency: raw(good), Position: wire.Position{LogSize: 0, LogRoot: root}},
		"endless leaves": {Inclusion: raw(good), Consistency: raw(good), Position: wire.Position{LogSize: 1 << 63, LogRoot: root}},
	} {
		if err := CheckLeaf(&p, 3, "leaf 3"); !errors.Is(err, ErrLogProof) {
			t.Errorf("%s: leaf: %v", name, err)
		}
		if err := CheckExtends(&p, 3, m.root(t, 3)); !errors.Is(err, ErrLogProof) {
			t.Errorf("%s: extends: %v", name, err)
		}
	}
}

func TestProofsAreAskedFor(t *testing.T) {
	m := newMemoryLog(t, 9)
	node := startNode(t, func(w http.ResponseWriter, r *http.Request) {
		p := wire.LogProof{Position: wire.Position{Epoch: 1, Index: 40, LogSize: 9, LogRoot: m.root(t, 9)}}
		if n, err := strconv.ParseInt(r.URL.Query().Get(wire.QueryLeaf), 10, 64); err == nil {
			proof, err := tlog.ProveRecord(9, n, m)
			if err != nil {
				t.Error(err)
			}
			p.Inclusion = raw(proof)
		}
		if n, err := strconv.ParseInt(r.URL.Query().Get(wire.QueryOldSize), 10, 64); err == nil {
			proof, err := tlog.ProveTree(9, n, m)
			if err != nil {
				t.Error(err)
			}
			p.Consistency = raw(proof)
		}
		if err := json.NewEncoder(w).Encode(p); err != nil {
			t.Error(err)
		}
	})
	c := newClient(t, Config{Addrs: []string{node.URL}})
	if at, err := c.ProveLeaf(t.Context(), 7, "leaf 7"); err != nil || at.LogSize != 9 {
		t.Errorf("leaf 7: %v, %+v", err, at)
	}
	if _, err := c.ProveLeaf(t.Context(), 7, "leaf 6"); !errors.Is(err, ErrLogProof) {
		t.Errorf("another leaf 7: %v", err)
	}
	if at, err := c.ProveExtends(t.Context(), 4, m.root(t, 4)); err != nil || at.LogSize != 9 {
		t.Errorf("since 4: %v, %+v", err, at)
	}
	if _, err := c.ProveExtends(t.Context(), 4, m.root(t, 5)); !errors.Is(err, ErrLogProof) {
		t.Errorf("since another 4: %v", err)
	}
}
