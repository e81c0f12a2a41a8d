package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func publish(n uint64) *command.PublishVersion { return &command.PublishVersion{Key: ci, Version: n} }
func activate(n uint64) *command.ActivateVersion {
	return &command.ActivateVersion{Key: ci, Version: n}
}
func early(n uint64) *command.ActivateVersion {
	return &command.ActivateVersion{Key: ci, Version: n, Early: true, Comment: "emergency"}
}
func suspend(n uint64) *command.SuspendVersion { return &command.SuspendVersion{Key: ci, Version: n} }
func resume(n uint64) *command.ResumeVersion   { return &command.ResumeVersion{Key: ci, Version: n} }
func deactivate(n uint64) *command.DeactivateVersion {
	return &command.DeactivateVersion{Key: ci, Version: n}
}
func withdraw(n uint64) *command.WithdrawVersion {
	return &command.WithdrawVersion{Key: ci, Version: n}
}

// TestVerbsNeedAKeyAndAVersion walks every command on a version.
func TestVerbsNeedAKeyAndAVersion(t *testing.T) {
	w := newWorld(t)
	bodies := func(n uint64) []command.Body {
		return []command.Body{publish(n), activate(n), early(n), suspend(n), resume(n), deactivate(n), withdraw(n),
			revoke(lifecycle.Superseded, n), destroyAt(n, w.l.Clock().At().Add(30*lifecycle.Day)), cancelDestroy(n),
			&command.BeginErasure{Key: ci, Version: n}, erased(w.nodes[0], n), report(w.nodes[0], n, lifecycle.Lost),
			&command.AdmitInstance{Key: ci, Version: n, Node: w.nodes[0]}, skip(n, lifecycle.GateActivate), rollBack(n)}
	}
	for _, b := range bodies(1) {
		w.no(state.KeyNotFound, b)
	}
	w.prepared(1)
	for _, b := range bodies(2) {
		w.no(state.VersionNotFound, b)
	}
}

func TestPublishVersion(t *testing.T) {
	w := newWorld(t).prepared(1)
	w.no(state.NotReady, publish(1))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(publish(1))
	w.trusts(1, 0)
	w.signs(1)
	w.no(state.IllegalTransition, publish(1))
	w.ok(bind(ci, 1, w.nodes[1])) // bound afterwards, published at once
	w.trusts(1, 0, 1)
	w.ok(activate(1))
	w.no(state.IllegalTransition, publish(1))
}

func TestPublishWaitsForThePolicy(t *testing.T) {
	w := newWorld(t)
	c := newKey(ci, w.nodes...)
	c.Policy.MinReady = 2
	w.ok(c)
	w.ok(bind(ci, 1, w.nodes[0]))
	w.no(state.NotReady, publish(1))
	w.no(state.NotReady, activate(1))
	w.ok(bind(ci, 1, w.nodes[1]))
	w.ok(report(w.nodes[0], 1, lifecycle.Lost))
	w.no(state.NotReady, publish(1))
	w.ok(report(w.nodes[0], 1, lifecycle.Ready))
	w.ok(publish(1))
}

// TestFirstVersionNeedsNoLead: nobody trusts an older version of a new key.
func TestFirstVersionNeedsNoLead(t *testing.T) {
	w := newWorld(t).bound(1)
	w.ok(activate(1))
	w.signs(1, 0, 1, 2)
	w.trusts(1, 0, 1, 2)
	v := w.version(1)
	if v.PublishedAt != w.l.Clock().At() || v.ActivatedAt != w.l.Clock().At() || w.l.View().Key(ci).Active != 1 {
		t.Errorf("version %+v", v)
	}
}

func TestRotation(t *testing.T) {
	w := newWorld(t).active(1).bound(2)
	w.no(state.NotPublished, activate(2))
	w.ok(publish(2))
	w.trusts(2, 0, 1, 2)
	w.signs(2)
	w.no(state.LeadNotPassed, activate(2))
	w.pass(lifecycle.Hour - 1)
	w.no(state.LeadNotPassed, activate(2))
	w.pass(1)
	w.ok(activate(2))
	w.state(1, lifecycle.Deactivated)
	w.state(2, lifecycle.Active)
	w.signs(1)
	w.signs(2, 0, 1, 2)
	w.trusts(1, 0, 1, 2)
	if k := w.l.View().Key(ci); k.Active != 2 {
		t.Errorf("active is %d", k.Active)
	}
	if v := w.version(1); v.DeactivatedAt != w.l.Clock().At() || v.SinceAt != v.DeactivatedAt {
		t.Errorf("version %+v", v)
	}
	w.no(state.IllegalTransition, activate(1))
	w.no(state.IllegalTransition, activate(2))
}

func TestEmergencyNeverWaits(t *testing.T) {
	w := newWorld(t).active(1).bound(2)
	w.no(state.Invalid, &command.ActivateVersion{Key: ci, Version: 2, Early: true})
	w.ok(early(2))
	w.signs(2, 0, 1, 2)
	w.signs(1)
}

// TestBackdatedCommandsShortenNothing: a proposer whose clock is behind must not
// make waiting times pass.
func TestBackdatedCommandsShortenNothing(t *testing.T) {
	w := newWorld(t).active(1).bound(2)
	w.pass(-30 * lifecycle.Day)
	w.ok(publish(2))
	w.pass(30 * lifecycle.Day)
	w.no(state.LeadNotPassed, activate(2))
	w.pass(lifecycle.Hour)
	w.pass(-30 * lifecycle.Day)
	w.ok(early(2))
	w.pass(30 * lifecycle.Day)
	w.no(state.WaitNotPassed, withdraw(1))
	w.pass(-30 * lifecycle.Day)
	w.no(state.WaitNotPassed, destroyAt(1, w.l.Clock().At().Add(8*lifecycle.Day)))
}

