package cluster

import (
	"fmt"
	"sync"
	"time"
)

// StoreLimit is how long one call to the Raft log or stable store may take. A
// leader whose disk hangs keeps its leadership for ever (hashicorp/raft #503),
// because heartbeats need no disk: only the end of the process frees the cluster.
const StoreLimit = 5 * time.Second

// Watchdog exits the process when one store call hangs. A call into a stuck kernel
// cannot be interrupted, so there is nothing gentler to do.
//
// Time counts only as far as the watchdog itself was seen running: each look adds
// at most twice its interval. A process that was stopped and continued, or a
// virtual machine that was paused, is then not mistaken for a slow disk.
type Watchdog struct {
	limit    time.Duration
	interval time.Duration
	now      func() time.Time
	exit     func(reason string)

	mu      sync.Mutex // owns what follows
	watched time.Duration
	lookAt  time.Time
	calls   map[uint64]storeCall
	nextID  uint64
	fired   bool

	stop chan struct{}
	done chan struct{}
}

type storeCall struct {
	name  string
	since time.Duration // on the scale of watched
}

// NewWatchdog makes a watchdog that calls exit, once, when a call has been
// outstanding for longer than limit. now is time.Now outside tests.
func NewWatchdog(limit time.Duration, now func() time.Time, exit func(reason string)) *Watchdog {
	return &Watchdog{
		limit:    limit,
		interval: limit / 20,
		now:      now,
		exit:     exit,
		lookAt:   now(),
		calls:    map[uint64]storeCall{},
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
}

// Begin notes the start of a call; pass its result to End.
func (w *Watchdog) Begin(name string) uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID++
	w.calls[w.nextID] = storeCall{name, w.watched}
	return w.nextID
}

// End notes the end of a call.
func (w *Watchdog) End(id uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.calls, id)
}

// Look lets time pass and exits if a call has taken too long.
func (w *Watchdog) Look() {
	if reason := w.look(); reason != "" {
		w.exit(reason)
	}
}

func (w *Watchdog) look() (reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.watched += max(0, min(now.Sub(w.lookAt), 2*w.interval))
	w.lookAt = now
	if w.fired {
		return ""
	}
	for _, c := range w.calls {
		if taken := w.watched - c.since; taken > w.limit {
			w.fired = true
			return fmt.Sprintf("the raft store has been in %s for more than %s: the disk hangs. The process exits so that the cluster can elect another leader",
				c.name, taken.Truncate(time.Millisecond))
		}
	}
	return ""
}

// Start looks regularly until Stop.
func (w *Watchdog) Start() {
	go func() {
		defer close(w.done)
		tick := time.NewTicker(w.interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.Look()
			case <-w.stop:
				return
			}
		}
	}()
}

// Stop ends what Start began, and waits for it. Call it once.
func (w *Watchdog) Stop() {
	close(w.stop)
	<-w.done
}
