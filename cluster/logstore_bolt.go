package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

// initialMmapBytes: 8 GiB, far above a compacted log, on 64-bit systems.
const initialMmapBytes = (8 << 30) * (bits.UintSize / 64)

// walk looks every key of the file up, which touches all pages, branch keys and
// values. Opening for writing looks for free pages in a goroutine of bbolt's own,
// where a damaged page ends the process with nothing but a stack trace; here, in our
// goroutine, it becomes an error first. What this does not see, some branch keys and
// a page's overflow count, still ends the process there, before anything is served.
func walk(path string) error {
	if info, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		return err
	}
	defer db.Close()
	return db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, bucket *bbolt.Bucket) error {
			lookup := bucket.Cursor()
			return bucket.ForEach(func(k, v []byte) error {
				found, value := lookup.Seek(k)
				if !bytes.Equal(found, k) || !bytes.Equal(value, v) {
					return fmt.Errorf("key %x is listed and cannot be looked up", k)
				}
				return nil
			})
		})
	})
}

// boltStore is raft-boltdb with each call timed, and with the panics and memory
// faults that a damaged page causes in bbolt turned into errors.
type boltStore struct {
	*failStop
	db       *raftboltdb.BoltStore
	watchdog *Watchdog

	mu      sync.Mutex // over writes: bbolt's own, which come one at a time anyway, and those of reserve
	reserve *reservation
}

func (b *boltStore) call(name string, f func() error) (err error) {
	if b.watchdog != nil {
		id := b.watchdog.Begin(name)
		defer b.watchdog.End(id)
	}
	// A page number off the end of the file is a fault in the map, not a nil pointer.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: bbolt found its file damaged: %v", name, p)
		}
	}()
	return f()
}

func (b *boltStore) reading(name, what string, f func() error) error {
	return b.read(what, func() error { return b.call(name, f) })
}

func (b *boltStore) writing(name, what string, f func() error) error {
	return b.write(what, func() error {
		return b.call(name, func() error {
			b.mu.Lock()
			defer b.mu.Unlock()
			return f()
		})
	})
}

func (b *boltStore) GetLog(index uint64, l *raft.Log) error {
	return b.reading("GetLog", "raft entry", func() error {
		err := b.db.GetLog(index, l)
		if err != nil && err != raft.ErrLogNotFound {
			err = fmt.Errorf("index %d: %w", index, err)
		}
		return err
	})
}

// close closes the file. The second descriptor goes last: on some systems the first one
// to be closed gives bbolt's lock back.
func (b *boltStore) close() error { return errors.Join(b.db.Close(), b.reserve.file.Close()) }

func (b *boltStore) StoreLog(l *raft.Log) error { return b.StoreLogs([]*raft.Log{l}) }

func (b *boltStore) StoreLogs(logs []*raft.Log) error {
	return b.writing("StoreLogs", "raft entries", func() error {
		bytes := 0
		for _, l := range logs {
			bytes += len(l.Data) + len(l.Extensions)
		}
		if err := b.reserve.spend(bytes); err != nil {
			return err
		}
		return b.db.StoreLogs(logs)
	})
}

func (b *boltStore) DeleteRange(first, last uint64) error {
	return b.writing("DeleteRange", "deletion of raft entries", func() error { return b.db.DeleteRange(first, last) })
}

func (b *boltStore) FirstIndex() (index uint64, err error) {
	err = b.reading("FirstIndex", "first raft index", func() error { index, err = b.db.FirstIndex(); return err })
	return index, err
}

func (b *boltStore) LastIndex() (index uint64, err error) {
	err = b.reading("LastIndex", "last raft index", func() error { index, err = b.db.LastIndex(); return err })
	return index, err
}

func (b *boltStore) set(key, value []byte) error {
	return b.writing("Set", string(key), func() error { return b.db.Set(key, value) })
}

func (b *boltStore) get(key []byte) (value []byte, err error) {
	err = b.reading("Get", string(key), func() error { value, err = b.db.Get(key); return err })
	return value, err
}
