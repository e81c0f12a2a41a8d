package rotation

import (
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const hour, day = time.Hour, 24 * time.Hour

func TestALifeByPolicy(t *testing.T) {
	f := newFixture(t)
	clock := f.Clock()
	f.create("k", tokenPolicy(), f.nodes...)
	f.expect("nothing is ready")
	f.expectNext("nothing is ready", f.now().Add(noticeAfter))
	f.bind("k", 1, f.nodes...)
	f.expect("all instances are ready", "ActivateVersion k/1")

	first := f.now()
	f.expectNext("until the rotation", first.Add(30*lifecycle.Day-lifecycle.Hour))
	for range 29 {
		clock.Advance(day)
		f.Must(t, &command.SetPolicy{Key: "k", Policy: tokenPolicy()}) // the clock may move a day at once
	}
	clock.Advance(23*hour - time.Millisecond)
	f.expect("a millisecond too early")
	clock.Advance(time.Millisecond)
	f.expect("the rotation is due", "PrepareVersion k/2")
	f.expect("it is under way")
	f.bind("k", 2, f.nodes[:2]...)
	f.expectNext("one node is slow", f.now().Add(ReadyGrace))
	f.bind("k", 2, f.nodes[2])
	f.expect("all instances are ready", "PublishVersion k/2")
	f.expectNext("the lead", f.now().Add(lifecycle.Hour))
	clock.Advance(hour - time.Millisecond)
	f.expect("a millisecond too early")
	clock.Advance(time.Millisecond)
	f.expect("the lead has passed", "ActivateVersion k/2")
	if k := f.View().Key("k"); k.Active != 2 || f.now() != first.Add(30*lifecycle.Day) {
		t.Errorf("version %d is active at %s; version 2 was due exactly at %s", k.Active, f.now(), first.Add(30*lifecycle.Day))
	}

	f.expectNext("the verify window", f.now().Add(2*lifecycle.Hour))
	f.Must(t, &command.ScheduleDestroy{Key: "k", Version: 1, DestroyAt: f.now().Add(7 * lifecycle.Day)})
	clock.Advance(2 * hour)
	f.expect("the verify window is over", "WithdrawVersion k/1")
	f.expectNext("the waiting period", f.View().Version("k", 1).DestroyAt)
	for range 7 {
		clock.Advance(day)
		f.Must(t, &command.SetPolicy{Key: "k", Policy: tokenPolicy()})
	}
	f.expect("the waiting period is over", "BeginErasure k/1")
	f.expect("the nodes erase")
}

func TestGraceForSlowNodes(t *testing.T) {
	f := newFixture(t)
	f.create("k", tokenPolicy(), f.nodes...)
	f.Clock().Advance(time.Hour)
	f.expect("somebody should look", "NoteWaiting k/1")
	f.Clock().Advance(time.Hour)
	f.expect("nobody is ready, however long")
	f.create("j", tokenPolicy(), f.nodes...)
	f.bind("j", 1, f.nodes[0])
	f.expect("two nodes have ten seconds")
	f.expectNext("grace", f.now().Add(ReadyGrace))
	f.Clock().Advance(9999 * time.Millisecond)
	f.expect("a millisecond is left")
	f.Clock().Advance(time.Millisecond)
	f.expect("one node must do", "ActivateVersion j/1")
	f.bind("j", 1, f.nodes[1])
	f.expect("the second has a lead of its own")
	f.Clock().Advance(time.Hour)
	f.expect("its lead has passed", "AdmitInstance j/1")
}

func TestMinReady(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.MinReady = 2
	f.create("k", pol, f.nodes...)
	f.bind("k", 1, f.nodes[0])
	f.Clock().Advance(time.Hour)
	f.expect("one of two", "NoteWaiting k/1")
	f.bind("k", 1, f.nodes[1])
	f.expect("two of two, without waiting for the third", "ActivateVersion k/1")
}

func TestQuarantinedNodeHoldsNobodyUp(t *testing.T) {
	f := newFixture(t)
	f.create("k", tokenPolicy(), f.nodes...)
	f.bind("k", 1, f.nodes[0], f.nodes[1])
	f.expect("the third is awaited")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[2], Status: lifecycle.Quarantined})
	f.expect("the third does not sign", "ActivateVersion k/1")
	f.bind("k", 1, f.nodes[2])
	f.Clock().Advance(hour)
	f.expect("a quarantined node is not admitted")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[2], Status: lifecycle.Member})
	f.expect("readmitted", "AdmitInstance k/1")
}

func TestJoiningNodeGetsInstances(t *testing.T) {
	f := newFixture(t)
	f.active("a", tokenPolicy())
	f.active("b", tokenPolicy())
	single := f.creation("root", tokenPolicy(), f.nodes[0])
	single.Custody, single.Node = lifecycle.Singleton, f.nodes[0]
	f.Must(t, single)
	f.bind("root", 1, f.nodes[0])
	f.expect("a singleton", "ActivateVersion root/1")
	before := kidsOf(f, "a")
	fourth := ledgertest.Join(t, f.Ledger, "node4")
	f.expect("a fourth node", "PlanInstances a/1", "PlanInstances b/1")
	f.expect("once")
	f.bind("a", 1, fourth)
	f.expectNext("its lead", f.now().Add(lifecycle.Hour))
	f.Clock().Advance(hour)
	f.expect("its lead has passed", "AdmitInstance a/1")
	after := kidsOf(f, "a")
	for node, kid := range before {
		if after[node] != kid {
			t.Errorf("node %s has another kid", node.Short())
		}
	}
	if len(after) != 4 || f.View().Key("a").Active != 1 {
		t.Errorf("instances %v, active %d", after, f.View().Key("a").Active)
	}
}

