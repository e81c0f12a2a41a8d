package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/state"
)

// Entry is one committed entry of the Raft log.
type Entry struct {
	Index uint64
	Term  uint64 // in which a leader stored it
	Data  []byte
	Skip  bool // not a command of ours: only the index is taken in

	// Command is what Data decodes to, for whoever knows it already: nobody may use it
	// afterwards. nil = decode Data.
	Command *command.Command
}

// ApplyBatch applies entries, in index order, in one transaction, and publishes
// the result. Entries at or below the stored index were applied before and are
// passed over; their outcomes, like those of Skip, have Index 0.
//
// The error is a *state.Corruption, a *state.Divergence or wraps ErrStorage. The
// batch has then left no trace, and the Store applies nothing any more.
func (s *Store) ApplyBatch(entries []Entry) ([]state.Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	if s.closed {
		return nil, ErrClosed
	}
	outcomes := make([]state.Outcome, len(entries))
	fresh := 0
	for fresh < len(entries) && entries[fresh].Index <= s.machine.Index() {
		fresh++
	}
	if fresh < len(entries) {
		if err := s.apply(entries[fresh:], outcomes[fresh:]); err != nil {
			s.failed = err
			return nil, err
		}
	}
	// Entries passed over count too: Raft replays what follows its newest snapshot,
	// and that is the volume to count from.
	for i := range entries {
		s.volume.applied.Add(int64(len(entries[i].Data)))
	}
	return outcomes, nil
}

func (s *Store) apply(entries []Entry, outcomes []state.Outcome) error {
	gen := s.current.Load().gen
	if err := s.step("apply: begin"); err != nil {
		return err
	}
	tx, err := gen.db.Begin(true)
	if err != nil {
		return fmt.Errorf("begin transaction: %w: %w", ErrStorage, err)
	}
	root, err := s.run(tx, entries, outcomes)
	if err == nil {
		err = s.step("apply: commit")
	}
	if err != nil {
		_ = tx.Rollback() // err is why; nothing was written
		return err
	}
	// While the whole file is being read, pages that batches free stay pending, and
	// the list of them, written again with each commit into pages that become
	// pending too, would grow without bound. A process that is killed meanwhile
	// finds no list and walks the file at its next start.
	gen.db.NoFreelistSync = gen.walks.Load() > 0
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit entry %d: %w: %w", root.Meta.Index, ErrStorage, err)
	}
	// From here on the entries count as applied, also to a process that starts
	// again: what is published is at most behind, never ahead.
	s.dirty.Store(true)
	if err := s.step("apply: publish"); err != nil {
		return err
	}
	s.publish(root, gen)
	return nil
}

// run applies the entries inside tx. Panics of the state machine come back as
// errors; any other panic is a bug and goes on, after the rollback.
func (s *Store) run(tx *bolt.Tx, entries []Entry, outcomes []state.Outcome) (root *state.Root, err error) {
	finished := false
	defer func() {
		if finished {
			return
		}
		switch p := recover().(type) {
		case *state.Corruption:
			err = p
		case *state.Divergence:
			err = p
		case writeError:
			err = fmt.Errorf("%w: %w", ErrStorage, p.err)
		default:
			_ = tx.Rollback() // the panic is what matters
			panic(p)
		}
	}()
	b := newRows(tx)
	for i, e := range entries {
		if e.Index <= s.machine.Index() {
			continue // twice in one batch
		}
		switch {
		case e.Skip:
			s.machine.Skip(e.Index)
		case e.Command != nil:
			outcomes[i] = s.machine.ApplyCommand(b, e.Index, e.Term, e.Command)
		default:
			outcomes[i] = s.machine.Apply(b, e.Index, e.Term, e.Data)
		}
	}
	root = s.machine.Seal(b)
	finished = true
	return root, nil
}
