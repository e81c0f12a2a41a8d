package state_test

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestRevokeByReason: every reason on every state a version can be in.
func TestRevokeByReason(t *testing.T) {
	starts := map[lifecycle.State]func(*world){
		lifecycle.PreActivation: func(w *world) { w.bound(1) },
		lifecycle.Active:        func(w *world) { w.active(1) },
		lifecycle.Suspended:     func(w *world) { w.active(1).ok(suspend(1)) },
		lifecycle.Deactivated:   func(w *world) { w.active(1).ok(deactivate(1)) },
		lifecycle.Compromised:   func(w *world) { w.active(1).ok(revoke(lifecycle.KeyCompromise)) },
	}
	for _, start := range []lifecycle.State{lifecycle.PreActivation, lifecycle.Active, lifecycle.Suspended, lifecycle.Deactivated, lifecycle.Compromised} {
		for _, reason := range lifecycle.Reasons {
			t.Run(fmt.Sprint(start, " ", reason), func(t *testing.T) {
				w := newWorld(t)
				starts[start](w)
				published := w.version(1).PublishedAt != 0
				want, ok := lifecycle.Next(start, reason.Verb(), lifecycle.Active)
				if !ok {
					w.no(state.IllegalTransition, revoke(reason, 1))
					w.state(1, start)
					return
				}
				w.ok(revoke(reason, 1))
				w.state(1, want)
				w.signs(1)
				v := w.version(1)
				if v.Revocation == nil || v.Revocation.Reason != reason || v.Revocation.By != ledgertest.Admin {
					t.Errorf("revocation %+v", v.Revocation)
				}
				for node := range w.nodes {
					spoiled := w.instance(1, node).Condition == lifecycle.InstanceBad
					if spoiled != (want == lifecycle.Compromised) {
						t.Errorf("instance %+v of a %s version", w.instance(1, node), want)
					}
				}
				if v.InTrustSet() != (published && want != lifecycle.Compromised) {
					t.Errorf("a %s version is in the trust set: %t", want, v.InTrustSet())
				}
				if w.l.View().Key(ci).Active != 0 {
					t.Error("the key still has an active version")
				}
			})
		}
	}
}

func TestRevokeAWholeKey(t *testing.T) {
	w := newWorld(t).active(1).active(2).bound(3)
	o := w.ok(revoke(lifecycle.PrivilegeWithdrawn))
	if fmt.Sprint(o.Versions) != "[1 2 3]" {
		t.Errorf("outcome %+v", o)
	}
	for n := uint64(1); n <= 3; n++ {
		w.state(n, lifecycle.Deactivated)
		w.signs(n)
	}
	w.trusts(2, 0, 1, 2)
	w.trusts(3)
	w.no(state.IllegalTransition, activate(3))
	w.ok(revoke(lifecycle.KeyCompromise))
	w.trusts(2)
	w.no(state.IllegalTransition, revoke(lifecycle.Superseded))
	w.active(4)
	w.signs(4, 0, 1, 2)
}

// TestWholeKeySkipsWhatCannotBeRevoked, a named version does not.
func TestWholeKeySkipsWhatCannotBeRevoked(t *testing.T) {
	w := newWorld(t).active(1).active(2)
	w.ok(revoke(lifecycle.KeyCompromise, 1))
	o := w.ok(revoke(lifecycle.CertificateHold))
	if fmt.Sprint(o.Versions) != "[2]" {
		t.Errorf("outcome %+v", o)
	}
	w.state(1, lifecycle.Compromised)
	w.no(state.IllegalTransition, revoke(lifecycle.CertificateHold, 1, 2))
	w.no(state.VersionNotFound, revoke(lifecycle.KeyCompromise, 1, 9))
}

func TestDistrust(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(&command.Revoke{Key: ci, Reason: lifecycle.CessationOfOperation, Distrust: true})
	w.state(1, lifecycle.Deactivated)
	w.trusts(1)
	if v := w.version(1); !v.Distrusts() {
		t.Errorf("version %+v", v)
	}
	w.ok(revoke(lifecycle.Superseded, 1)) // a milder word later
	w.trusts(1)
}

func TestCompromiseTimeIsTheEarliestEverNamed(t *testing.T) {
	w := newWorld(t).active(1)
	say := func(since lifecycle.Instant) lifecycle.Instant {
		c := revoke(lifecycle.KeyCompromise, 1)
		c.CompromisedSince = since
		w.ok(c)
		return w.version(1).Revocation.CompromisedSince
	}
	for _, c := range []struct{ say, want lifecycle.Instant }{{0, 0}, {5000, 5000}, {9000, 5000}, {0, 5000}, {3000, 3000}} {
		if got := say(c.say); got != c.want {
			t.Errorf("after %d it is %d, want %d", c.say, got, c.want)
		}
	}
}

