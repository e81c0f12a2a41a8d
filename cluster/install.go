package cluster

import (
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm"
	"github.com/chancery-project/chancery/fsm/fault"
)

// maxFruitlessInstalls is how many snapshots in a row may be installed without one
// entry being applied after them.
const maxFruitlessInstalls = 3

// ErrStuck is the reason of a stop by installGuard.
var ErrStuck = errors.New("this node is sent one snapshot after another and gets to apply nothing")

// errStartOver is the end of such a reason when a start is all that it takes.
var errStartOver = errors.New("its log and state will be set aside: start it again, and it joins in empty, as a new incarnation without a vote; then, as an admin: chancery node promote")

// installGuard stands between raft and the state machine and detects the snapshot
// livelock of hashicorp/raft #697: a follower whose log conflicts is sent one
// snapshot after another and never gets to apply an entry. Nothing but an empty
// directory gets it out of there, so the node asks for one and stops.
//
// It gives up a vote and a copy of the log by that, which is safe as every rebuild is:
// the leader counts the new incarnation for nothing before it was caught up and
// promoted. It does so once; a second time a person has to look, see disk.Dir.Forsake.
//
// raft calls a state machine from one goroutine, which owns fruitless.
type installGuard struct {
	*fsm.FSM
	fatal     func(reason error)
	drop      func(why string) // gives the lease up
	forsake   func() error     // asks for the next start to be one over
	fruitless int
}

var _ raft.BatchingFSM = (*installGuard)(nil)

// ApplyBatch is the progress that is looked for: raft hands out only what comes
// after the newest snapshot.
func (g *installGuard) ApplyBatch(logs []*raft.Log) []any {
	fault.Reached(fault.ApplyBatch)
	g.fruitless = 0
	return g.FSM.ApplyBatch(logs)
}

// Apply is what raft would call if ApplyBatch were hidden from it.
func (g *installGuard) Apply(l *raft.Log) any { return g.ApplyBatch([]*raft.Log{l})[0] }

// Restore counts. A snapshot that cannot be restored is no progress either. A lease
// was for the state that it replaces: it goes before, and what came meanwhile after.
func (g *installGuard) Restore(r io.ReadCloser) error {
	fault.Reached(fault.SnapshotAsked)
	const why = "its state is being replaced by a snapshot"
	g.drop(why)
	err := g.FSM.Restore(r)
	g.drop(why)
	if g.fruitless++; g.fruitless <= maxFruitlessInstalls {
		return err
	}
	reason := fmt.Errorf("%w (%d installs)", ErrStuck, g.fruitless)
	if err != nil {
		reason = fmt.Errorf("%w (%d installs, the last: %w)", ErrStuck, g.fruitless, err)
	}
	reason = g.end(reason)
	g.fatal(reason)
	return reason
}

// end says what comes next.
func (g *installGuard) end(reason error) error {
	if err := g.forsake(); err != nil {
		return fmt.Errorf("%w: it cannot start over by itself: %w. Run: chancery node rebuild", reason, err)
	}
	return fmt.Errorf("%w: %w", reason, errStartOver)
}
