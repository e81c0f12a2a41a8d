package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
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
		c.dies(leader, step)
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

// dies waits until a node has come to its marked point: what it is asked for may be done
// before that, by others.
func (c *lab) dies(n *node, step string) {
	c.t.Helper()
	eventually(c.t, 20*time.Second, "the node that leads to come to its end", func() string {
		if n.alive() {
			return n.name + " has not come to " + step
		}
		return ""
	})
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

// TestEmergencyUnderLoad replaces a key again and again while callers sign with it
// through the SDK: none of them fails, and whoever begins after it is fenced gets a
// signature of the new version.
func TestEmergencyUnderLoad(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.createKey("busy", "")
	for _, n := range c.nodes {
		c.mustSign(n, "busy")
	}
	var fenced atomic.Uint64 // the newest version that is fenced
	stop := make(chan struct{})
	var callers sync.WaitGroup
	signatures := make([]atomic.Int64, len(c.nodes))
	for i, n := range c.nodes {
		k := c.clientWith(func(cfg *client.Config) { cfg.Addrs = append([]string{n.api}, cfg.Addrs...) })
		defer k.Close()
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				over := fenced.Load()
				s, err := k.Sign(context.Background(), "busy", wire.SignRequest{Message: []byte("x")})
				switch {
				case err != nil:
					t.Errorf("sign: %v", err)
				case s.Version <= over:
					t.Errorf("a signature of version %d, asked for when it was fenced", s.Version)
				}
				signatures[i].Add(1)
			}
		})
	}
	for version := uint64(1); version <= 5; version++ {
		op, err := c.admin.Replace(ctx(t), "busy", wire.Replace{Emergency: true, Versions: []uint64{version}, Reason: lifecycle.KeyCompromise}, client.Wait(wire.Fenced, 10*time.Second))
		if err != nil || !op.Has(wire.Fenced) || op.NewVersion != version+1 {
			t.Fatalf("replace version %d: %+v, %v", version, op, err)
		}
		fenced.Store(version)
		for i, n := range c.nodes {
			c.mustSign(n, "busy")
			enough := signatures[i].Load() + 20
			eventually(t, 20*time.Second, n.name+"'s caller goes on", func() string {
				if have := signatures[i].Load(); have < enough {
					return fmt.Sprintf("it has %d signatures", have)
				}
				return ""
			})
		}
	}
	close(stop)
	callers.Wait()
	for i := range signatures {
		t.Logf("caller %d has %d signatures", i+1, signatures[i].Load())
	}
	checkAgreement(t, c)
}
