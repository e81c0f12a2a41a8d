package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func open(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	if o.Fatal == nil {
		o.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // tests of Close look at its error themselves
	return s
}

// batch makes entries out of a script, the first at index from.
func batch(from uint64, script [][]byte) []Entry {
	out := make([]Entry, len(script))
	for i, data := range script {
		out[i] = Entry{Index: from + uint64(i), Data: data}
	}
	return out
}

func apply(t testing.TB, s *Store, entries []Entry) {
	t.Helper()
	outs, err := s.ApplyBatch(entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range outs {
		if !o.OK() {
			t.Fatalf("entry %d: %v", entries[i].Index, o.Err())
		}
	}
}

// stand is everything that must be equal between two stores at one position.
type stand struct {
	at     state.Position
	digest [32]byte
}

func standOf(t testing.TB, s *Store) stand {
	t.Helper()
	if _, err := s.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	at, digest := s.Digest()
	return stand{at, digest}
}

// stands applies a script in one batch per entry; stands(...)[i] is after i entries.
func stands(t testing.TB, script [][]byte) []stand {
	t.Helper()
	s := open(t, t.TempDir(), Options{})
	out := []stand{standOf(t, s)}
	for i, e := range script {
		apply(t, s, []Entry{{Index: uint64(i + 1), Data: e}})
		out = append(out, standOf(t, s))
	}
	return out
}

func TestApplyReopen(t *testing.T) {
	dir, script := t.TempDir(), fsmtest.Script(20)
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script))
	want := standOf(t, s)
	if want.at.Index != 21 || want.at.LogSize == 0 || want.at.Epoch != 1 {
		t.Fatalf("position %+v", want.at)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, Options{})
	if got := standOf(t, s); got != want {
		t.Fatalf("reopened at %+v, want %+v", got, want)
	}
	if s.View().Key(fsmtest.KeyName(7)) == nil {
		t.Fatal("key 7 is gone")
	}
}

// TestReplay hands entries out again, as Raft does after a restart.
func TestReplay(t *testing.T) {
	script := fsmtest.Script(6)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:4]))
	before := s.View()
	outs, err := s.ApplyBatch(batch(1, script[:4]))
	if err != nil {
		t.Fatal(err)
	}
	if s.View() != before || outs[3].Index != 0 {
		t.Fatal("applied twice")
	}
	outs, err = s.ApplyBatch(batch(3, script[2:]))
	if err != nil {
		t.Fatal(err)
	}
	if outs[1].Index != 0 || outs[2].Index != 5 || s.Position().Index != 7 {
		t.Fatalf("outcomes %+v at %+v", outs, s.Position())
	}
	if want := stands(t, script)[7]; standOf(t, s) != want {
		t.Fatal("another state than without the replay")
	}
	total := 0
	for _, e := range append(append(append([][]byte{}, script[:4]...), script[:4]...), script[2:]...) {
		total += len(e)
	}
	if z, err := s.Sizes(); err != nil || z.AppliedBytes != int64(total) {
		t.Fatalf("%+v, want %d bytes applied", z, total)
	}
}

func TestSkipMovesTheIndexOnly(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(2)))
	at, digest := s.Digest()
	outs, err := s.ApplyBatch([]Entry{{Index: 9, Data: []byte("a configuration"), Skip: true}})
	if err != nil || outs[0].Index != 0 {
		t.Fatalf("%+v, %v", outs, err)
	}
	at.Index = 9
	if at2, digest2 := s.Digest(); at2 != at || digest2 != digest {
		t.Fatalf("%+v", at2)
	}
}

// TestCorruptionLeavesNoTrace puts an unreadable entry behind a good one.
func TestCorruptionLeavesNoTrace(t *testing.T) {
	dir, script := t.TempDir(), fsmtest.Script(3)
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:2]))
	want := standOf(t, s)
	bad := bytes.Clone(script[3])
	bad[50] ^= 1
	_, err := s.ApplyBatch(batch(3, [][]byte{script[2], bad}))
	var c *state.Corruption
	if !errors.As(err, &c) || c.Index != 4 || !errors.Is(err, command.ErrCorrupt) {
		t.Fatalf("%v", err)
	}
	if got := standOf(t, s); got != want {
		t.Fatal("the batch left a trace")
	}
	if _, again := s.ApplyBatch(batch(3, script[2:3])); again != err {
		t.Fatalf("applied after corruption: %v", again)
	}
	if _, _, again := s.Restore(bytes.NewReader(nil)); again != err {
		t.Fatalf("restored after corruption: %v", again)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := standOf(t, open(t, dir, Options{})); got != want {
		t.Fatal("reopened elsewhere")
	}
}

func TestDivergenceLeavesNoTrace(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, [][]byte{fsmtest.Genesis(), fsmtest.Encode(1, &command.MarkCheckpoint{})}))
	want, mark := standOf(t, s), s.View().Mark()
	record := command.RecordCheckpoint{MarkIndex: mark.Index, LogSize: mark.LogSize, Root: mark.Root,
		Digest: make([]byte, 32), Voters: []lifecycle.NodeID{fsmtest.NodeID}}
	_, err := s.ApplyBatch(batch(3, [][]byte{fsmtest.CreateKey(1), fsmtest.Encode(2, &record)}))
	var d *state.Divergence
	if !errors.As(err, &d) || d.Index != 2 || d.What != "state digest" {
		t.Fatalf("%v", err)
	}
	if got := standOf(t, s); got != want {
		t.Fatal("the batch left a trace")
	}
}

