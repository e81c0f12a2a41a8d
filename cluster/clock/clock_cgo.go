//go:build linux && cgo

package clock

/*
#cgo noescape look
#cgo nocallback look
#cgo noescape look_boot
#cgo nocallback look_boot

#include <time.h>

struct reading { long long raw, boot; };

static long long nanoseconds(clockid_t id) {
	struct timespec t;
	if (clock_gettime(id, &t) != 0) {
		return -1;
	}
	return (long long)t.tv_sec * 1000000000 + t.tv_nsec;
}

static long long look_boot(void) { return nanoseconds(CLOCK_BOOTTIME); }

static struct reading look(void) {
	struct reading r = { nanoseconds(CLOCK_MONOTONIC_RAW), nanoseconds(CLOCK_BOOTTIME) };
	return r;
}
*/
import "C"

import "time"

// Both reads CLOCK_MONOTONIC_RAW, which nobody steers and which stops in suspend, and
// CLOCK_BOOTTIME, which counts suspended time and is steered by NTP.
func Both() (raw, boot time.Duration) {
	r := C.look()
	return sound("CLOCK_MONOTONIC_RAW", int64(r.raw)), sound("CLOCK_BOOTTIME", int64(r.boot))
}

// Boot reads CLOCK_BOOTTIME.
func Boot() time.Duration { return sound("CLOCK_BOOTTIME", int64(C.look_boot())) }

// sound panics if the kernel has not got the clock: Linux has had both since 2.6.39.
func sound(name string, ns int64) time.Duration {
	if ns < 0 {
		panic("read " + name + ": this kernel has no such clock")
	}
	return time.Duration(ns)
}
