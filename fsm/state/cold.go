package state

import (
	"bytes"
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
)

// Rows of cold tables are bytes in the state file, read when they are asked for: a
// million certificates cost no memory. An entry sees what it wrote itself, and through
// the Backend what earlier entries of the same transaction wrote.

// coldGet returns the row as this entry has left it, nil when there is none.
func (x *tx) coldGet(t Table, key string) []byte {
	if i, ok := x.slot[rowID{t, key}]; ok {
		return x.writes[i].new
	}
	return x.coldOld(t, key)
}

// coldOld returns the row as it was before this entry. The one that was asked for last is
// kept: a row that is written was mostly read just before.
func (x *tx) coldOld(t Table, key string) []byte {
	if id := (rowID{t, key}); x.lastRead != id {
		x.lastRead, x.lastRow = id, x.cold.Get(t, key)
	}
	return x.lastRow
}

// coldPut writes a row. The bytes belong to the tx from then on.
func (x *tx) coldPut(t Table, key string, row []byte) {
	w := x.touch(t, key)
	if w == nil {
		w = x.begin(write{table: t, key: key, old: x.coldOld(t, key)})
	}
	w.new = row
}

// coldAdd is coldPut for a row of which is known that there is none.
func (x *tx) coldAdd(t Table, key string, row []byte) { x.begin(write{table: t, key: key, new: row}) }

// coldDrop deletes a row; nothing happens when there is none.
func (x *tx) coldDrop(t Table, key string) {
	if w := x.touch(t, key); w != nil {
		w.new = nil
	} else if old := x.coldOld(t, key); old != nil {
		x.begin(write{table: t, key: key, old: old})
	}
}

// coldRow decodes a cold row, nil when there is none.
func coldRow[T any](x *tx, t Table, key string) *T {
	b := x.coldGet(t, key)
	if b == nil {
		return nil
	}
	row := new(T)
	if err := command.Unmarshal(b, row); err != nil {
		panic(&Corruption{Index: x.index, Err: fmt.Errorf("row %s/%x: %w", t, key, err)})
	}
	return row
}

// lazy reads the cold tables of a View for a trial, one transaction a read: most
// commands read none. What it fails at is found out when the trial is over.
type lazy struct {
	cold Cold
	err  error
}

func (l *lazy) read(fn func(Reader)) {
	if l.cold == nil || l.err != nil {
		return
	}
	l.err = l.cold(func(r Reader) error {
		fn(r)
		return nil
	})
}

func (l *lazy) Get(t Table, key string) (row []byte) {
	l.read(func(r Reader) { row = bytes.Clone(r.Get(t, key)) })
	return row
}

func (l *lazy) Ascend(t Table, from string, fn func(key string, row []byte) bool) {
	l.read(func(r Reader) { r.Ascend(t, from, fn) })
}
