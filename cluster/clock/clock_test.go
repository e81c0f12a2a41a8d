//go:build linux

package clock

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestTheKernelsClocks reads the clocks between two system calls that do.
func TestTheKernelsClocks(t *testing.T) {
	read := func(id int32) time.Duration {
		var ts unix.Timespec
		if err := unix.ClockGettime(id, &ts); err != nil {
			t.Fatal(err)
		}
		return time.Duration(ts.Nano())
	}
	for range 1000 {
		rawBefore, bootBefore := read(unix.CLOCK_MONOTONIC_RAW), read(unix.CLOCK_BOOTTIME)
		raw, boot := Both()
		alone := Boot()
		rawAfter, bootAfter := read(unix.CLOCK_MONOTONIC_RAW), read(unix.CLOCK_BOOTTIME)
		if raw < rawBefore || raw > rawAfter {
			t.Fatalf("CLOCK_MONOTONIC_RAW reads %v between %v and %v", raw, rawBefore, rawAfter)
		}
		if boot < bootBefore || boot > alone || alone > bootAfter {
			t.Fatalf("CLOCK_BOOTTIME reads %v and %v between %v and %v", boot, alone, bootBefore, bootAfter)
		}
	}
}

func BenchmarkBoth(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Both()
	}
}
