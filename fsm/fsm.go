// Package fsm lets hashicorp/raft drive the replicated state: decode, apply,
// notify, snapshot, restore. It is thin; the rules are in fsm/state, the file is
// fsm/store's, the container fsm/snapshot's.
//
// How a node uses it:
//
//	f, err := fsm.Start(fsm.Options{Dir: disk.State(), Unclean: disk.Unclean(),
//		Snapshots: files, Log: logs, Logger: log})
//	// the state file is now durable enough: disk.Rebuilt()
//	conf.NoSnapshotRestoreOnStart = true       // Start has restored what had to be
//	conf.SnapshotThreshold = math.MaxUint64    // snapshots are cut when f.SnapshotDue()
//	r, err := raft.NewRaft(conf, f, logs, stable, f.Snapshots(), transport)
//	...
//	r.Shutdown().Error()
//	f.Close()
//
// What comes back from raft's Apply future: a state.Outcome; or, after the FSM has
// stopped, an error, and then nobody knows here what became of the entry
// (ledger.ErrIndeterminate). View, Position and Changed are those of the store:
// "applied" everywhere in Chancery means what they show, never raft.AppliedIndex.
//
// Concurrency: raft calls Apply, ApplyBatch, Snapshot and Restore from one
// goroutine, Persist and Release from another. Everything else may be called from
// any goroutine. One goroutine of our own verifies the whole state file once after
// Start; the store has another that syncs.
//
// Failure: corruption, divergence, an altered file or one that cannot be written
// end the FSM. It reports the reason once to Options.Stop, which does not return in
// a server, and applies nothing any more.
package fsm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// Sentinels.
var (
	// ErrStopped is returned, and answered to Raft, once the FSM has stopped.
	ErrStopped = errors.New("the state machine has stopped")
	// ErrReplaying is returned by Snapshot while Raft hands out entries that were
	// applied before: the state is ahead of the index Raft would write on it.
	ErrReplaying = errors.New("entries that were applied before are being replayed: no snapshot now")
	// ErrGap is returned by Start when snapshots and log do not join up with each
	// other or with the state.
	ErrGap = errors.New("the Raft log does not join up with the state: run: chancery node rebuild")
)

// FSM is the state machine of one node.
type FSM struct {
	store     *store.Store
	snapshots raft.SnapshotStore
	log       *slog.Logger

	seen atomic.Uint64 // highest index Raft has handed out since Start
	own  own

	stop    func(error)
	once    sync.Once
	stopped atomic.Pointer[error]

	cancel   context.CancelFunc // of the verification
	verified chan struct{}      // closed when it succeeded
	idle     chan struct{}      // closed when it ended
}

var _ raft.BatchingFSM = (*FSM)(nil)

// Apply takes one entry in.
func (f *FSM) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// ApplyBatch takes entries in, in one transaction. It answers a state.Outcome for
// each command; nil for other kinds of entry and for those that were applied before
// a restart; an error for all when the FSM has stopped.
func (f *FSM) ApplyBatch(logs []*raft.Log) []any {
	out := make([]any, len(logs))
	if err := f.Err(); err != nil {
		return fill(out, err)
	}
	entries := make([]store.Entry, len(logs))
	for i, l := range logs {
		entries[i] = store.Entry{Index: l.Index, Term: l.Term, Data: l.Data, Skip: l.Type != raft.LogCommand}
		if !entries[i].Skip {
			entries[i].Command = f.own.take(l.Data)
		}
	}
	outcomes, err := f.store.ApplyBatch(entries)
	if err != nil {
		f.halt(err)
		return fill(out, f.Err())
	}
	for i, o := range outcomes {
		if o.Index != 0 {
			out[i] = o
		}
	}
	f.seen.Store(logs[len(logs)-1].Index)
	return out
}

func fill(out []any, err error) []any {
	for i := range out {
		out[i] = err
	}
	return out
}

// halt stops the FSM, once. In a server the hook ends the process.
func (f *FSM) halt(reason error) {
	f.once.Do(func() {
		err := fmt.Errorf("%w: %w", ErrStopped, reason)
		f.stopped.Store(&err)
		f.cancel()
		f.stop(reason)
	})
}

// Err is nil while the FSM works, else why it stopped.
func (f *FSM) Err() error {
	if err := f.stopped.Load(); err != nil {
		return *err
	}
	return nil
}

// View is the newest published state. It never blocks.
func (f *FSM) View() *state.View { return f.store.View() }

// Position of the newest published state.
func (f *FSM) Position() state.Position { return f.store.Position() }

// Digest is the position with the state digest there, both of one published state.
func (f *FSM) Digest() (state.Position, [32]byte) { return f.store.Digest() }

// Changed returns a channel that is closed once a state with Index greater than
// index is published; look at the View again, because it may be closed early.
func (f *FSM) Changed(index uint64) <-chan struct{} { return f.store.Changed(index) }

// Generation is raised by each restore that replaced the state. Whoever holds a right
// that rests on the state gives it up around the restore itself (cluster's installGuard).
func (f *FSM) Generation() uint64 { return f.store.Generation() }

// Snapshots is the store that Raft must be given: that of Options, without the
// snapshots that Start found damaged.
func (f *FSM) Snapshots() raft.SnapshotStore { return f.snapshots }

// Replaying reports whether Raft is still handing out entries from before a
// restart: Snapshot is refused until it has done. (Raft hides ErrReplaying in text.)
func (f *FSM) Replaying() bool { return f.seen.Load() < f.store.Position().Index }

// SnapshotDue reports whether enough was applied since the newest snapshot.
func (f *FSM) SnapshotDue() bool { return f.store.SnapshotDue() }

// Sizes of the state file.
func (f *FSM) Sizes() (store.Sizes, error) { return f.store.Sizes() }

// Verified is closed once the state file, read as a whole after Start, was found
// to hold what the state says of itself. No lease before it.
func (f *FSM) Verified() <-chan struct{} { return f.verified }

// verify runs beside everything else.
func (f *FSM) verify(ctx context.Context) {
	defer close(f.idle)
	at, err := f.store.Scan(ctx)
	switch {
	case err == nil:
		f.log.Info("state verified", "index", at.Index, "log_size", at.LogSize)
		close(f.verified)
	case ctx.Err() == nil && !errors.Is(err, store.ErrClosed):
		f.halt(err)
	}
}

// Close ends the verification, syncs the state file and closes it. Shut Raft down
// before.
func (f *FSM) Close() error {
	f.cancel()
	<-f.idle
	return f.store.Close()
}
