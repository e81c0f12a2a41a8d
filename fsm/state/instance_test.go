package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func report(node lifecycle.NodeID, n uint64, c lifecycle.Condition) *command.ReportCondition {
	return &command.ReportCondition{Key: ci, Version: n, Node: node, Condition: c, Detail: "looked twice"}
}

func TestBindInstance(t *testing.T) {
	w := newWorld(t).prepared(1)
	o := w.ok(bind(ci, 1, w.nodes[0]))
	i := w.instance(1, 0)
	if i.Condition != lifecycle.Ready || i.KID == "" || len(i.SPKI) == 0 || i.Driver != "soft" || i.PublishedAt != 0 || i.Rev != o.Index {
		t.Errorf("instance %+v", i)
	}
	if got := w.l.View().ByKID(i.KID); len(got) != 1 || got[0] != i {
		t.Errorf("by kid: %v", got)
	}
	if got := w.l.View().ByKID(i.KID[:6]); len(got) != 1 {
		t.Errorf("by a kid prefix: %v", got)
	}
	size := w.l.View().Position().LogSize
	w.ok(bind(ci, 1, w.nodes[0])) // the answer was lost
	if w.l.View().Position().LogSize != size {
		t.Error("a repeated bind was logged twice")
	}
}

func TestBindRefusals(t *testing.T) {
	w := newWorld(t)
	w.no(state.KeyNotFound, bind(ci, 1, w.nodes[0]))
	w.ok(newKey(ci, w.nodes[0], w.nodes[1]))
	w.no(state.VersionNotFound, bind(ci, 2, w.nodes[0]))
	w.no(state.InstanceNotFound, bind(ci, 1, w.nodes[2]))
	w.no(state.NodeNotFound, bind(ci, 1, ledgertest.NodeID("stranger")))
	other := bind(ci, 1, w.nodes[0])
	other.CKAID = ledgertest.CKAID("another")
	w.no(state.IllegalTransition, other)
	w.ok(bind(ci, 1, w.nodes[0]))
	again := bind(ci, 1, w.nodes[0])
	again.SPKI = []byte("another public key")
	w.no(state.IllegalTransition, again)
	stolen := bind(ci, 1, w.nodes[1])
	stolen.SPKI, stolen.KID = bind(ci, 1, w.nodes[0]).SPKI, bind(ci, 1, w.nodes[0]).KID
	w.no(state.AlreadyExists, stolen)
	w.remove(1)
	w.no(state.NodeNotMember, bind(ci, 1, w.nodes[1]))
}

// TestLateInstance: a node that gets an instance of an active version publishes it
// first and signs after the lead.
func TestLateInstance(t *testing.T) {
	w := newWorld(t)
	w.ok(newKey(ci, w.nodes[0], w.nodes[1]))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(bind(ci, 1, w.nodes[1]))
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.signs(1, 0, 1)
	plan := &command.PlanInstances{Key: ci, Version: 1, Instances: intents(ci, 1, w.nodes[2])}
	w.ok(plan)
	w.no(state.AlreadyExists, plan)
	w.no(state.IllegalTransition, &command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[2]})
	w.ok(bind(ci, 1, w.nodes[2]))
	w.trusts(1, 0, 1, 2)
	w.signs(1, 0, 1)
	w.no(state.LeadNotPassed, &command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[2]})
	w.pass(lifecycle.Hour)
	w.ok(&command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[2]})
	w.signs(1, 0, 1, 2)
	w.no(state.IllegalTransition, &command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[2]})
}

func TestPlanInstancesRefusals(t *testing.T) {
	w := newWorld(t)
	plan := func(n uint64) *command.PlanInstances {
		return &command.PlanInstances{Key: ci, Version: n, Instances: intents(ci, n, w.nodes[2])}
	}
	w.no(state.KeyNotFound, plan(1))
	w.ok(newKey(ci, w.nodes[0]))
	w.no(state.VersionNotFound, plan(2))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.ok(&command.DeactivateVersion{Key: ci, Version: 1})
	w.no(state.IllegalTransition, plan(1))
	w.ok(&command.SuspendVersion{Key: ci, Version: 1})
	w.no(state.IllegalTransition, plan(1)) // it can only become deactivated again
	w.ok(revoke(lifecycle.KeyCompromise, 1))
	w.no(state.IllegalTransition, plan(1))
}

