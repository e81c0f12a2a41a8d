package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/store"
)

// Options of Start.
type Options struct {
	Dir       string             // of the state file; must exist
	Unclean   bool               // the machine stopped while it was open: make it again
	Snapshots raft.SnapshotStore // this node's
	Log       raft.LogStore      // this node's; only its first and last index are looked at
	SyncEvery time.Duration      // 0 = store.DefaultSyncEvery
	MmapBytes int                // 0 = store.DefaultMmapBytes
	Logger    *slog.Logger       // nil = slog.Default
	Stop      func(reason error) // nil = Exit; called once; must not call Close
}

// Start opens the state and brings it to where Raft will go on from. Raft, told not
// to restore at start, takes the newest snapshot's index for applied without asking
// us, so a state behind that snapshot is replaced by it here, before NewRaft. So is
// one that a stop of the machine or damage made useless. Snapshots that do not
// verify are hidden from Raft (see FSM.Snapshots), and ErrGap is returned when then
// entries are missing between what is left.
//
// When Start returns nil the state is synced as far as it was restored.
func Start(o Options) (*FSM, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Stop == nil {
		o.Stop = Exit(o.Logger)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &FSM{log: o.Logger, stop: o.Stop, cancel: cancel, verified: make(chan struct{}), idle: make(chan struct{})}
	var err error
	if f.store, err = open(o, f.halt); err != nil {
		cancel()
		return nil, fmt.Errorf("start state machine: %w", err)
	}
	if err := f.catchUp(o); err != nil {
		cancel()
		_ = f.store.Close() // the error that matters is err
		return nil, fmt.Errorf("start state machine: %w", err)
	}
	go f.verify(ctx)
	return f, nil
}

// open opens the state file. A damaged one is set aside and an empty one made:
// everything in it is in the snapshots and the log too.
func open(o Options, fatal func(error)) (*store.Store, error) {
	so := store.Options{Unclean: o.Unclean, SyncEvery: o.SyncEvery, MmapBytes: o.MmapBytes, Logger: o.Logger, Fatal: fatal}
	if o.Unclean {
		o.Logger.Warn("the machine stopped while the state file was open: making it again from snapshot and log")
	}
	s, err := store.Open(o.Dir, so)
	if !errors.Is(err, store.ErrDamaged) {
		return s, err
	}
	o.Logger.Error("the state file is damaged: set aside, making it again from snapshot and log", "err", err)
	if err := store.SetAside(o.Dir); err != nil {
		return nil, err
	}
	return store.Open(o.Dir, so)
}

// catchUp restores the newest snapshot that verifies, when it is ahead of the
// state, and checks that the log goes on from it.
func (f *FSM) catchUp(o Options) error {
	list, err := o.Snapshots.List()
	if err != nil {
		return fmt.Errorf("list snapshots: %w", err)
	}
	sound := &soundSnapshots{SnapshotStore: o.Snapshots, damaged: map[string]bool{}}
	f.snapshots = sound
	var base, top uint64 // Raft goes on after base; top is the newest index of any snapshot
	for _, meta := range list {
		top = max(top, meta.Index)
		err := f.restoreFrom(o.Snapshots, meta)
		if err == nil {
			base = meta.Index
			break
		}
		if !errors.Is(err, snapshot.ErrDamaged) && !errors.Is(err, errUnreadable) {
			return fmt.Errorf("restore snapshot %s: %w", meta.ID, err)
		}
		f.log.Error("snapshot cannot be used; trying the one before it", "id", meta.ID, "index", meta.Index, "err", err)
		sound.damaged[meta.ID] = true
	}
	if err := f.checkLog(o.Log, base, top); err != nil || base == top {
		return err
	}
	return checkWhole(o.Log, base)
}

var errUnreadable = errors.New("the snapshot cannot be opened")

// restoreFrom restores one snapshot, unless the state has all of it already.
func (f *FSM) restoreFrom(snaps raft.SnapshotStore, meta *raft.SnapshotMeta) error {
	if f.store.Position().Index >= meta.Index {
		return nil // a snapshot never holds more than its index says
	}
	_, r, err := snaps.Open(meta.ID)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	defer r.Close()
	h, replaced, err := f.store.Restore(r)
	if err != nil {
		return err
	}
	if replaced {
		f.log.Info("state restored from a snapshot", "id", meta.ID, "index", h.Index, "epoch", h.Epoch)
	}
	return nil
}

// checkLog makes sure that every entry the state needs is in the log, and that the
// state holds none that is not: Raft would panic at the one and vote against what
// it has forgotten at the other.
func (f *FSM) checkLog(log raft.LogStore, base, top uint64) error {
	first, err := log.FirstIndex()
	if err != nil {
		return fmt.Errorf("read first index of the log: %w", err)
	}
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("read last index of the log: %w", err)
	}
	index := f.store.Position().Index
	switch {
	case first > base+1:
		return fmt.Errorf("%w (the log begins at %d, the newest usable snapshot ends at %d)", ErrGap, first, base)
	case max(last, base) < top:
		return fmt.Errorf("%w (damaged snapshot at %d, the log ends at %d)", ErrGap, top, last)
	case max(last, base) < index:
		return fmt.Errorf("%w (the state is at %d, the log ends at %d)", ErrGap, index, last)
	}
	return nil
}

// checkWhole looks for every entry after base. A log may have a hole where a
// snapshot was installed over it, and behind a damaged one that hole matters.
func checkWhole(log raft.LogStore, base uint64) error {
	last, err := log.LastIndex()
	if err != nil {
		return fmt.Errorf("read last index of the log: %w", err)
	}
	for i := base + 1; i <= last; i++ {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil {
			return fmt.Errorf("%w (entry %d: %w)", ErrGap, i, err)
		}
	}
	return nil
}

// soundSnapshots hides snapshots that did not verify: Raft takes the newest it is
// shown for applied, without reading it.
type soundSnapshots struct {
	raft.SnapshotStore
	damaged map[string]bool // not written after Start
}

// List is that of the store without the damaged ones, newest first.
func (s *soundSnapshots) List() ([]*raft.SnapshotMeta, error) {
	all, err := s.SnapshotStore.List()
	if err != nil {
		return nil, err
	}
	sound := all[:0]
	for _, meta := range all {
		if !s.damaged[meta.ID] {
			sound = append(sound, meta)
		}
	}
	return sound, nil
}
