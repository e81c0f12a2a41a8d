package ledgertest

import (
	"bytes"
	"strings"

	iradix "github.com/hashicorp/go-immutable-radix/v2"

	"github.com/chancery-project/chancery/fsm/state"
)

// Memory is a state.Backend in memory. Its rows live in a persistent tree, so a
// Snapshot costs nothing and stays as it is while Memory changes.
type Memory struct {
	rows *iradix.Txn[[]byte]
}

// NewMemory is an empty backend.
func NewMemory() *Memory { return &Memory{rows: iradix.New[[]byte]().Txn()} }

// Restore begins with the rows of a snapshot.
func Restore(r state.Reader) *Memory {
	m := NewMemory()
	for _, t := range state.Tables {
		r.Ascend(t, "", func(key string, row []byte) bool {
			m.Put(t, key, row)
			return true
		})
	}
	return m
}

func rowKey(t state.Table, key string) []byte {
	return append(append([]byte(t), 0), key...)
}

// Get implements state.Reader.
func (m *Memory) Get(t state.Table, key string) []byte {
	row, _ := m.rows.Get(rowKey(t, key))
	return row
}

// Ascend implements state.Reader; fn may write.
func (m *Memory) Ascend(t state.Table, from string, fn func(string, []byte) bool) {
	m.Snapshot().Ascend(t, from, fn)
}

// Put implements state.Backend; the row is copied.
func (m *Memory) Put(t state.Table, key string, row []byte) {
	m.rows.Insert(rowKey(t, key), bytes.Clone(row))
}

// Delete implements state.Backend.
func (m *Memory) Delete(t state.Table, key string) { m.rows.Delete(rowKey(t, key)) }

// Snapshot is everything as it stands now, for ever.
func (m *Memory) Snapshot() state.Reader {
	tree := m.rows.Commit()
	m.rows = tree.Txn()
	return pinned{tree}
}

type pinned struct{ tree *iradix.Tree[[]byte] }

func (p pinned) Get(t state.Table, key string) []byte {
	row, _ := p.tree.Get(rowKey(t, key))
	return row
}

func (p pinned) Ascend(t state.Table, from string, fn func(string, []byte) bool) {
	prefix := string(t) + "\x00"
	it := p.tree.Root().Iterator()
	it.SeekLowerBound(rowKey(t, from))
	for {
		key, row, ok := it.Next()
		if !ok || !strings.HasPrefix(string(key), prefix) || !fn(string(key[len(prefix):]), row) {
			return
		}
	}
}
