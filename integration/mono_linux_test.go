package integration

import "golang.org/x/sys/unix"

// mono is CLOCK_MONOTONIC in nanoseconds: the clock of the nodes' records, so that
// what callers saw and what nodes did can be put in one order.
func mono() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}
