//go:build chancery_faults

package fault

import (
	"os"
	"slices"
	"strings"
	"time"
)

// Enabled reports whether this build can be broken.
const Enabled = true

var on = strings.Split(os.Getenv("CHANCERY_FAULTS"), ",")

// On reports whether the seeded fault is named in CHANCERY_FAULTS, a comma list.
func On(name string) bool { return slices.Contains(on, name) }

// Reached marks a point in the code.
func Reached(string) {}

// Record notes an event for the laboratory.
func Record(string, ...any) {}

// Clock distorts a reading of a clock that lease time is measured with.
func Clock(d time.Duration) time.Duration { return d }
