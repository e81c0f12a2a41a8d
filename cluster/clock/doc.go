// Package clock reads the two clocks of the kernel by which rights and their ends
// are timed. Every signature looks at both under the lock of the release gate, so it
// matters what a look costs: with cgo it goes through libc, which reads them from the
// page that the kernel shares (vDSO), 50 ns each; without cgo each is a system call
// of ten times that. Go's runtime reads only CLOCK_MONOTONIC that way, which stands
// still in suspend and is of no use here.
//
// Threat model: a clock that cannot be read is a broken machine, and whoever counts
// on it must not go on: the functions panic. Nothing is remembered between two looks,
// so no look is older than the call.
package clock
