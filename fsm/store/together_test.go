package store

import (
	"bytes"
	"io"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestTogether lets everything run beside everything: entries, a restore in the
// middle, hot and cold reads, waiters, snapshots, scans, syncs. Each reader checks
// that what one View shows belongs together. Under -race it is worth the most.
func TestTogether(t *testing.T) {
	const half, last = 150, 300
	script := fsmtest.Script(last - 1)
	snap := taken(t, script[:half+50])
	s := open(t, t.TempDir(), Options{SyncEvery: 1000}) // nanoseconds: all the time
	stop := make(chan struct{})
	var readers sync.WaitGroup
	beside := func(fn func()) {
		readers.Go(func() {
			for !isClosed(stop) {
				fn()
			}
		})
	}

	beside(func() { // hot: key n exists from entry n+1 on, and not before
		v := s.View()
		if n := int(v.Position().Index); n > 1 && v.Key(fsmtest.KeyName(n-1)) == nil || v.Key(fsmtest.KeyName(max(n, 1))) != nil {
			t.Errorf("the View at %d shows other keys", n)
		}
	})
	beside(func() { // cold: the log of a View has no hole and ends where it says
		v := s.View()
		n, size := uint64(0), v.Position().LogSize
		err := v.Leaves(size-min(size, 20), func(i uint64, leaf *state.Leaf, _ []byte) bool {
			n = i + 1
			if leaf.Index > v.Position().Index {
				t.Errorf("the View at %d shows a leaf of entry %d", v.Position().Index, leaf.Index)
			}
			return true
		})
		if err != nil || n != size {
			t.Errorf("log of size %d read up to %d: %v", size, n, err)
		}
	})
	beside(func() { // an operation is found as soon as its entry is published
		v := s.View()
		n := int(v.Position().Index) - 1
		if n < 0 {
			return
		}
		c, err := command.Decode(script[n])
		if err != nil {
			t.Error(err)
			return
		}
		if op, err := v.Operation(c.Header.Actor, c.Header.RequestID); err != nil || op == nil {
			t.Errorf("operation of entry %d: %v, %v", n+1, op, err)
		}
	})
	beside(func() {
		at := s.Position().Index
		if at < last {
			select {
			case <-s.Changed(at):
				if s.Position().Index <= at {
					t.Errorf("woken at %d for more than %d", s.Position().Index, at)
				}
			case <-stop:
			}
		}
	})
	beside(func() {
		n, err := s.Snapshot()
		if err != nil {
			t.Error(err)
			return
		}
		defer n.Release()
		if h, err := n.Write(io.Discard); err != nil || h.Position() != n.Position() {
			t.Error(h, err)
		}
	})
	beside(func() {
		if _, err := s.Scan(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := s.Sizes(); err != nil {
			t.Error(err)
		}
	})

	for i := 0; i < last; {
		if i == half {
			if _, replaced, err := s.Restore(bytes.NewReader(snap)); err != nil || !replaced {
				t.Error(replaced, err)
				break
			}
		}
		n := min(1+i%7, last-i)
		if i < half {
			n = min(n, half-i)
		}
		if _, err := s.ApplyBatch(batch(uint64(i+1), script[i:i+n])); err != nil {
			t.Error(err)
			break
		}
		i += n
	}
	close(stop)
	readers.Wait()
	if t.Failed() {
		return
	}
	other := open(t, t.TempDir(), Options{})
	apply(t, other, batch(1, script))
	if standOf(t, s) != standOf(t, other) {
		t.Fatal("another state than in peace")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
