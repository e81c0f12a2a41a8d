package state

import (
	"errors"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Position says which state an answer was computed from. Index is the last Raft
// entry our FSM published, never Raft's own idea of "applied".
type Position struct {
	Epoch   uint64
	Index   uint64
	LogSize uint64
	LogRoot [32]byte
}

// Mark is what a node notes at a MarkCheckpoint entry.
type Mark struct {
	Index   uint64 `cbor:"1,keyasint"`
	LogSize uint64 `cbor:"2,keyasint"`
	Root    []byte `cbor:"3,keyasint"`
	Digest  []byte `cbor:"4,keyasint"`
}

// Meta is the state beside the rows. It is stored in the transaction that made
// it, so that a restarted node knows where it stands.
type Meta struct {
	Epoch     uint64
	Index     uint64
	LogSize   uint64
	LogRoot   [32]byte
	Clock     lifecycle.Instant
	Rows      SetHash
	Derived   SumHash // of the tables that follow from others
	Mark      Mark    // newest mark, zero when none
	Confirmed Mark    // newest mark a majority agreed on
}

// storedMeta is Meta in the file and in snapshots.
type storedMeta struct {
	Epoch     uint64            `cbor:"1,keyasint"`
	Index     uint64            `cbor:"2,keyasint"`
	LogSize   uint64            `cbor:"3,keyasint"`
	LogRoot   []byte            `cbor:"4,keyasint"`
	Clock     lifecycle.Instant `cbor:"5,keyasint"`
	Rows      []byte            `cbor:"6,keyasint"`
	Mark      Mark              `cbor:"7,keyasint"`
	Confirmed Mark              `cbor:"8,keyasint"`
	Derived   []byte            `cbor:"9,keyasint,omitempty"` // absent while there are no such rows
}

const metaKey = "meta"

var errMeta = errors.New("a hash in the meta row has the wrong length")

// Position of the state.
func (m *Meta) Position() Position {
	return Position{Epoch: m.Epoch, Index: m.Index, LogSize: m.LogSize, LogRoot: m.LogRoot}
}

func (m *Meta) encode() []byte {
	s := storedMeta{m.Epoch, m.Index, m.LogSize, m.LogRoot[:], m.Clock, m.Rows[:], m.Mark, m.Confirmed, nil}
	if m.Derived != (SumHash{}) {
		s.Derived = m.Derived[:]
	}
	return command.Marshal(s)
}

// account takes a change of a row into the sums.
func (m *Meta) account(w *write) {
	switch {
	case w.table.Index():
		if w.old != nil {
			m.Derived.Remove(w.table, w.key, w.old)
		}
		if w.new != nil {
			m.Derived.Add(w.table, w.key, w.new)
		}
	case w.table.Digested():
		if w.old != nil {
			m.Rows.Remove(w.table, w.key, w.old)
		}
		if w.new != nil {
			m.Rows.Add(w.table, w.key, w.new)
		}
	}
}

// loadMeta reads the row; ok is false for a state that never applied anything.
func loadMeta(r Reader) (m Meta, ok bool, err error) {
	b := r.Get(TableMeta, metaKey)
	if b == nil {
		return m, false, nil
	}
	var s storedMeta
	if err := command.Unmarshal(b, &s); err != nil {
		return m, false, err
	}
	m = Meta{Epoch: s.Epoch, Index: s.Index, LogSize: s.LogSize, Clock: s.Clock, Mark: s.Mark, Confirmed: s.Confirmed}
	if len(s.LogRoot) != len(m.LogRoot) || len(s.Rows) != len(m.Rows) || len(s.Derived) != 0 && len(s.Derived) != len(m.Derived) {
		return m, false, errMeta
	}
	copy(m.LogRoot[:], s.LogRoot)
	copy(m.Rows[:], s.Rows)
	copy(m.Derived[:], s.Derived)
	return m, true, nil
}
