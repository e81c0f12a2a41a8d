package fresh

import "github.com/chancery-project/chancery/cluster/clock"

// Clock reads the time that staleness is measured with. It never goes back, and it
// goes on while the machine sleeps where the system has such a clock. Wall time is
// never used: whoever sets the clock would make a stale node fresh.
type Clock interface {
	Now() Instant
}

// BootClock counts suspended time, on Linux. Go's own monotonic clock does not, and a
// laptop or a paused machine would wake up fresh.
type BootClock struct{}

// Now panics if the kernel has no such clock: an answer about freshness without a
// clock would be a lie.
func (BootClock) Now() Instant { return Instant(clock.Boot()) }
