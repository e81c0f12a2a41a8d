//go:build !chancery_faults || !linux

package fault

import "time"

// Enabled reports whether this build can be broken.
const Enabled = false

// On reports whether a seeded fault is switched on: never, in this build.
func On(string) bool { return false }

// Reached marks a point in the code; nothing happens there in this build.
func Reached(string) {}

// Record notes an event for the laboratory; nobody listens in this build.
func Record(string, ...any) {}

// Now is the clock of recorded events; this build records none.
func Now() int64 { return 0 }

// Wall falsifies a reading of the wall clock; not in this build.
func Wall(t time.Time) time.Time { return t }

// Raw and Boot distort readings of CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME, which lease
// time is measured with; this build leaves them as they are.
func Raw(d time.Duration) time.Duration { return d }

// Boot is Raw for the other clock.
func Boot(d time.Duration) time.Duration { return d }