func TestHold(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(revoke(lifecycle.CertificateHold, 1))
	w.state(1, lifecycle.Suspended)
	w.signs(1)
	w.ok(resume(1))
	w.state(1, lifecycle.Active)
	if v := w.version(1); v.Revocation != nil {
		t.Errorf("the hold is over, the version says %+v", v.Revocation)
	}
	w.signs(1, 0, 1, 2)
	w.no(state.Invalid, &command.Revoke{Key: ci, Reason: lifecycle.CertificateHold, Distrust: true})
}

// TestHoldDoesNotCoverARevocation: resuming from the hold must not wipe out why the
// version was revoked before it.
func TestHoldDoesNotCoverARevocation(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(&command.Revoke{Key: ci, Reason: lifecycle.PrivilegeWithdrawn, Comment: "left the company", Distrust: true})
	w.ok(revoke(lifecycle.CertificateHold, 1))
	w.ok(resume(1))
	w.state(1, lifecycle.Deactivated)
	v := w.version(1)
	if v.Revocation == nil || v.Revocation.Reason != lifecycle.PrivilegeWithdrawn || !v.Distrusted {
		t.Errorf("version %+v with revocation %+v", v, v.Revocation)
	}
}

func TestRevokeOneInstance(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(&command.Revoke{Key: ci, Versions: []uint64{1}, Node: w.nodes[1], Reason: lifecycle.KeyCompromise})
	w.state(1, lifecycle.Active)
	w.signs(1, 0, 2)
	w.trusts(1, 0, 2)
	w.no(state.InstanceNotFound, &command.Revoke{Key: ci, Versions: []uint64{1}, Node: w.nodes[1], Reason: lifecycle.KeyCompromise})
	w.ok(&command.Revoke{Key: ci, Versions: []uint64{1}, Node: w.nodes[2], Reason: lifecycle.Superseded})
	w.signs(1, 0)
	w.trusts(1, 0, 2)
	w.no(state.InstanceNotFound, &command.Revoke{Key: ci, Node: w.nodes[2], Reason: lifecycle.Superseded})
	w.ok(&command.Revoke{Key: ci, Node: w.nodes[2], Reason: lifecycle.Superseded, Distrust: true})
	w.trusts(1, 0)
	w.no(state.NodeNotFound, &command.Revoke{Key: ci, Node: ledgertest.NodeID("stranger"), Reason: lifecycle.KeyCompromise})
	w.no(state.Invalid, &command.Revoke{Key: ci, Node: w.nodes[0], Reason: lifecycle.CertificateHold})
}

// TestRevokeAPendingInstance: the node may be generating the key this moment.
func TestRevokeAPendingInstance(t *testing.T) {
	for _, reason := range []lifecycle.Reason{lifecycle.KeyCompromise, lifecycle.Superseded} {
		w := newWorld(t).prepared(1)
		w.ok(&command.Revoke{Key: ci, Node: w.nodes[0], Reason: reason})
		w.no(state.IllegalTransition, bind(ci, 1, w.nodes[0]))
		w.no(state.IllegalTransition, report(w.nodes[0], 1, lifecycle.Ready))
	}
}

// TestRevokeOfARemovedNode: its HSM may be in wrong hands.
func TestRevokeOfARemovedNode(t *testing.T) {
	w := newWorld(t).active(1).active(2)
	w.remove(1)
	w.trusts(1, 0, 1, 2)
	o := w.ok(&command.Revoke{Key: ci, Node: w.nodes[1], Reason: lifecycle.KeyCompromise})
	if fmt.Sprint(o.Versions) != "[1 2]" {
		t.Errorf("outcome %+v", o)
	}
	w.trusts(1, 0, 2)
	w.trusts(2, 0, 2)
}

// TestCompromiseCatchesLostAndLateInstances of the version.
func TestCompromiseCatchesLostAndLateInstances(t *testing.T) {
	w := newWorld(t)
	w.ok(newKey(ci, w.nodes...))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(bind(ci, 1, w.nodes[1]))
	w.ok(activate(1))
	w.ok(report(w.nodes[1], 1, lifecycle.Lost))
	w.ok(revoke(lifecycle.KeyCompromise))
	w.ok(bind(ci, 1, w.nodes[2]))
	for node := range w.nodes {
		if i := w.instance(1, node); i.Condition != lifecycle.InstanceBad {
			t.Errorf("instance %d is %s", node, i.Condition)
		}
	}
	w.no(state.IllegalTransition, report(w.nodes[1], 1, lifecycle.Ready))
}
