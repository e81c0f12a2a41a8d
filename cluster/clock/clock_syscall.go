//go:build linux && !cgo

package clock

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Both reads CLOCK_MONOTONIC_RAW, which nobody steers and which stops in suspend, and
// CLOCK_BOOTTIME, which counts suspended time and is steered by NTP.
func Both() (raw, boot time.Duration) {
	return gettime(unix.CLOCK_MONOTONIC_RAW), gettime(unix.CLOCK_BOOTTIME)
}

// Boot reads CLOCK_BOOTTIME.
func Boot() time.Duration { return gettime(unix.CLOCK_BOOTTIME) }

// gettime panics if the kernel has not got the clock: Linux has had both since 2.6.39.
func gettime(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err))
	}
	return time.Duration(ts.Nano())
}
