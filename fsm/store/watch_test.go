package store

import "testing"

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestWatch(t *testing.T) {
	var w watch
	w.publish(5)
	if !isClosed(w.changed(4)) {
		t.Error("5 is more than 4")
	}
	next, six, nine := w.changed(5), w.changed(6), w.changed(9)
	if isClosed(next) || isClosed(six) || isClosed(nine) {
		t.Fatal("closed too early")
	}
	if w.changed(5) != next || w.changed(9) != nine {
		t.Error("waiters for one index do not share their channel")
	}
	w.publish(6)
	if !isClosed(next) || isClosed(six) || isClosed(nine) {
		t.Error("after 6: only who waits for more than 5")
	}
	if w.changed(6) != six {
		t.Error("the channel for more than 6 is another now")
	}
	w.publish(10)
	if !isClosed(six) || !isClosed(nine) || len(w.far) != 0 || len(w.order) != 0 {
		t.Error("after 10: nobody is left waiting")
	}
}

// TestWatchIsBounded: indexes that never come cost a bounded amount, and who asks
// past the bound is woken too early rather than never.
func TestWatchIsBounded(t *testing.T) {
	var w watch
	for i := range 2 * maxWatched {
		w.changed(1_000_000 + uint64(i))
	}
	if len(w.far) != maxWatched {
		t.Fatalf("%d indexes", len(w.far))
	}
	c := w.changed(50)
	w.publish(1)
	if !isClosed(c) {
		t.Error("not woken")
	}
}
