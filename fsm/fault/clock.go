//go:build chancery_faults && linux

package fault

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// clockLine maps readings of one clock: out + (reading - in) * rate.
type clockLine struct {
	in, out time.Duration
	rate    float64
}

func (l clockLine) at(d time.Duration) time.Duration {
	return l.out + time.Duration(float64(d-l.in)*l.rate)
}

// bent is nil while the clocks are as they are.
var bent atomic.Pointer[struct{ raw, boot clockLine }]

// bend continues each clock from where it stands now.
func bend(d Distortion) {
	if d.Rate == 0 {
		d.Rate = 1
	}
	raw, boot := reading(unix.CLOCK_MONOTONIC_RAW), reading(unix.CLOCK_BOOTTIME)
	next := &struct{ raw, boot clockLine }{clockLine{raw, raw, d.Rate}, clockLine{boot, boot, d.Rate}}
	if was := bent.Load(); was != nil {
		next.raw.out, next.boot.out = was.raw.at(raw), was.boot.at(boot)
	}
	jump := time.Duration(d.JumpMS) * time.Millisecond
	next.raw.out += jump
	next.boot.out += jump + time.Duration(d.BootMS)*time.Millisecond
	bent.Store(next)
	wall.Store(d.WallMS)
}

var wall atomic.Int64 // milliseconds

// Wall falsifies a reading of the wall clock.
func Wall(t time.Time) time.Time { return t.Add(time.Duration(wall.Load()) * time.Millisecond) }

func reading(clock int32) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		panic(err) // there is no Linux without them
	}
	return time.Duration(t.Nano())
}

// Raw and Boot distort readings of CLOCK_MONOTONIC_RAW and CLOCK_BOOTTIME, which lease
// time is measured with.
func Raw(d time.Duration) time.Duration {
	if b := bent.Load(); b != nil {
		return b.raw.at(d)
	}
	return d
}

// Boot is Raw for the other clock.
func Boot(d time.Duration) time.Duration {
	if b := bent.Load(); b != nil {
		return b.boot.at(d)
	}
	return d
}
