package store

import (
	"errors"
	"io"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/state"
)

// Snapshot is one state, pinned while it is written out. Apply goes on meanwhile;
// pages that it frees stay in the file until Release.
type Snapshot struct {
	store *Store
	pin   *pinned
	// applied is the volume at the time, taken off when the snapshot is kept.
	applied int64
}

// Snapshot pins the newest state. It returns at once.
func (s *Store) Snapshot() (*Snapshot, error) {
	applied := s.volume.applied.Load()
	p, err := s.pin()
	if err != nil {
		return nil, err
	}
	return &Snapshot{store: s, pin: p, applied: applied}, nil
}

// Position of the pinned state.
func (n *Snapshot) Position() state.Position { return n.pin.root.Meta.Position() }

// Write streams the state. It fails with *Altered when the file does not hold what
// Apply wrote.
func (n *Snapshot) Write(w io.Writer) (snapshot.Header, error) {
	h, err := snapshot.Write(w, newWalk(n.pin.tx))
	var m *snapshot.Mismatch
	if errors.As(err, &m) {
		err = altered(n.pin.root.Meta.Index, err)
	}
	return h, err
}

// Kept tells that what Write wrote is durable: the volume is counted from here.
func (n *Snapshot) Kept() { n.store.volume.applied.Add(-n.applied) }

// Release ends the transaction. Call it once.
func (n *Snapshot) Release() { n.pin.release() }
