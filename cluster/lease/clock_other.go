//go:build !linux

package lease

import "time"

var processStart = time.Now()

// System is Go's monotonic clock, twice, on systems without the clocks of Linux. It
// may stop while the machine sleeps: servers that sleep belong on Linux.
func System() Reading {
	d := time.Since(processStart)
	return Reading{Raw: d, Boot: d}
}
