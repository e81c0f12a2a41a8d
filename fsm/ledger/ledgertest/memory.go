package ledgertest

import (
	"bytes"
	"maps"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/tree"
)

// Memory is a state.Backend in memory. Its rows live in persistent trees, so a
// Snapshot costs next to nothing and stays as it is while Memory changes.
type Memory struct {
	tables map[state.Table]tree.Tree[[]byte]
}

// NewMemory is an empty backend.
func NewMemory() *Memory { return &Memory{tables: map[state.Table]tree.Tree[[]byte]{}} }

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

// Get implements state.Reader.
func (m *Memory) Get(t state.Table, key string) []byte { return pinned(m.tables).Get(t, key) }

// Ascend implements state.Reader; fn may write.
func (m *Memory) Ascend(t state.Table, from string, fn func(string, []byte) bool) {
	rows := m.tables[t]
	m.tables[t] = rows.Fork()
	rows.Ascend(from, fn)
}

// Put implements state.Backend; the row is copied.
func (m *Memory) Put(t state.Table, key string, row []byte) {
	rows := m.tables[t]
	rows.Put(key, bytes.Clone(row))
	m.tables[t] = rows
}

// Delete implements state.Backend.
func (m *Memory) Delete(t state.Table, key string) {
	rows := m.tables[t]
	rows.Delete(key)
	m.tables[t] = rows
}

// Snapshot is everything as it stands now, for ever.
func (m *Memory) Snapshot() state.Reader {
	was := maps.Clone(m.tables)
	for t, rows := range was {
		m.tables[t] = rows.Fork()
	}
	return pinned(was)
}

// pinned are tables that nobody writes to any more.
type pinned map[state.Table]tree.Tree[[]byte]

func (p pinned) Get(t state.Table, key string) []byte {
	row, _ := p[t].Get(key)
	return row
}

func (p pinned) Ascend(t state.Table, from string, fn func(string, []byte) bool) {
	p[t].Ascend(from, fn)
}
