package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// rotationSteps are the places where the leader dies while the next version is prepared
// and its instances are bound.
var rotationSteps = []string{fault.WritePlanned, fault.WriteAccepted, fault.ApplyBatch, fault.PairMade, fault.PairBound}

// TestRotationLeaderKilled kills the leader at every step of a rotation: in what is
// asked for, at marked points; in what the leader's own loop does, before and after the
// entry. The outcome is always the same: one new version, active, and the old one only verified.
func TestRotationLeaderKilled(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	c := startBreakable(t, random.Uint64(), 3, 0)
	steps := append(rotationSteps, wire.Prepared, wire.Published)
	some := []string{fault.PairBound, wire.Published} // each takes half a minute
	for i, step := range steps {
		if !full() && !slices.Contains(some, step) {
			t.Logf("%s: left to CHANCERY_INTEGRATION=full", step)
			continue
		}
		key := fmt.Sprintf("turn-%d", i)
		c.createKey(key, `{"lead":"3s","jwks_max_age":"1s"}`)
		leader := c.leader()
		asked := i < len(rotationSteps)
		if asked {
			leader.at(step, fault.Kill, 0)
		}
		k := c.patientClient(3 * time.Second)
		op, err := k.Rotate(ctx(t), key, wire.Rotate{}, client.Wait(wire.Committed, 0))
		if err != nil {
			t.Fatalf("%s: rotate: %v", step, err)
		}
		if !asked {
			if op, err = k.WaitFor(ctx(t), op.RequestID, step, nil); err != nil || !op.Has(step) {
				t.Fatalf("%s: %v", step, err)
			}
			leader = c.leader()
			leader.kill()
		}
		if op, err = k.WaitFor(ctx(t), op.RequestID, wire.Activated, nil); err != nil || !op.Has(wire.Activated) {
			t.Fatalf("%s: not active: %v", step, err)
		}
		k.Close()
		c.dies(leader, step)
		leader.kill()
		leader.start(t)
		c.waitReady(leader, "?for=sign")
		show, err := c.admin.Key(ctx(t), key, client.Consistency(wire.Linearizable))
		if err != nil {
			t.Fatal(err)
		}
		if len(show.Versions) != 2 || show.ActiveVersion != 2 || show.Versions[1].State != lifecycle.Deactivated || !show.Versions[1].InTrustSet {
			t.Errorf("%s: %+v", step, show.Versions)
		}
	}
	checkAgreement(t, c)
}
