package store

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/state"
)

// Restore replaces the state by that of a snapshot, when it is ahead of this one.
// It reports whether it did: a snapshot that is not ahead changes nothing, because
// a node never un-knows what it applied; the entries between the two are passed
// over when Raft hands them out again.
//
// The new file is built beside the old one, verified, synced, and only then takes
// its name and its place; readers of the old file finish on it.
//
// Errors: snapshot.ErrDamaged and ErrNewer, ErrForeign, ErrOldEpoch, ErrClosed, and
// errors of r leave the old state in use. A *state.Divergence, or ErrStorage after
// the file was renamed, ends the Store.
func (s *Store) Restore(r io.Reader) (snapshot.Header, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return snapshot.Header{}, false, s.failed
	}
	if s.closed {
		return snapshot.Header{}, false, ErrClosed
	}
	rd, err := snapshot.NewReader(r)
	if err != nil {
		return snapshot.Header{}, false, fmt.Errorf("restore: %w", err)
	}
	h := rd.Header
	ahead, err := s.ahead(&h)
	if err != nil || !ahead {
		return h, false, err
	}
	db, machine, err := s.build(rd)
	if err != nil {
		return h, false, fmt.Errorf("restore: %w", err)
	}
	if err := s.swap(db, machine); err != nil {
		return h, false, fmt.Errorf("restore: %w", err)
	}
	return h, true, nil
}

// ahead compares the snapshot's header with the state in use.
func (s *Store) ahead(h *snapshot.Header) (bool, error) {
	cur := s.current.Load()
	mine := &cur.root.Meta
	if c := cur.view.Cluster(); c != nil && c.ID != h.ClusterID {
		return false, fmt.Errorf("restore: %w: it says %q, this node belongs to %q", ErrForeign, h.ClusterID, c.ID)
	}
	if h.Epoch != mine.Epoch {
		if h.Epoch < mine.Epoch {
			return false, fmt.Errorf("restore: %w: %d, this node is in %d", ErrOldEpoch, h.Epoch, mine.Epoch)
		}
		return true, nil
	}
	if digest := mine.Digest(); h.Index == mine.Index && mine.Index > 0 && (h.LogRoot != mine.LogRoot || h.Digest != digest) {
		s.failed = &state.Divergence{Index: h.Index, What: "state digest", Mine: hex.EncodeToString(digest[:]), Ours: hex.EncodeToString(h.Digest[:])}
		return false, s.failed
	}
	return h.Index > mine.Index, nil
}

// build makes the new file. After an error nothing is left of it.
func (s *Store) build(rd *snapshot.Reader) (*bolt.DB, *state.Machine, error) {
	path := s.path(newName)
	if err := os.RemoveAll(path); err != nil {
		return nil, nil, err
	}
	db, err := openFile(path, s.opts.MmapBytes)
	if err != nil {
		return nil, nil, err
	}
	machine, err := s.fill(db, rd)
	if err != nil {
		_ = db.Close()      // the error that matters is err
		_ = os.Remove(path) // likewise; Open removes it too
		return nil, nil, err
	}
	return db, machine, nil
}

// fill loads, decodes and syncs the new file.
func (s *Store) fill(db *bolt.DB, rd *snapshot.Reader) (*state.Machine, error) {
	if err := s.step("restore: load"); err != nil {
		return nil, err
	}
	if err := load(db, rd); err != nil {
		return nil, err
	}
	machine, err := loadMachine(db)
	if err != nil {
		return nil, err
	}
	if err := s.step("restore: sync"); err != nil {
		return nil, err
	}
	if err := db.Sync(); err != nil {
		return nil, fmt.Errorf("sync new state file: %w", err)
	}
	return machine, nil
}

// swap gives the new file its name and its place.
func (s *Store) swap(db *bolt.DB, machine *state.Machine) error {
	err := s.step("restore: rename")
	if err == nil {
		err = os.Rename(s.path(newName), s.path(fileName))
	}
	if err != nil {
		_ = db.Close() // the error that matters is err; the old state stays in use
		return err
	}
	// Point of no return: the name leads to the new state. Until the directory is
	// synced a stop of the machine may bring the old file back, and then both are
	// thrown away.
	err = s.step("restore: sync directory")
	if err == nil {
		err = syncDir(s.dir)
	}
	if err != nil {
		_ = db.Close() // the error that matters is err
		s.failed = fmt.Errorf("%w: %w", ErrStorage, err)
		return s.failed
	}
	old := s.current.Load().gen
	s.machine = machine
	s.volume.applied.Store(0)
	s.publish(machine.Root(), newGeneration(old.number+1, db))
	old.release()
	return nil
}