func kidsOf(f *fixture, name lifecycle.KeyID) map[lifecycle.NodeID]string {
	out := map[lifecycle.NodeID]string{}
	for _, i := range f.View().Instances(name, 1) {
		out[i.Node] = i.KID
	}
	return out
}

// A version is not activated on instances that may not sign yet.
func TestActivationNeedsAnInstanceThatMaySign(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.MinReady = 1
	f.active("k", pol)
	f.Must(t, &command.PrepareVersion{Key: "k", Version: 2, Instances: f.creation("x", pol, f.nodes...).Instances})
	f.bind("k", 2, f.nodes[0])
	f.expect("one must do", "PublishVersion k/2")
	f.Clock().Advance(30 * time.Minute)
	f.bind("k", 2, f.nodes[1])
	f.Must(t, &command.ReportCondition{Key: "k", Version: 2, Node: f.nodes[0], Condition: lifecycle.Lost, Detail: "wiped"})
	f.Clock().Advance(30 * time.Minute)
	f.expect("the lead of the version has passed, that of its one instance not")
	f.expectNext("the instance's lead", f.now().Add(30*lifecycle.Minute))
	f.Clock().Advance(30 * time.Minute)
	f.expect("both have", "ActivateVersion k/2")
	if i := f.View().Instance("k", 2, f.nodes[1]); i.AdmittedAt == 0 {
		t.Error("activated, and nobody may sign")
	}
}

func TestOpenRotationIsNotStartedTwice(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.RotateEvery, pol.Lead = 2*lifecycle.Hour, lifecycle.Hour
	f.active("k", pol)
	f.Clock().Advance(hour)
	f.expect("due", "PrepareVersion k/2")
	f.Must(t, &command.SuspendVersion{Key: "k", Version: 2})
	f.Clock().Advance(5 * hour)
	f.expect("a successor on hold waits for an operator")
	f.Must(t, &command.Revoke{Key: "k", Versions: []uint64{2}, Reason: lifecycle.KeyCompromise})
	f.expect("a revoked successor is replaced", "PrepareVersion k/3")
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise})
	f.Clock().Advance(day / 2)
	f.expect("nobody rotates a revoked key")
}

func TestNoScheduleWithoutANodeThatSigns(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.RotateEvery, pol.Lead = 2*lifecycle.Hour, lifecycle.Hour
	single := f.creation("root", pol, f.nodes[1])
	single.Custody, single.Node = lifecycle.Singleton, f.nodes[1]
	f.Must(t, single)
	f.bind("root", 1, f.nodes[1])
	f.expect("ready", "ActivateVersion root/1")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[1], Status: lifecycle.Quarantined})
	f.Clock().Advance(3 * hour)
	f.expect("its node does not sign")
	f.Must(t, &command.SetNodeStatus{ID: f.nodes[1], Status: lifecycle.Member})
	f.expect("it does again", "PrepareVersion root/2")
}

// A compromised version stays compromised when its keys are gone; the erasure must
// not begin again for ever.
func TestErasureOfACompromisedVersionEnds(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.DestroyWait, pol.RotateEvery = 0, 0
	f.active("k", pol)
	f.Must(t, &command.Revoke{Key: "k", Reason: lifecycle.KeyCompromise})
	f.Must(t, &command.ScheduleDestroy{Key: "k", Version: 1, DestroyAt: f.now()})
	f.expect("no waiting period", "BeginErasure k/1")
	for _, n := range f.nodes {
		f.expect("the nodes erase")
		f.Must(t, &command.ConfirmErased{Key: "k", Version: 1, Node: n, Evidence: "not found"})
	}
	if v := f.View().Version("k", 1); v.State != lifecycle.Compromised || v.Erasing {
		t.Fatalf("version %+v", v)
	}
	f.expect("all is erased")
	f.expectNext("all is erased", 0)
}

// A wall clock behind the log's clock plans by the latter, as Apply judges.
func TestSlowWallClock(t *testing.T) {
	f := newFixture(t)
	f.create("k", tokenPolicy(), f.nodes...)
	f.bind("k", 1, f.nodes[0])
	f.Clock().Advance(20 * time.Second)
	f.create("j", tokenPolicy(), f.nodes...)
	f.Clock().Advance(-time.Hour)
	f.expect("by the log's clock the grace is over", "ActivateVersion k/1")
}

// TestEmergencyIsNotPlanned: binding does everything. Only a version that somebody held
// meanwhile is left for the loop, which waits neither for a lead nor for other nodes.
func TestEmergencyIsNotPlanned(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.MinReady = 3
	f.active("k", pol)
	emergency := func(version uint64) {
		t.Helper()
		c := &command.Replace{Key: "k", Version: version, Reason: lifecycle.KeyCompromise}
		for _, n := range f.nodes {
			c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: f.draw()})
		}
		f.Must(t, c)
	}
	emergency(2)
	f.expect("nothing is ready")
	f.bind("k", 2, f.nodes[0])
	f.expect("it signs")
	f.bind("k", 2, f.nodes[1:]...)
	f.expect("all sign")

	emergency(3)
	f.Must(t, &command.SuspendVersion{Key: "k", Version: 3})
	f.bind("k", 3, f.nodes[0])
	f.expect("it is on hold")
	f.Must(t, &command.ResumeVersion{Key: "k", Version: 3})
	if p := Explain(f.View(), "k", f.now()); p.Next != "activate" || p.EarliestAt != 0 || len(p.WaitsFor) != 0 {
		t.Errorf("it is explained as %+v", p)
	}
	f.expect("one node must do", "ActivateVersion k/3")
}
