//go:build !chancery_faults

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

// Clock distorts a reading of a clock that lease time is measured with; this build
// leaves it as it is.
func Clock(d time.Duration) time.Duration { return d }
