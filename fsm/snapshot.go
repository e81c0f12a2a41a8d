package fsm

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/store"
)

// Snapshot pins the state for Raft. It returns at once; Persist writes it out
// beside the entries that are applied meanwhile.
//
// Raft labels the snapshot with the index it has handed out last. While it replays
// entries from before a restart the state is ahead of that, so it is refused.
func (f *FSM) Snapshot() (raft.FSMSnapshot, error) {
	if err := f.Err(); err != nil {
		return nil, err
	}
	if f.Replaying() {
		return nil, fmt.Errorf("%w: at %d of %d", ErrReplaying, f.seen.Load(), f.store.Position().Index)
	}
	snap, err := f.store.Snapshot()
	if err != nil {
		return nil, fmt.Errorf("pin state: %w", err)
	}
	return &pinned{fsm: f, snap: snap}, nil
}

// pinned is one snapshot on its way out.
type pinned struct {
	fsm  *FSM
	snap *store.Snapshot
}

// Persist streams the state into the sink. A state file found altered on the way
// ends the FSM; the snapshot is not kept.
func (p *pinned) Persist(sink raft.SnapshotSink) error {
	if _, err := p.snap.Write(sink); err != nil {
		_ = sink.Cancel() // err is why; what is left over is a directory named .tmp
		var altered *store.Altered
		if errors.As(err, &altered) {
			p.fsm.halt(err)
		}
		return err
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close snapshot: %w", err)
	}
	p.snap.Kept()
	return nil
}

// Release unpins the state.
func (p *pinned) Release() { p.snap.Release() }
