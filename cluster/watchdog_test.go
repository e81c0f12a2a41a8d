package cluster

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// handClock is moved by the test.
type handClock struct{ now time.Time }

func (c *handClock) step(w *Watchdog, d time.Duration) { c.now = c.now.Add(d); w.Look() }

func newHandWatchdog() (*Watchdog, *handClock, *[]string) {
	clock, reasons := &handClock{now: time.Unix(1000, 0)}, new([]string)
	w := NewWatchdog(StoreLimit, func() time.Time { return clock.now }, func(r string) { *reasons = append(*reasons, r) })
	return w, clock, reasons
}

func TestWatchdogExitsOnHungCall(t *testing.T) {
	w, clock, reasons := newHandWatchdog()
	quick := w.Begin("GetLog")
	for range 20 { // 5 s in steps of its own interval
		clock.step(w, 250*time.Millisecond)
	}
	if len(*reasons) != 0 {
		t.Fatalf("exit at the limit already: %v", *reasons)
	}
	w.End(quick)
	hung := w.Begin("StoreLogs")
	for range 20 {
		clock.step(w, 250*time.Millisecond)
	}
	if len(*reasons) != 0 {
		t.Fatalf("the time of an ended call was counted: %v", *reasons)
	}
	clock.step(w, time.Millisecond)
	if len(*reasons) != 1 || !strings.Contains((*reasons)[0], "StoreLogs") || !strings.Contains((*reasons)[0], "5.001s") {
		t.Fatalf("got %v", *reasons)
	}
	clock.step(w, time.Second)
	w.End(hung)
	if len(*reasons) != 1 {
		t.Fatalf("exited %d times", len(*reasons))
	}
}

// TestWatchdogForgivesStoppedProcess: SIGSTOP and SIGCONT, or a paused machine, and
// a wall clock set back.
func TestWatchdogForgivesStoppedProcess(t *testing.T) {
	w, clock, reasons := newHandWatchdog()
	w.Begin("StoreLogs")
	clock.step(w, time.Hour)
	clock.step(w, -time.Hour)
	clock.step(w, 30*time.Second)
	if len(*reasons) != 0 {
		t.Fatalf("a stopped process was taken for a hung disk: %v", *reasons)
	}
}

func TestWatchdogRuns(t *testing.T) {
	fired := make(chan string, 1)
	w := NewWatchdog(20*time.Millisecond, time.Now, func(r string) { fired <- r })
	w.Start()
	defer w.Stop()
	w.Begin("Set")
	select {
	case r := <-fired:
		if !strings.Contains(r, "Set") {
			t.Error(r)
		}
	case <-time.After(10 * time.Second):
		t.Error("a hung call was not noticed")
	}
}

// TestStoreReportsToWatchdog counts calls through a clock that the watchdog asks
// for nothing: every call to the disk begins and ends.
func TestStoreReportsToWatchdog(t *testing.T) {
	w, _, _ := newHandWatchdog()
	s, err := OpenLogStore(filepath.Join(t.TempDir(), "log.db"), LogStoreOptions{Watchdog: w, CacheEntries: 1, Fatal: func(error) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	calls := w.nextID
	expect := func(what string, err error) {
		t.Helper()
		if err != nil || w.nextID == calls || len(w.calls) != 0 {
			t.Errorf("%s: err %v, %d new calls, %d open", what, err, w.nextID-calls, len(w.calls))
		}
		calls = w.nextID
	}
	expect("StoreLogs", s.StoreLogs(entries(1, 4)))
	_, err = s.FirstIndex()
	expect("FirstIndex", err)
	_, err = s.LastIndex()
	expect("LastIndex", err)
	expect("DeleteRange", s.DeleteRange(1, 1))
	expect("SetUint64", s.SetUint64([]byte("k"), 1))
	_, err = s.GetUint64([]byte("k"))
	expect("GetUint64", err)
	_, err = s.Scan(1)
	expect("Scan", err)
}
