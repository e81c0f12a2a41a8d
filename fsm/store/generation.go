package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// generation is one file with the references on it. The Store holds one reference
// until the file is replaced or closed, every running read another.
type generation struct {
	number uint64
	db     *bolt.DB
	refs   atomic.Int64
	walks  atomic.Int64  // reads of the whole file that are running
	gone   chan struct{} // closed after the file was
	err    error         // of closing; read it after gone
}

func newGeneration(number uint64, db *bolt.DB) *generation {
	g := &generation{number: number, db: db, gone: make(chan struct{})}
	g.refs.Store(1)
	return g
}

// acquire takes a reference, unless the last one has gone.
func (g *generation) acquire() bool {
	for {
		n := g.refs.Load()
		if n == 0 {
			return false
		}
		if g.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (g *generation) release() {
	if g.refs.Add(-1) == 0 {
		g.err = g.db.Close()
		close(g.gone)
	}
}

// lockLimit: a lock held longer is held by a living process.
const lockLimit = time.Second

// openFile opens or makes a file of tables. Errors are ErrInUse, ErrDamaged, or of
// the environment.
func openFile(path string, mmapBytes int) (*bolt.DB, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout:         lockLimit,
		NoSync:          true,
		NoGrowSync:      true,
		FreelistType:    bolt.FreelistMapType,
		InitialMmapSize: mmapBytes,
		// The freelist is written with every commit: without it each start would
		// walk the whole file to find the free pages.
		NoFreelistSync: false,
	})
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", classify(err))
	}
	if err := makeTables(db); err != nil {
		_ = db.Close() // the error that matters is err
		return nil, err
	}
	return db, nil
}

// classify tells a damaged file from an environment that does not let us read it.
func classify(err error) error {
	var path *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return ErrInUse
	case errors.As(err, &path), errors.As(err, &errno):
		return err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

// makeTables creates the buckets that are missing: all of them in a new file, a
// few in one that an older binary made.
func makeTables(db *bolt.DB) error {
	missing := false
	if err := db.View(func(tx *bolt.Tx) error {
		for _, t := range state.Tables {
			missing = missing || tx.Bucket([]byte(t)) == nil
		}
		return nil
	}); err != nil || !missing {
		return err
	}
	err := db.Update(func(tx *bolt.Tx) error {
		for _, t := range state.Tables {
			if _, err := tx.CreateBucketIfNotExists([]byte(t)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make tables: %w: %w", ErrStorage, err)
	}
	return nil
}

// loadMachine decodes the hot tables. A page that is not what bbolt wrote, or that
// lies past the end of a truncated file, shows as a panic of bbolt or as a fault
// of the memory map; both mean a damaged file, not a bug to crash on at each start.
func loadMachine(db *bolt.DB) (m *state.Machine, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			m, err = nil, fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	tx, err := db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // fails only on a finished transaction
	r := newRows(tx)
	if err := checkFormat(r); err != nil {
		return nil, err
	}
	m, err = state.LoadMachine(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return m, nil
}

// checkFormat looks before decoding: rows of a newer format are no damage.
func checkFormat(r state.Reader) (err error) {
	r.Ascend(state.TableCluster, "", func(_ string, row []byte) bool {
		var c lifecycle.Cluster
		if e := command.Unmarshal(row, &c); e != nil {
			err = fmt.Errorf("%w: %w", ErrDamaged, e)
		} else if c.Format > command.MaxFormat {
			err = fmt.Errorf("%w (format %d, this one supports %d)", ErrNewer, c.Format, command.MaxFormat)
		}
		return false
	})
	return err
}

// openGuarded is openFile for a file that may be damaged: bbolt asserts.
func openGuarded(path string, mmapBytes int) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("open state file: %w: %v", ErrDamaged, p)
		}
	}()
	return openFile(path, mmapBytes)
}

// syncDir makes a rename or a removal in the directory durable.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}
