package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// LogStoreOptions of OpenLogStore. Zero values take the defaults.
type LogStoreOptions struct {
	// CacheEntries is how many recent entries stay in memory for replication: 512.
	CacheEntries int
	// Watchdog times every call that reaches the disk; nil means none.
	Watchdog *Watchdog
	// Fatal ends the process after damage or a failed write; nil is Exit. If it returns, as in tests, the store refuses every later call.
	Fatal func(reason error)
}

// LogStore is the Raft log and the stable store, on raft-boltdb with every commit
// synced, and with a digest in every entry.
//
// The layers, from Raft down: LogStore seals and checks digests; raft.LogCache keeps
// recent entries; boltStore times calls and tells damage from absence; raft-boltdb.
// Checking above the cache costs one hash per replicated entry (about 0.4 us for 256 B) and
// means that what is replicated or applied has been checked at that moment, also
// against whoever writes into memory that it does not own.
//
// The leader's digest: raft's dispatchLogs numbers the entries, calls StoreLogs with
// pointers to the very structs that it later applies and that the cache hands to the
// replicators, and only then replicates. So an entry without Extensions in StoreLogs
// is one that this node made, and is sealed in place. It cannot be a received one
// that lost its digest: Transport refuses those before Raft sees them.
type LogStore struct {
	*failStop
	cache *raft.LogCache
	bolt  *boltStore
}

var (
	_ raft.LogStore          = (*LogStore)(nil)
	_ raft.StableStore       = (*LogStore)(nil)
	_ raft.MonotonicLogStore = (*LogStore)(nil)
)

// OpenLogStore opens or creates the file, which one process can hold.
func OpenLogStore(path string, opts LogStoreOptions) (*LogStore, error) {
	if opts.CacheEntries == 0 {
		opts.CacheEntries = 512
	}
	if opts.Fatal == nil {
		opts.Fatal = Exit(slog.Default())
	}
	stop := &failStop{fatal: opts.Fatal}
	s := &LogStore{failStop: stop, bolt: &boltStore{failStop: stop, watchdog: opts.Watchdog}}
	err := s.bolt.call("Open", func() (err error) {
		if err := walk(path); err != nil {
			return err
		}
		s.bolt.db, err = raftboltdb.New(raftboltdb.Options{
			Path: path,
			BoltOptions: &bbolt.Options{
				Timeout: time.Second,
				// The free list is rebuilt when the file is opened instead of being
				// written with every commit.
				NoFreelistSync: true,
				FreelistType:   bbolt.FreelistMapType,
				// Growing the map waits for all readers; address space is free.
				InitialMmapSize: initialMmapBytes,
			},
			MsgpackUseNewTimeFormat: true,
		})
		if err != nil {
			return err
		}
		if s.bolt.reserve, err = openReservation(path); err != nil {
			return errors.Join(err, s.bolt.db.Close())
		}
		return nil
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("open raft log %s: another process holds it: stop that one first", path)
	case err != nil:
		return nil, fmt.Errorf("open raft log %s: %w: if the file is damaged run: chancery node rebuild", path, err)
	}
	if s.cache, err = raft.NewLogCache(opts.CacheEntries, s.bolt); err != nil {
		return nil, errors.Join(fmt.Errorf("open raft log: %w", err), s.bolt.close())
	}
	return s, nil
}

// Close closes the file. Raft must be shut down.
func (s *LogStore) Close() error { return s.bolt.close() }

// GetLog reads and checks one entry.
func (s *LogStore) GetLog(index uint64, l *raft.Log) error {
	err := s.cache.GetLog(index, l)
	if err != nil {
		return err
	}
	if l.Index != index {
		return s.damaged("raft entry", fmt.Errorf("index %d: %w: the entry stored there says index %d", index, ErrEntryDigest, l.Index))
	}
	if err := checkEntry(l); err != nil {
		return s.damaged("raft entry", err)
	}
	return s.usable() // the cache answers without asking the layers below
}

// StoreLog stores one entry. See StoreLogs.
func (s *LogStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs seals what this node made, checks what it received, and stores all in
// one synced transaction.
func (s *LogStore) StoreLogs(logs []*raft.Log) error {
	if err := s.usable(); err != nil {
		return err
	}
	for _, l := range logs {
		if len(l.Extensions) == 0 {
			seal(l)
		} else if err := checkEntry(l); err != nil {
			return s.damaged("raft entry to be stored", err)
		}
	}
	return s.cache.StoreLogs(logs)
}

// DeleteRange deletes the entries from first to last, inclusive.
func (s *LogStore) DeleteRange(first, last uint64) error { return s.cache.DeleteRange(first, last) }

// FirstIndex is the oldest entry's index, 0 when there is none.
func (s *LogStore) FirstIndex() (uint64, error) { return s.cache.FirstIndex() }

// LastIndex is the newest entry's index, 0 when there is none.
func (s *LogStore) LastIndex() (uint64, error) { return s.cache.LastIndex() }

// IsMonotonic passes the store's own answer on.
func (s *LogStore) IsMonotonic() bool { return s.cache.IsMonotonic() }

// ErrMissingEntry is returned when the log lacks an entry that must be there.
var ErrMissingEntry = errors.New("raft entry is missing")

// Scan reads and checks every stored entry and returns how many there are. Run it
// before NewRaft: damage is then found before anything of the log is applied.
//
// snapshotIndex is that of the newest valid snapshot, 0 for none. From the entry
// after it the log must be without gaps; a damaged page can hide entries as well as
// change them. Before it there are gaps where a snapshot was installed. A log cut
// short at its end cannot be told from a shorter log.
func (s *LogStore) Scan(snapshotIndex uint64) (entries uint64, err error) {
	first, err := s.FirstIndex()
	if err != nil || first == 0 {
		return 0, err
	}
	last, err := s.LastIndex()
	if err != nil {
		return 0, err
	}
	if last > snapshotIndex {
		first = min(first, snapshotIndex+1)
	}
	for i := first; i <= last; i++ {
		switch err := s.GetLog(i, new(raft.Log)); {
		case err == nil:
			entries++
		case err != raft.ErrLogNotFound:
			return entries, err
		case i > snapshotIndex:
			return entries, s.damaged("raft entry", fmt.Errorf("index %d: %w: the newest snapshot is at %d and the log goes on to %d", i, ErrMissingEntry, snapshotIndex, last))
		}
	}
	return entries, nil
}
