package fresh

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// BootClock is CLOCK_BOOTTIME, which counts suspended time. Go's own monotonic
// clock does not, and a laptop or a paused machine would wake up fresh.
type BootClock struct{}

// Now panics if the kernel has no such clock: Linux has had it since 2.6.39, and
// an answer about freshness without a clock would be a lie.
func (BootClock) Now() Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(fmt.Sprintf("read CLOCK_BOOTTIME: %v", err))
	}
	return Instant(ts.Nano())
}
