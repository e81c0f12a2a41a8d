// Package ledger is the contract between the authority, which decides, and
// whatever replicates its decisions. The authority knows nothing of Raft: it
// proposes commands, reads pinned Views at a stated freshness and waits for
// positions. cluster.Node implements it over hashicorp/raft, ledgertest in memory.
package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Sentinels. The first group means that nothing was done and another node may do
// it; ErrIndeterminate means that nobody knows yet.
var (
	// ErrNotLeader is returned when this node cannot propose or confirm reads;
	// Leadership tells who can.
	ErrNotLeader = errors.New("this node is not the leader")
	// ErrStale is returned when the state here is older than the reader accepts.
	ErrStale = errors.New("the state of this node is too old")
	// ErrBehind is returned when the minimum position asked for was not reached in time.
	ErrBehind = errors.New("this node has not reached the position asked for")
	// ErrEpoch is returned when the position asked for is of another epoch.
	ErrEpoch = errors.New("the position asked for is of another epoch")
	// ErrBusy is returned when too much is waiting already.
	ErrBusy = errors.New("too many commands are waiting")
	// ErrClock is returned when this leader's wall clock is off and it proposes nothing dated.
	ErrClock = errors.New("the leader's clock disagrees with the other voters")
	// ErrNoLease is returned when this node may not release signatures now; another
	// node may.
	ErrNoLease = errors.New("this node holds no signing lease")
	// ErrIndeterminate is returned when leadership was lost after the command was
	// queued: repeat it with the same RequestID, never report it as failed.
	ErrIndeterminate = errors.New("the outcome is not known yet")
	// ErrStopped is returned after Close.
	ErrStopped = errors.New("the node is stopping")
)

// Level is how fresh a read must be.
type Level uint8

const (
	Bounded      Level = iota // state no older than Read.Within; the default
	Linearizable              // sees every write acknowledged before the read began
	Stale                     // whatever is here, marked
)

// Freshness is what a reader asks for. MinIndex and MinEpoch ask for a position
// on top of the level, 0 = none.
type Freshness struct {
	Level    Level
	Within   time.Duration // Bounded only; 0 = DefaultBound
	MinEpoch uint64
	MinIndex uint64
}

// DefaultBound of a bounded read.
const DefaultBound = 5 * time.Second

// Snapshot is a View with what is known about its age.
type Snapshot struct {
	*state.View
	AsOf      time.Time     // wall time at which the state was certainly current; zero = unknown
	Staleness time.Duration // age by the lease clock; meaningless when AsOf is zero
	Fresh     bool          // the level asked for was met: only then may an answer say "good"
	Level     Level
}

// Leadership is who leads, as far as this node knows.
type Leadership struct {
	Leader lifecycle.NodeID // "" = nobody known
	Self   bool             // this node leads
	Ready  bool             // Self, and everything of earlier terms is applied here
	Term   uint64
}

// Ledger is one node's access to the replicated log.
type Ledger interface {
	// NodeID of this node.
	NodeID() lifecycle.NodeID
	// Propose commits the command and returns what Apply made of it on this node.
	// It stamps nothing: At, Actor and ids are the caller's. A refusal is an
	// Outcome and no error.
	Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error)
	// View is the newest published state, of any age. It never blocks.
	View() *state.View
	// Read returns a View that meets the freshness, waiting within ctx where
	// waiting helps.
	Read(ctx context.Context, f Freshness) (Snapshot, error)
	// Changed returns a channel that is closed once a state with Index greater
	// than index is published; it may be closed already.
	Changed(index uint64) <-chan struct{}
	// Leadership as known here; LeadershipChanged's channel is closed at the next change.
	Leadership() Leadership
	LeadershipChanged() <-chan struct{}
}

// Lease is a node's time-bounded right to release signatures.
type Lease interface {
	// Usable is nil when, at the moment of the call, this node may release a
	// signature that was computed from v; otherwise it wraps ErrNoLease and says
	// why. It does no I/O and takes no lock.
	Usable(v *state.View) error
}