// TestBindAfterTheEnd: whatever has ended, no new public key of it enters the trust set.
func TestBindAfterTheEnd(t *testing.T) {
	for name, end := range map[string]func(*world){
		"deactivated":           func(w *world) { w.ok(&command.DeactivateVersion{Key: ci, Version: 1}) },
		"superseded":            func(w *world) { w.ok(revoke(lifecycle.Superseded)) },
		"compromised":           func(w *world) { w.ok(revoke(lifecycle.KeyCompromise)) },
		"distrusted":            func(w *world) { w.ok(&command.Revoke{Key: ci, Reason: lifecycle.Superseded, Distrust: true}) },
		"suspended at the end":  func(w *world) { w.ok(revoke(lifecycle.Superseded)); w.ok(revoke(lifecycle.CertificateHold)) },
		"succeeded, was paused": func(w *world) { w.ok(&command.SuspendVersion{Key: ci, Version: 1}); w.active(2) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.ok(newKey(ci, w.nodes...))
			w.ok(bind(ci, 1, w.nodes[0]))
			w.ok(bind(ci, 1, w.nodes[1]))
			w.ok(&command.ActivateVersion{Key: ci, Version: 1})
			end(w)
			w.ok(bind(ci, 1, w.nodes[2]))
			if i := w.instance(1, 2); i.InTrustSet(w.version(1)) || i.MaySign(w.version(1)) || i.PublishedAt != 0 {
				t.Errorf("a key bound afterwards is trusted: %+v", i)
			}
			w.signs(1)
		})
	}
}

func TestBindWhileSuspended(t *testing.T) {
	w := newWorld(t)
	w.ok(newKey(ci, w.nodes...))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.ok(&command.SuspendVersion{Key: ci, Version: 1})
	w.ok(bind(ci, 1, w.nodes[1]))
	w.ok(&command.ResumeVersion{Key: ci, Version: 1})
	w.signs(1, 0)
	w.trusts(1, 0, 1)
	w.pass(lifecycle.Hour)
	w.ok(&command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[1]})
	w.signs(1, 0, 1)
}

func TestLostAndFound(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(report(w.nodes[1], 1, lifecycle.Lost))
	w.signs(1, 0, 2)
	w.trusts(1, 0, 1, 2) // what it signed is still verified
	w.no(state.IllegalTransition, report(w.nodes[1], 1, lifecycle.Lost))
	w.ok(report(w.nodes[1], 1, lifecycle.Ready))
	w.signs(1, 0, 1, 2)
	w.no(state.IllegalTransition, report(w.nodes[1], 1, lifecycle.Ready))
}

func TestPendingIsNotLost(t *testing.T) {
	w := newWorld(t).prepared(1)
	w.ok(report(w.nodes[0], 1, lifecycle.Lost))
	if i := w.instance(1, 0); i.Condition != lifecycle.Pending || i.Detail != "looked twice" {
		t.Errorf("instance %+v", i)
	}
	w.no(state.IllegalTransition, report(w.nodes[0], 1, lifecycle.Ready)) // only a bind shows a public key
	w.ok(bind(ci, 1, w.nodes[0]))
}

// TestFoundAfterPublication: an instance that was lost when its version was
// published is published when it is found, or it could never sign.
func TestFoundAfterPublication(t *testing.T) {
	w := newWorld(t).bound(1)
	w.ok(report(w.nodes[2], 1, lifecycle.Lost))
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.signs(1, 0, 1)
	w.ok(report(w.nodes[2], 1, lifecycle.Ready))
	w.trusts(1, 0, 1, 2)
	w.signs(1, 0, 1)
	w.pass(lifecycle.Hour)
	w.ok(&command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[2]})
	w.signs(1, 0, 1, 2)
}

// TestNoReportBringsBackARevokedInstance is the worst bug there could be here.
func TestNoReportBringsBackARevokedInstance(t *testing.T) {
	for _, reason := range lifecycle.Reasons {
		if reason == lifecycle.CertificateHold {
			continue
		}
		for _, lostFirst := range []bool{false, true} {
			w := newWorld(t).active(1)
			if lostFirst {
				w.ok(report(w.nodes[1], 1, lifecycle.Lost))
			}
			w.ok(&command.Revoke{Key: ci, Versions: []uint64{1}, Node: w.nodes[1], Reason: reason})
			w.signs(1, 0, 2)
			w.no(state.IllegalTransition, report(w.nodes[1], 1, lifecycle.Ready))
			again := bind(ci, 1, w.nodes[1])
			again.SPKI, again.KID = []byte("fresh"), bind("other", 1, w.nodes[1]).KID
			w.no(state.IllegalTransition, again)
			w.no(state.AlreadyExists, &command.PlanInstances{Key: ci, Version: 1, Instances: intents(ci, 1, w.nodes[1])})
			w.no(state.IllegalTransition, &command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[1]})
			w.rejoin(1)
			w.no(state.IllegalTransition, report(w.nodes[1], 1, lifecycle.Ready))
			w.signs(1, 0, 2)
			if reason.IsCompromise() {
				w.trusts(1, 0, 2)
			} else {
				w.trusts(1, 0, 1, 2)
			}
		}
	}
}
