package daemon

import (
	"math"
	"testing"
)

// TestConnectionsLeaveFilesOpen: the API and the public listener together never take
// the last quarter of the file descriptors, on which Raft and the disk live.
func TestConnectionsLeaveFilesOpen(t *testing.T) {
	for _, c := range []struct {
		wanted int
		files  uint64
		most   int
	}{
		{10_000, 1 << 20, 10_000},
		{10_000, math.MaxUint64, 10_000}, // RLIM_INFINITY
		{10_000, 20_000, 7_500},
		{10_000, 1024, 384},
		{10_000, 256, 96},
		{50, 1024, 50},
		{50, 0, 1},
	} {
		if got := connectionsOf(c.wanted, c.files); got != c.most {
			t.Errorf("%d wanted of %d files: %d, want %d", c.wanted, c.files, got, c.most)
		}
	}
}