// TestBugRollsBack: a panic that is no verdict of the state machine goes on, and
// still no transaction stays open behind it.
func TestBugRollsBack(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(1)))
	machine := s.machine
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the bug was hidden")
			}
		}()
		s.opts.crash = func(step string) error {
			if step == "apply: begin" {
				s.machine = nil
			}
			return nil
		}
		_, _ = s.ApplyBatch(batch(3, [][]byte{fsmtest.CreateKey(2)})) // panics
	}()
	s.opts.crash, s.machine = nil, machine
	apply(t, s, batch(3, [][]byte{fsmtest.CreateKey(2)}))
}

// TestWriteErrors reach the caller through a state machine that knows no errors.
func TestWriteErrors(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	tx, err := s.current.Load().gen.db.Begin(false) // read only: every Put fails
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	_, err = s.run(tx, batch(1, fsmtest.Script(1)), make([]state.Outcome, 2))
	if !errors.Is(err, ErrStorage) {
		t.Fatalf("%v", err)
	}
}

// TestFullDisk: the batch is lost with its transaction, and nothing is tried again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, fsmtest.Script(1)))
	want := standOf(t, s)
	db := s.current.Load().gen.db
	db.MaxSize = 1 // the file may not grow by a page
	var err error
	for i := 2; err == nil && i < 1000; i++ {
		want = standOf(t, s)
		_, err = s.ApplyBatch(batch(uint64(i+1), [][]byte{fsmtest.CreateKey(i)}))
	}
	if !errors.Is(err, ErrStorage) {
		t.Fatalf("%v", err)
	}
	db.MaxSize = 0
	if _, again := s.ApplyBatch(batch(5000, [][]byte{fsmtest.CreateKey(5000)})); again != err {
		t.Fatalf("applied on: %v", again)
	}
	if got := standOf(t, s); got != want {
		t.Fatal("the batch left a trace")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := standOf(t, open(t, dir, Options{})); got != want {
		t.Fatal("reopened elsewhere")
	}
}

func TestSyncLoop(t *testing.T) {
	var mu sync.Mutex
	var fail error
	synced, fatal := make(chan struct{}, 100), make(chan error, 1)
	s := open(t, t.TempDir(), Options{SyncEvery: time.Millisecond, Fatal: func(err error) { fatal <- err },
		crash: func(step string) error {
			if step != "sync" {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			synced <- struct{}{}
			return fail
		}})
	apply(t, s, batch(1, fsmtest.Script(1)))
	<-synced
	mu.Lock()
	fail = errors.New("input/output error")
	mu.Unlock()
	apply(t, s, batch(3, [][]byte{fsmtest.CreateKey(2)}))
	if err := <-fatal; !errors.Is(err, ErrStorage) || !errors.Is(err, fail) {
		t.Fatal(err)
	}
}

func TestOpenRefusals(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir, Options{}); err == nil {
		t.Fatal("opened without a Fatal hook")
	}
	never := func(error) {}
	if _, err := Open(filepath.Join(dir, "absent"), Options{Fatal: never}); err == nil || errors.Is(err, ErrDamaged) {
		t.Fatalf("absent directory: %v", err)
	}
	open(t, dir, Options{})
	if _, err := Open(dir, Options{Fatal: never}); !errors.Is(err, ErrInUse) {
		t.Fatalf("opened twice: %v", err)
	}
}

// TestNewerFormat must not be taken for damage: the file would be thrown away.
func TestNewerFormat(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, fsmtest.Script(1)))
	c := *s.View().Cluster()
	c.Format = command.MaxFormat + 1
	tamper(t, s, func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(state.TableCluster)).Put([]byte("cluster"), command.Marshal(&c))
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, Options{Fatal: func(error) {}}); !errors.Is(err, ErrNewer) {
		t.Fatal(err)
	}
}

func tamper(t testing.TB, s *Store, fn func(tx *bolt.Tx) error) {
	t.Helper()
	if err := s.current.Load().gen.db.Update(fn); err != nil {
		t.Fatal(err)
	}
}

func TestUncleanThrowsTheFileAway(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	apply(t, s, batch(1, fsmtest.Script(1)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s = open(t, dir, Options{Unclean: true}); s.Position().Index != 0 {
		t.Fatal("kept")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, newName), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, Options{})
	if _, err := os.Stat(filepath.Join(dir, newName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("a restore that did not finish is left: %v", err)
	}
}

func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(3)))
	v := s.View()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if v.Key(fsmtest.KeyName(1)) == nil {
		t.Error("hot rows are gone")
	}
	if _, err := v.Operation("alice", "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("cold read: %v", err)
	}
	if _, err := s.ApplyBatch(batch(5, [][]byte{fsmtest.CreateKey(4)})); !errors.Is(err, ErrClosed) {
		t.Errorf("apply: %v", err)
	}
	if _, err := s.Snapshot(); !errors.Is(err, ErrClosed) {
		t.Errorf("snapshot: %v", err)
	}
	if _, err := s.Scan(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("scan: %v", err)
	}
	if _, _, err := s.Restore(bytes.NewReader(nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("restore: %v", err)
	}
	if _, err := s.Sizes(); !errors.Is(err, ErrClosed) || s.SnapshotDue() {
		t.Errorf("sizes: %v", err)
	}
}

func TestSnapshotDue(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(1)))
	s.volume.applied.Store(minSnapshotBytes - 1)
	if s.SnapshotDue() {
		t.Error("due too early")
	}
	s.volume.applied.Store(minSnapshotBytes)
	if !s.SnapshotDue() {
		t.Error("not due")
	}
}
