package snapshot

import (
	"fmt"
	"io"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TableInfo counts one table's rows.
type TableInfo struct {
	Table     state.Table
	Rows      uint64
	SizeBytes int64 // keys and rows
}

// Info is what a snapshot holds, for people.
type Info struct {
	Header Header
	Tables []TableInfo // tables with rows, in the order of state.Tables
	Keys   []lifecycle.Key
}

// Inspect reads and verifies a whole snapshot. Info is complete only when the error
// is nil.
func Inspect(r io.Reader) (Info, error) {
	var info Info
	rd, err := NewReader(r)
	if err != nil {
		return info, err
	}
	info.Header = rd.Header
	err = rd.Rows(func(t state.Table, key string, row []byte) error {
		if n := len(info.Tables); n == 0 || info.Tables[n-1].Table != t {
			info.Tables = append(info.Tables, TableInfo{Table: t})
		}
		last := &info.Tables[len(info.Tables)-1]
		last.Rows++
		last.SizeBytes += int64(len(key) + len(row))
		if t == state.TableKeys {
			var k lifecycle.Key
			if err := command.Unmarshal(row, &k); err != nil {
				return fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			info.Keys = append(info.Keys, k)
		}
		return nil
	})
	return info, err
}
