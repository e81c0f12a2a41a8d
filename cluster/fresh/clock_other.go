//go:build !linux

package fresh

import "time"

var processStart = time.Now()

// BootClock is Go's monotonic clock on systems without CLOCK_BOOTTIME. It may stop
// while the machine sleeps; servers that sleep belong on Linux.
type BootClock struct{}

// Now is the time since the process started.
func (BootClock) Now() Instant { return Instant(time.Since(processStart)) }
