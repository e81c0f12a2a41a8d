//go:build chancery_faults

package lease

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/fault"
)

// TestSimulatorFindsSeededFaults: what passes the design must not pass these.
func TestSimulatorFindsSeededFaults(t *testing.T) {
	const worlds = 300
	for _, name := range []string{
		fault.LeaseFromReceipt, fault.NoElectionWait, fault.IndexBeforeRecord,
		fault.NoNonce, fault.GrantAfterRestart, fault.NoWait,
	} {
		t.Run(name, func(t *testing.T) {
			fault.Seed(name, true)
			defer fault.Seed(name, false)
			for seed := uint64(1); seed <= worlds; seed++ {
				if wrong := newWorld(seed).play(perWorld); wrong != "" {
					t.Logf("seed %d: %s", seed, wrong)
					return
				}
			}
			t.Errorf("%d worlds of %d barriers show nothing wrong", worlds, perWorld)
		})
	}
}
