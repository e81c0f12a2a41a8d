package store

import (
	"bytes"
	"errors"
	"os"
	"testing"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/state"
)

// taken is a snapshot of a script's state.
func taken(t testing.TB, script [][]byte) []byte {
	t.Helper()
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script))
	return take(t, s)
}

func take(t testing.TB, s *Store) []byte {
	t.Helper()
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	var buf bytes.Buffer
	if h, err := n.Write(&buf); err != nil || h.Position() != n.Position() {
		t.Fatalf("%+v, %v", h, err)
	}
	n.Kept()
	return buf.Bytes()
}

func TestRestore(t *testing.T) {
	dir, script := t.TempDir(), fsmtest.Script(8)
	want, b := stands(t, script), taken(t, script[:6])
	s := open(t, dir, Options{})
	apply(t, s, batch(1, script[:2]))
	changed := s.Changed(5)
	h, replaced, err := s.Restore(bytes.NewReader(b))
	if err != nil || !replaced || h.Index != 6 || s.Generation() != 2 {
		t.Fatalf("%+v %v %v", h, replaced, err)
	}
	if standOf(t, s) != want[6] {
		t.Fatal("another state")
	}
	if !isClosed(changed) {
		t.Error("nobody was told")
	}
	if z, err := s.Sizes(); err != nil || z.AppliedBytes != 0 || z.FileBytes == 0 {
		t.Errorf("%+v, %v", z, err)
	}
	apply(t, s, batch(7, script[6:]))
	if standOf(t, s) != want[9] {
		t.Fatal("the log goes on elsewhere")
	}
	if got := take(t, s); !bytes.Equal(got, taken(t, script)) {
		t.Fatal("its snapshot differs from that of a node that applied every entry")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if standOf(t, open(t, dir, Options{})) != want[9] {
		t.Fatal("reopened elsewhere")
	}
}

// TestRestoreNotAhead: what a node knows it does not un-know.
func TestRestoreNotAhead(t *testing.T) {
	script := fsmtest.Script(5)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:4]))
	want := standOf(t, s)
	for _, n := range []int{2, 4} {
		if _, replaced, err := s.Restore(bytes.NewReader(taken(t, script[:n]))); err != nil || replaced {
			t.Fatalf("snapshot of %d: %v, %v", n, replaced, err)
		}
		if standOf(t, s) != want || s.Generation() != 1 {
			t.Fatalf("snapshot of %d changed the state", n)
		}
	}
}

func TestRestoreRefusals(t *testing.T) {
	script := fsmtest.Script(5)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:2]))
	want := standOf(t, s)
	foreign := append([][]byte{fsmtest.GenesisOf("ffffffffffffffffffffffffffffffff")}, script[1:]...)
	if _, _, err := s.Restore(bytes.NewReader(taken(t, foreign))); !errors.Is(err, ErrForeign) {
		t.Errorf("foreign: %v", err)
	}
	b := taken(t, script)
	for i := 0; i < len(b); i += 331 {
		if _, _, err := s.Restore(bytes.NewReader(b[:i])); !errors.Is(err, snapshot.ErrDamaged) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		flipped := bytes.Clone(b)
		flipped[i] ^= 4
		if _, _, err := s.Restore(bytes.NewReader(flipped)); err == nil {
			t.Fatalf("byte %d of %d flipped: accepted", i, len(b))
		}
	}
	if standOf(t, s) != want || s.Generation() != 1 {
		t.Fatal("a refused snapshot changed the state")
	}
	if _, err := os.Stat(s.path(newName)); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("something is left: %v", err)
	}
	if _, replaced, err := s.Restore(bytes.NewReader(b)); err != nil || !replaced {
		t.Fatalf("the whole one: %v", err)
	}
}

// TestRestoreDivergence compares two states at one position.
func TestRestoreDivergence(t *testing.T) {
	script := fsmtest.Script(2)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script))
	other := taken(t, [][]byte{script[0], script[2], script[1]})
	_, _, err := s.Restore(bytes.NewReader(other))
	var d *state.Divergence
	if !errors.As(err, &d) || d.Index != 3 {
		t.Fatalf("%v", err)
	}
	if _, again := s.ApplyBatch(batch(4, [][]byte{fsmtest.CreateKey(3)})); again != err {
		t.Fatalf("applied on: %v", again)
	}
}

func TestRestoreOldEpoch(t *testing.T) {
	script := fsmtest.Script(2)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:1]))
	root := *s.current.Load().root
	root.Meta.Epoch = 2
	s.publish(&root, s.current.Load().gen)
	if _, _, err := s.Restore(bytes.NewReader(taken(t, script))); !errors.Is(err, ErrOldEpoch) {
		t.Fatal(err)
	}
}

// TestReadersOutliveTheFile: a swap waits for no reader and takes no file from
// under one.
func TestReadersOutliveTheFile(t *testing.T) {
	script := fsmtest.Script(6)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:3]))
	old, view := s.current.Load().gen, s.View()
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	leaves := 0
	err = view.Leaves(0, func(uint64, *state.Leaf, []byte) bool {
		if leaves == 0 { // in the middle of a cold read
			if _, replaced, err := s.Restore(bytes.NewReader(taken(t, script))); err != nil || !replaced {
				t.Fatalf("%v, %v", replaced, err)
			}
			if isClosed(old.gone) {
				t.Fatal("the file was closed under a reader")
			}
		}
		leaves++
		return true
	})
	if err != nil || uint64(leaves) != view.Position().LogSize {
		t.Fatalf("%d leaves of %d, %v", leaves, view.Position().LogSize, err)
	}
	var buf bytes.Buffer
	if _, err := n.Write(&buf); err != nil || !bytes.Equal(buf.Bytes(), taken(t, script[:3])) {
		t.Fatalf("the snapshot pinned before is another now: %v", err)
	}
	n.Release()
	<-old.gone
	if old.err != nil {
		t.Fatal(old.err)
	}
	// The old View reads on, from the new file, and sees no more than it did.
	again := 0
	if err := view.Leaves(0, func(uint64, *state.Leaf, []byte) bool { again++; return true }); err != nil || again != leaves {
		t.Fatalf("%d leaves, %v", again, err)
	}
}

// TestSnapshotBesideApply: the pinned state stays what it was.
func TestSnapshotBesideApply(t *testing.T) {
	script := fsmtest.Script(30)
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, script[:10]))
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	r, w := &bytes.Buffer{}, &stepWriter{}
	w.to, w.step = r, func() {
		if at := s.Position().Index; at < 31 {
			apply(t, s, batch(at+1, script[at:at+1]))
		}
	}
	if _, err := n.Write(w); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(r.Bytes(), taken(t, script[:10])) {
		t.Fatal("the snapshot shows what came later")
	}
	if s.Position().Index == 10 {
		t.Fatal("nothing was applied meanwhile")
	}
}

// stepWriter does something else at each write.
type stepWriter struct {
	to   *bytes.Buffer
	step func()
}

func (w *stepWriter) Write(p []byte) (int, error) {
	w.step()
	return w.to.Write(p)
}

// TestAlteredFileGivesNoSnapshot: what was changed on disk is not passed on.
func TestAlteredFileGivesNoSnapshot(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	apply(t, s, batch(1, fsmtest.Script(3)))
	tamper(t, s, func(tx *bolt.Tx) error { return tx.Bucket([]byte(state.TableTokens)).Put([]byte("x"), []byte{1}) })
	n, err := s.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Release()
	_, err = n.Write(&bytes.Buffer{})
	var a *Altered
	if !errors.As(err, &a) || a.What != "state digest" || a.Index != 4 {
		t.Fatal(err)
	}
}
