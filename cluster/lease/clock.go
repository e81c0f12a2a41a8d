package lease

import (
	"time"

	"github.com/chancery-project/chancery/cluster/clock"
	"github.com/chancery-project/chancery/fsm/fault"
)

// Reading is one look at the two clocks that lease time is measured with. Their
// origins mean nothing outside the machine; only differences count. Wall time is
// never used: whoever sets the clock would stretch a lease.
type Reading struct {
	Raw  time.Duration `json:"raw_ns"`  // CLOCK_MONOTONIC_RAW: nobody steers it, and it stops in suspend
	Boot time.Duration `json:"boot_ns"` // CLOCK_BOOTTIME: counts suspended time, and is steered by NTP
}

// Clock looks at both clocks. It never fails and never goes back.
type Clock func() Reading

// System is the clock of this machine.
func System() Reading {
	raw, boot := clock.Both()
	return Reading{Raw: fault.Raw(raw), Boot: fault.Boot(boot)}
}

// maxReading bounds what a peer may send, so that no difference overflows: 146 years.
const maxReading = time.Duration(1 << 62)

// Longest is the time since an earlier reading as a holder of a right counts it:
// no less than the truth, if either clock is right.
func (r Reading) Longest(since Reading) time.Duration {
	return max(r.Raw-since.Raw, r.Boot-since.Boot)
}

// Shortest is the time since an earlier reading as one counts it who waits for
// another's right to end: no more than the truth, if either clock is right.
func (r Reading) Shortest(since Reading) time.Duration {
	return min(r.Raw-since.Raw, r.Boot-since.Boot)
}

// After is the reading at which a waiter has waited for d.
func (r Reading) After(d time.Duration) Reading { return Reading{r.Raw + d, r.Boot + d} }

// Left is how long a waiter must still wait at now for r to come; <= 0 when it has.
func (r Reading) Left(now Reading) time.Duration { return r.Longest(now) }

// later is the reading at which a waiter has waited for both.
func (r Reading) later(o Reading) Reading {
	return Reading{max(r.Raw, o.Raw), max(r.Boot, o.Boot)}
}

// maxStray is how far the clocks may disagree on one lease before nobody knows how
// old it is. NTP steers by 0.05 %, which is 30 ms in the longest lease.
const maxStray = 100 * time.Millisecond

// strayed reports whether the clocks disagree on the time since an earlier reading,
// or one of them went back: the machine slept, or a clock is broken.
func (r Reading) strayed(since Reading) bool {
	return r.Longest(since)-r.Shortest(since) > maxStray || r.Shortest(since) < 0
}
