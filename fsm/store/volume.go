package store

import "sync/atomic"

// minSnapshotBytes of entries are applied before a snapshot is worth its cost.
const minSnapshotBytes = 64 << 20

// volume counts what decides when a snapshot is cut.
type volume struct {
	applied atomic.Int64 // bytes of entries since the newest snapshot
}

// Sizes of the state file, in bytes.
type Sizes struct {
	FileBytes    int64 // up to the last page in use
	FreeBytes    int64 // pages before it that hold nothing
	AppliedBytes int64 // entries applied since the newest snapshot
}

// Sizes measures the file. It fails after Close only.
func (s *Store) Sizes() (Sizes, error) {
	gen, err := s.acquire()
	if err != nil {
		return Sizes{}, err
	}
	defer gen.release()
	tx, err := gen.db.Begin(false)
	if err != nil {
		return Sizes{}, err
	}
	defer func() { _ = tx.Rollback() }() // fails only on a finished transaction
	st := gen.db.Stats()
	free := int64(st.FreePageN+st.PendingPageN) * int64(gen.db.Info().PageSize)
	return Sizes{FileBytes: tx.Size(), FreeBytes: free, AppliedBytes: s.volume.applied.Load()}, nil
}

// SnapshotDue reports whether as much was applied since the newest snapshot as
// makes one worth while: 64 MiB, or half the state when that is more.
func (s *Store) SnapshotDue() bool {
	if s.volume.applied.Load() < minSnapshotBytes {
		return false
	}
	z, err := s.Sizes()
	return err == nil && z.AppliedBytes >= (z.FileBytes-z.FreeBytes)/2
}
