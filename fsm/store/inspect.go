package store

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/state"
)

// Inspect reads the state file of a stopped node without changing it: it checks the
// whole file, as Scan does, and hands out what it holds. The View is good until fn
// returns.
//
// The error is ErrInUse while a node runs there; ErrDamaged, *Altered or ErrNewer for
// a file that is not what a node of this version wrote; else the one of fn or of the
// environment. After a kill the file may be behind the Raft log by what a start would
// take in, and after a stop of the machine it may be damaged: a start makes it again.
func Inspect(dir string, fn func(*state.View) error) (err error) {
	db, err := openReadOnly(filepath.Join(dir, fileName))
	if err != nil {
		return err
	}
	defer db.Close() // nothing was written
	m, err := loadMachine(db)
	if err != nil {
		return fmt.Errorf("inspect state file: %w", err)
	}
	tx, err := db.Begin(false)
	if err != nil {
		return fmt.Errorf("read state file: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // fails only on a finished transaction
	p := &pinned{tx: tx, root: m.Root()}
	if err := p.sound(context.Background()); err != nil {
		return fmt.Errorf("inspect state file: %w", err)
	}
	return fn(state.NewView(p.root, func(read func(state.Reader) error) error { return read(newRows(tx)) }))
}

// openReadOnly also turns bbolt's assertions about a damaged file into errors.
func openReadOnly(path string) (db *bolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("open state file: %w: %v", ErrDamaged, p)
		}
	}()
	if db, err = bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: lockLimit}); err != nil {
		return nil, fmt.Errorf("open state file: %w", classify(err))
	}
	err = db.View(func(tx *bolt.Tx) error {
		for _, t := range state.Tables {
			if tx.Bucket([]byte(t)) == nil {
				return fmt.Errorf("open state file: %w: it has no table %s: start the node once with this version", ErrDamaged, t)
			}
		}
		return nil
	})
	if err != nil {
		_ = db.Close() // the error that matters is err
		return nil, err
	}
	return db, nil
}
