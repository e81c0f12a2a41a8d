package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// readLogDir reads the lifecycle log of a stopped node, from leaf number from on. The
// position is that of the node's state, which was checked as a whole.
func readLogDir(dir string, from uint64) (l wire.List[wire.LogEntry], err error) {
	err = store.Inspect(filepath.Join(dir, "state"), func(v *state.View) error {
		at := v.Position()
		l.Position = &wire.Position{Epoch: at.Epoch, Index: at.Index, LogSize: at.LogSize, LogRoot: at.LogRoot[:]}
		return v.Leaves(from, func(n uint64, leaf *state.Leaf, raw []byte) bool {
			l.Items = append(l.Items, wire.LogEntry{Number: n, Leaf: string(raw), Event: transport.Event(v, leaf)})
			return true
		})
	})
	var altered *store.Altered
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, store.ErrInUse):
		return l, fmt.Errorf("a node runs in %s: leave --dir out to ask it, or stop it first", dir)
	case errors.Is(err, fs.ErrNotExist):
		return l, usagef("--dir: %s holds no state: name the data directory of a node", dir)
	case errors.Is(err, store.ErrDamaged), errors.As(err, &altered):
		return l, failedf("the state in %s does not hold: %v; a start of the node makes it again from snapshot and log", dir, err)
	}
	return l, err
}
