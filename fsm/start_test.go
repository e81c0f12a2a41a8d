package fsm

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/store"
)

// history is a node's disk after 12 entries at indexes 1 to 12: snapshots labelled
// 4 and 8, the log from first on, the state file at 12.
func history(t *testing.T, first uint64) (*disk, map[uint64]stand) {
	t.Helper()
	d := newDisk(t)
	f := start(t, d.options(t))
	at := map[uint64]stand{0: standOf(f)}
	for i, e := range fsmtest.Script(11) {
		index := uint64(i + 1)
		f.ApplyBatch(d.commit(t, index, e))
		at[index] = standOf(f)
		if index == 4 || index == 8 {
			d.keep(t, f, index)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if first > 1 {
		if err := d.log.DeleteRange(1, first-1); err != nil {
			t.Fatal(err)
		}
	}
	return d, at
}

// replay hands out what Raft hands out after a start.
func replay(t *testing.T, d *disk, f *FSM) {
	t.Helper()
	list, err := f.Snapshots().List()
	if err != nil {
		t.Fatal(err)
	}
	var base uint64
	if len(list) > 0 {
		base = list[0].Index
	}
	last, err := d.log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var logs []*raft.Log
	for i := base + 1; i <= last; i++ {
		l := new(raft.Log)
		if err := d.log.GetLog(i, l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
		if l.Type == raft.LogCommand || l.Type == raft.LogConfiguration { // the others Raft keeps to itself
			logs = append(logs, l)
		}
	}
	if len(logs) > 0 {
		f.ApplyBatch(logs)
	}
}

func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[(at+len(b))%len(b)] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// spoil flips a bit in the body of the snapshot with the label.
func (d *disk) spoil(t *testing.T, index uint64) {
	t.Helper()
	list, err := d.snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, meta := range list {
		if meta.Index == index {
			flip(t, filepath.Join(d.where, meta.ID, "state.bin"), -100)
			return
		}
	}
	t.Fatalf("no snapshot at %d", index)
}

// TestStart: where a node finds itself, before Raft has said anything, and that the
// replay leads to the same state from everywhere.
func TestStart(t *testing.T) {
	for name, c := range map[string]struct {
		first uint64 // of the log
		harm  func(t *testing.T, d *disk, o *Options)
		index uint64 // after Start
		files uint64 // generation: 2 when a snapshot was restored
	}{
		"clean":                    {first: 1, index: 12, files: 1},
		"clean, compacted log":     {first: 9, index: 12, files: 1},
		"machine stopped":          {first: 9, harm: unclean, index: 8, files: 2},
		"state file lost":          {first: 9, harm: lost, index: 8, files: 2},
		"state file cut":           {first: 9, harm: cut, index: 8, files: 2},
		"state file behind":        {first: 7, harm: behind(2), index: 8, files: 2},
		"state file a bit behind":  {first: 7, harm: behind(10), index: 10, files: 1},
		"newest snapshot damaged":  {first: 5, harm: both(unclean, spoiled(8)), index: 4, files: 2},
		"every snapshot damaged":   {first: 1, harm: both(unclean, spoiled(4), spoiled(8)), index: 0, files: 1},
		"damaged but not needed":   {first: 9, harm: spoiled(8), index: 12, files: 1},
		"crash during a restore":   {first: 9, harm: both(lost, halfRestored), index: 8, files: 2},
		"no snapshots, full log":   {first: 1, harm: both(unclean, noSnapshots), index: 0, files: 1},
		"snapshot labelled higher": {first: 9, harm: both(unclean, relabelled), index: 12, files: 2},
		"label of a no-op":         {first: 9, harm: relabelled, index: 12, files: 1},
	} {
		t.Run(name, func(t *testing.T) {
			d, at := history(t, c.first)
			o := d.options(t)
			if c.harm != nil {
				c.harm(t, d, &o)
			}
			f := start(t, o)
			if got := standOf(f); got != at[c.index] {
				t.Fatalf("started at %d, want %d", got.at.Index, c.index)
			}
			if f.Generation() != c.files {
				t.Fatalf("generation %d, want %d", f.Generation(), c.files)
			}
			<-f.Verified()
			replay(t, d, f)
			if got := standOf(f); got != at[12] {
				t.Fatalf("the replay leads to %d", got.at.Index)
			}
		})
	}
}

func unclean(_ *testing.T, _ *disk, o *Options) { o.Unclean = true }

func lost(t *testing.T, d *disk, _ *Options) {
	if err := os.Remove(filepath.Join(d.dir, "state.db")); err != nil {
		t.Fatal(err)
	}
}

func cut(t *testing.T, d *disk, _ *Options) {
	if err := os.Truncate(filepath.Join(d.dir, "state.db"), 3*4096); err != nil {
		t.Fatal(err)
	}
}

func behind(n int) func(t *testing.T, d *disk, _ *Options) {
	return func(t *testing.T, d *disk, o *Options) {
		lost(t, d, o)
		s, err := store.Open(d.dir, store.Options{Fatal: func(err error) { t.Error(err) }})
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range fsmtest.Script(n - 1) {
			if _, err := s.ApplyBatch([]store.Entry{{Index: uint64(i + 1), Data: e}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func spoiled(index uint64) func(t *testing.T, d *disk, _ *Options) {
	return func(t *testing.T, d *disk, _ *Options) { d.spoil(t, index) }
}

func halfRestored(t *testing.T, d *disk, _ *Options) {
	if err := os.WriteFile(filepath.Join(d.dir, "state.db.new"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func noSnapshots(t *testing.T, d *disk, _ *Options) {
	list, err := d.snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, meta := range list {
		if err := os.RemoveAll(filepath.Join(d.where, meta.ID)); err != nil {
			t.Fatal(err)
		}
	}
}

// relabelled adds a snapshot of entry 12 under the index of a no-op that Raft
// committed after it and never showed us.
func relabelled(t *testing.T, d *disk, _ *Options) {
	if err := d.log.StoreLog(&raft.Log{Index: 13, Term: 2, Type: raft.LogNoop}); err != nil {
		t.Fatal(err)
	}
	f := start(t, d.options(t))
	replay(t, d, f) // Snapshot is refused before
	d.keep(t, f, 13)
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func both(harms ...func(*testing.T, *disk, *Options)) func(*testing.T, *disk, *Options) {
	return func(t *testing.T, d *disk, o *Options) {
		for _, harm := range harms {
			harm(t, d, o)
		}
	}
}

// TestStartRefusals: what is left does not join up, or is not ours.
func TestStartRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		first uint64
		harm  func(t *testing.T, d *disk, o *Options)
		want  error
	}{
		"every snapshot damaged, compacted log":   {9, both(unclean, spoiled(4), spoiled(8)), ErrGap},
		"newest snapshot damaged, compacted log":  {9, both(unclean, spoiled(8)), ErrGap},
		"no snapshot, compacted log":              {5, noSnapshots, ErrGap},
		"log lost":                                {13, nil, ErrGap},
		"log shorter than the state":              {1, shortLog, ErrGap},
		"log with a hole behind a damaged newest": {1, both(unclean, spoiled(8), hole), ErrGap},
		"state of another cluster":                {9, foreign, store.ErrForeign},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := history(t, c.first)
			o := d.options(t)
			if c.harm != nil {
				c.harm(t, d, &o)
			}
			if f, err := Start(o); !errors.Is(err, c.want) {
				if f != nil {
					f.Close()
				}
				t.Fatalf("%v", err)
			}
		})
	}
}

func shortLog(t *testing.T, d *disk, _ *Options) {
	if err := d.log.DeleteRange(11, 12); err != nil {
		t.Fatal(err)
	}
}

func hole(t *testing.T, d *disk, o *Options) { o.Log = &holed{InmemStore: d.log, at: 6} }

// holed is a log over which a snapshot was installed once.
type holed struct {
	*raft.InmemStore
	at uint64
}

func (h *holed) GetLog(index uint64, l *raft.Log) error {
	if index == h.at {
		return raft.ErrLogNotFound
	}
	return h.InmemStore.GetLog(index, l)
}

func foreign(t *testing.T, d *disk, o *Options) {
	lost(t, d, o)
	s, err := store.Open(d.dir, store.Options{Fatal: func(err error) { t.Error(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.ApplyBatch([]store.Entry{{Index: 1, Data: fsmtest.GenesisOf("ffffffffffffffffffffffffffffffff")}}); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedStateIsKeptForInspection: rebuilding must not destroy evidence.
func TestDamagedStateIsKeptForInspection(t *testing.T) {
	d, at := history(t, 1)
	cut(t, d, nil)
	f := start(t, d.options(t))
	if standOf(f) != at[8] {
		t.Fatal("not rebuilt")
	}
	if _, err := os.Stat(filepath.Join(d.dir, "state.db.damaged")); err != nil {
		t.Fatal(err)
	}
}

// TestDamagedSnapshotsAreHidden: Raft takes the newest it is shown for applied.
func TestDamagedSnapshotsAreHidden(t *testing.T) {
	d, _ := history(t, 1)
	d.spoil(t, 8)
	o := d.options(t)
	o.Unclean = true
	list, err := start(t, o).Snapshots().List()
	if err != nil || len(list) != 1 || list[0].Index != 4 {
		t.Fatalf("%v, %v", list, err)
	}
}

// TestSnapshotWhileReplaying: the state is ahead of the index Raft would label it
// with.
func TestSnapshotWhileReplaying(t *testing.T) {
	d, _ := history(t, 1)
	f := start(t, d.options(t))
	if _, err := f.Snapshot(); !errors.Is(err, ErrReplaying) || !f.Replaying() {
		t.Fatalf("before the replay: %v", err)
	}
	for i := uint64(9); i <= 12; i++ {
		l := new(raft.Log)
		if err := d.log.GetLog(i, l); err != nil {
			t.Fatal(err)
		}
		f.ApplyBatch([]*raft.Log{l})
		snap, err := f.Snapshot()
		if err == nil {
			snap.Release()
		}
		if refused := errors.Is(err, ErrReplaying); refused != (i < 12) {
			t.Fatalf("after entry %d: %v", i, err)
		}
	}
}

// TestRestoreBehind: a leader sends what this node has long applied.
func TestRestoreBehind(t *testing.T) {
	d, at := history(t, 1)
	f := start(t, d.options(t))
	replay(t, d, f)
	list, err := d.snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	_, r, err := d.snaps.Open(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(r); err != nil {
		t.Fatal(err)
	}
	if standOf(f) != at[12] || f.Generation() != 1 {
		t.Fatal("the node un-knew what it had applied")
	}
	if _, err := f.Snapshot(); !errors.Is(err, ErrReplaying) {
		t.Fatalf("Raft goes on from 8, the state is at 12: %v", err)
	}
	replay(t, d, f)
	if f.Replaying() || standOf(f) != at[12] {
		t.Fatal("the replay did not end")
	}
}

// TestRestoreDamaged leaves the state and lets the FSM go on: Raft asks again.
func TestRestoreDamaged(t *testing.T) {
	d, at := history(t, 1)
	list, err := d.snaps.List()
	if err != nil {
		t.Fatal(err)
	}
	o := newDisk(t).options(t)
	f := start(t, o)
	name := filepath.Join(d.where, list[0].ID, "state.bin")
	flip(t, name, -10)
	r, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(r); !errors.Is(err, snapshot.ErrDamaged) || f.Err() != nil {
		t.Fatalf("%v, %v", err, f.Err())
	}
	flip(t, name, -10)
	if r, err = os.Open(name); err != nil {
		t.Fatal(err)
	}
	if err := f.Restore(r); err != nil || standOf(f) != at[8] {
		t.Fatal(err)
	}
}
