package state

import (
	"github.com/chancery-project/chancery/fsm/command"
)

// ParseMeta reads the one row of TableMeta, for whoever checks rows against what
// the state says of itself.
func ParseMeta(row []byte) (Meta, error) {
	m, _, err := loadMeta(metaRow(row))
	return m, err
}

// metaRow is a Reader with nothing but the meta row.
type metaRow []byte

func (r metaRow) Get(Table, string) []byte                              { return r }
func (r metaRow) Ascend(Table, string, func(key string, _ []byte) bool) {}

// Row encodes a hot row as it stands in memory, nil when there is none, so that
// it can be compared with the stored bytes.
func (r *Root) Row(t Table, key string) []byte {
	if row, ok := r.hot.get(t, key); ok {
		return command.Marshal(row)
	}
	return nil
}

// Len is the number of hot rows in memory.
func (r *Root) Len() int { return r.hot.rows() }
