package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// emergencySteps are the places where the leader dies in an emergency, in the order in
// which it comes by them. The fence and the new key pair go on side by side.
var emergencySteps = []string{fault.WritePlanned, fault.WriteAccepted, fault.ApplyBatch, fault.PairMade, fault.PairBound,
	fault.FenceBounded, fault.FenceAsked, fault.FenceRecorded}

// TestEmergencyLeaderKilled kills the leader at every step of a replacement. Whoever
// asked for it repeats the request, as the client does by itself; the outcome is always
// the same: the old version ended, one new version, signing on every node.
func TestEmergencyLeaderKilled(t *testing.T) {
	t.Parallel()
	random := seeded(t)
	c := startBreakable(t, random.Uint64(), 3, 0)
	for i, step := range emergencySteps {
		key := fmt.Sprintf("leak-%d", i)
		c.createKey(key, "")
		for _, n := range c.nodes {
			c.mustSign(n, key)
		}
		leader := c.leader()
		leader.at(step, fault.Kill, 0)
		took := c.replaceAndFollow(key)
		if leader.alive() {
			t.Errorf("%s: the leader was not killed", step)
			leader.order(fault.Command{Clear: true})
		}
		for _, n := range c.others(leader) {
			if s := c.mustSign(n, key); s.Version != 2 {
				t.Errorf("%s: %s signs with version %d", step, n.name, s.Version)
			}
		}
		leader.kill()
		leader.start(t)
		c.waitReady(leader, "?for=sign")
		if s := c.mustSign(leader, key); s.Version != 2 {
			t.Errorf("%s: %s is back and signs with version %d", step, leader.name, s.Version)
		}
		k, err := c.admin.Key(ctx(t), key, client.Consistency(wire.Linearizable))
		if err != nil {
			t.Fatal(err)
		}
		if len(k.Versions) != 2 || k.ActiveVersion != 2 || k.Versions[1].State != lifecycle.Compromised {
			t.Errorf("%s: %d versions, version %d is active", step, len(k.Versions), k.ActiveVersion)
		}
		for _, in := range k.Versions[0].Instances {
			if !in.MaySign {
				t.Errorf("%s: the instance on %s is %s", step, in.Node, in.Condition)
			}
		}
		t.Logf("killed at %s: fenced and signing after %s", step, took.Round(time.Millisecond))
	}
	checkAgreement(t, c)
}

// replaceAndFollow replaces a key and waits until the old version is fenced and the new
// one active, whoever leads meanwhile.
func (c *lab) replaceAndFollow(key string) time.Duration {
	c.t.Helper()
	began := time.Now()
	k := c.patientClient(3 * time.Second)
	defer k.Close()
	op, err := k.Replace(ctx(c.t), key, wire.Replace{Emergency: true, Reason: lifecycle.KeyCompromise, Comment: "drill"}, client.Wait(wire.Committed, 0))
	if err != nil {
		c.t.Fatalf("replace %s: %v", key, err)
	}
	if len(op.Versions) != 1 || op.NewVersion != 2 {
		c.t.Errorf("replace %s: %v by %d", key, op.Versions, op.NewVersion)
	}
	for _, level := range []string{wire.Fenced, wire.Activated} {
		if op, err = k.WaitFor(ctx(c.t), op.RequestID, level, nil); err != nil || !op.Has(level) {
			c.t.Fatalf("%s is not %s: %v", key, level, err)
		}
	}
	return time.Since(began)
}
