package lease

import (
	"flag"
	"testing"
	"time"
)

var (
	simSeed     = flag.Uint64("lease.seed", 0, "play only the world with this seed")
	simBarriers = flag.Int("lease.barriers", barriersPlayed, "barriers to play")
)

const perWorld = 100 // barriers

// TestNoSignatureAfterTheFence plays many worlds. None may show a release after
// fenced, or an acceptance after settled.
func TestNoSignatureAfterTheFence(t *testing.T) {
	first, worlds := uint64(time.Now().UnixNano()), max(1, *simBarriers/perWorld)
	if *simSeed != 0 {
		first, worlds = *simSeed, 1
	}
	t.Logf("seeds from %d on", first)
	var all world
	for seed := first; seed < first+uint64(worlds); seed++ {
		w := newWorld(seed)
		if wrong := w.play(perWorld); wrong != "" {
			t.Fatalf("%s\nagain with: go test ./cluster/lease -run %s -lease.seed %d", wrong, t.Name(), seed)
		}
		all.count.barriers += w.count.barriers
		all.count.acked += w.count.acked
		all.count.expired += w.count.expired
		all.count.passed += w.count.passed
		all.count.refused += w.count.refused
		all.count.accepted += w.count.accepted
		all.count.grants += w.count.grants
		all.count.kept += w.count.kept
	}
	t.Logf("%+v", all.count)
	if c := all.count; c.acked == 0 || c.expired == 0 || c.passed == 0 || c.refused == 0 || c.accepted == 0 || *simSeed == 0 && c.kept == 0 {
		t.Errorf("a part of the protocol was never used: %+v", c)
	}
}