// TestLateInstancesAloneDoNotMakeAVersionActive: if no instance had its lead, the
// predecessor would be deactivated and nobody could sign.
func TestLateInstancesAloneDoNotMakeAVersionActive(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(&command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes...)})
	w.ok(bind(ci, 2, w.nodes[0]))
	w.ok(publish(2))
	w.pass(lifecycle.Hour)
	w.ok(bind(ci, 2, w.nodes[1]))
	w.ok(report(w.nodes[0], 2, lifecycle.Lost))
	w.no(state.LeadNotPassed, activate(2))
	w.pass(lifecycle.Hour)
	w.ok(activate(2))
	w.signs(2, 1)
}

func TestSuspendAndResume(t *testing.T) {
	w := newWorld(t).active(1)
	w.no(state.IllegalTransition, resume(1))
	w.ok(suspend(1))
	w.signs(1)
	w.trusts(1, 0, 1, 2)
	if w.l.View().Key(ci).Active != 0 {
		t.Error("a suspended version is still the active one")
	}
	w.no(state.IllegalTransition, suspend(1))
	w.no(state.IllegalTransition, activate(1))
	w.ok(resume(1))
	w.signs(1, 0, 1, 2)
	if w.l.View().Key(ci).Active != 1 {
		t.Error("the resumed version is not the active one")
	}
}

func TestSuspendBeforeActivation(t *testing.T) {
	w := newWorld(t).bound(1)
	w.ok(suspend(1))
	w.no(state.IllegalTransition, activate(1))
	w.no(state.IllegalTransition, publish(1))
	w.ok(resume(1))
	w.state(1, lifecycle.PreActivation)
	w.ok(activate(1))
}

// TestSucceededWhileSuspended: the successor takes the place for good.
func TestSucceededWhileSuspended(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(suspend(1))
	w.active(2)
	w.ok(resume(1))
	w.state(1, lifecycle.Deactivated)
	w.state(2, lifecycle.Active)
	if v := w.version(1); v.DeactivatedAt == 0 || v.SuspendedFrom != 0 {
		t.Errorf("version %+v", v)
	}
	if w.l.View().Key(ci).Active != 2 {
		t.Error("version 2 is no longer the active one")
	}
}

// TestNoStepBack: a version that a later one has overtaken never becomes active.
func TestNoStepBack(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.ok(suspend(2))
	w.active(3)
	w.ok(resume(2))
	w.state(2, lifecycle.PreActivation)
	w.pass(lifecycle.Hour)
	w.no(state.IllegalTransition, activate(2))
	w.no(state.IllegalTransition, early(2))
	w.signs(3, 0, 1, 2)
	w.ok(revoke(lifecycle.Superseded, 2))
	w.prepared(4)
}

func TestDeactivate(t *testing.T) {
	w := newWorld(t).bound(1)
	w.no(state.IllegalTransition, deactivate(1))
	w.ok(activate(1))
	w.ok(deactivate(1))
	w.signs(1)
	w.trusts(1, 0, 1, 2)
	w.no(state.IllegalTransition, deactivate(1))
	w.no(state.IllegalTransition, activate(1))
	w.no(state.IllegalTransition, early(1))
	if w.l.View().Key(ci).Active != 0 {
		t.Error("a deactivated version is still the active one")
	}
}

func TestWithdraw(t *testing.T) {
	w := newWorld(t).active(1)
	w.no(state.IllegalTransition, withdraw(1))
	w.active(2)
	w.no(state.WaitNotPassed, withdraw(1))
	w.pass(2*lifecycle.Hour - 1)
	w.no(state.WaitNotPassed, withdraw(1))
	w.pass(1)
	w.ok(withdraw(1))
	w.trusts(1)
	w.trusts(2, 0, 1, 2)
	w.no(state.IllegalTransition, withdraw(1))
	w.ok(suspend(1))
	w.ok(resume(1))
	w.trusts(1)
	w.state(1, lifecycle.Deactivated)
}

// TestWithdrawnStaysOut: no verb puts a withdrawn or distrusted version back.
func TestWithdrawnStaysOut(t *testing.T) {
	for name, out := range map[string]func(*world){
		"withdrawn": func(w *world) { w.pass(2 * lifecycle.Hour); w.ok(withdraw(1)) },
		"distrusted": func(w *world) {
			w.ok(&command.Revoke{Key: ci, Versions: []uint64{1}, Reason: lifecycle.Superseded, Distrust: true})
		},
	} {
		w := newWorld(t).deactivated(1)
		out(w)
		for range 3 {
			for _, b := range []command.Body{activate(1), early(1), publish(1), suspend(1), revoke(lifecycle.CertificateHold, 1), resume(1),
				revoke(lifecycle.Superseded, 1), report(w.nodes[0], 1, lifecycle.Lost), report(w.nodes[0], 1, lifecycle.Ready),
				&command.AdmitInstance{Key: ci, Version: 1, Node: w.nodes[0]}, destroyAt(1, w.l.Clock().At().Add(30*lifecycle.Day)), cancelDestroy(1)} {
				w.l.Do(t, b)
				if w.version(1).InTrustSet() {
					t.Fatalf("%s: %s brought the version back into the trust set", name, b.Kind())
				}
				w.signs(1)
			}
		}
	}
}
