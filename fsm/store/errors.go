package store

import (
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/fsm/snapshot"
)

// Sentinels.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("the state file is closed")
	// ErrInUse is returned by Open when another process holds the file.
	ErrInUse = errors.New("the state file is in use by another process")
	// ErrDamaged is returned by Open for a file that cannot be read as a state.
	ErrDamaged = errors.New("the state file is damaged")
	// ErrNewer is returned when the cluster's format is newer than this binary.
	ErrNewer = errors.New("the cluster's format is newer than this binary: upgrade it")
	// ErrStorage is returned when the file cannot be written or synced.
	ErrStorage = errors.New("the state file cannot be written")
	// ErrForeign is returned by Restore for a snapshot of another cluster.
	ErrForeign = errors.New("the snapshot is of another cluster")
	// ErrOldEpoch is returned by Restore for a snapshot of an earlier epoch.
	ErrOldEpoch = errors.New("the snapshot is of an earlier epoch")
)

// Altered is returned by Scan, and while a snapshot is written, when the file does
// not hold what Apply wrote: a flipped bit, or somebody's hand.
type Altered struct {
	Index uint64 // of the last entry applied
	What  string // what differs
	Err   error  // *snapshot.Mismatch where sums differ
}

func (a *Altered) Error() string {
	return fmt.Sprintf("state file altered (%s, at entry %d): %v", a.What, a.Index, a.Err)
}

func (a *Altered) Unwrap() error { return a.Err }

// altered gives a failed check its type; errors of the environment keep theirs.
func altered(index uint64, err error) error {
	var m *snapshot.Mismatch
	if errors.As(err, &m) {
		return &Altered{Index: index, What: m.What, Err: err}
	}
	return &Altered{Index: index, What: "rows", Err: err}
}
