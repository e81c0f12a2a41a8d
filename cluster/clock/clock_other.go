//go:build !linux

package clock

import "time"

var processStart = time.Now()

// Both is Go's monotonic clock, twice, on systems without the clocks of Linux. It may
// stop while the machine sleeps: servers that sleep belong on Linux.
func Both() (raw, boot time.Duration) {
	d := Boot()
	return d, d
}

// Boot is Go's monotonic clock, see Both.
func Boot() time.Duration { return time.Since(processStart) }
