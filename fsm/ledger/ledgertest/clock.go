package ledgertest

import (
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Clock stands still until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock begins on 2 January 2026 at noon, UTC.
func NewClock() *Clock { return &Clock{now: time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)} }

// Now is the time the clock shows.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// At is Now as the log writes it.
func (c *Clock) At() lifecycle.Instant { return lifecycle.Instant(c.Now().UnixMilli()) }

// Advance moves the clock; a negative d moves it back.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
