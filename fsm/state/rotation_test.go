package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func pause() *command.PauseRotation {
	return &command.PauseRotation{Key: ci, Reason: "a verifier is down"}
}
func unpause() *command.ResumeRotation {
	return &command.ResumeRotation{Key: ci, Comment: "it is back"}
}
func skip(n uint64, g lifecycle.Gate) *command.SkipGate {
	return &command.SkipGate{Key: ci, Version: n, Gate: g, Comment: "nobody needs it"}
}
func rollBack(n uint64) *command.RollBack {
	return &command.RollBack{Key: ci, Version: n, Comment: "made by mistake"}
}

// waiting applies the cluster's note that a version waits for somebody.
func (w *world) waiting(n uint64) state.Outcome {
	w.Helper()
	cmd := w.l.Command(&command.NoteWaiting{Key: ci, Version: n, For: "consumer deploy-eu of eu@example.com"})
	cmd.Header.Actor = "system"
	return w.propose(cmd)
}

func (w *world) lastLeaf() (last state.Leaf) {
	w.Helper()
	if err := w.l.View().Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool { last = *l; return true }); err != nil {
		w.Fatal(err)
	}
	return last
}

func TestPausedPlanTakesNoStep(t *testing.T) {
	w := newWorld(t).active(1)
	w.no(state.IllegalTransition, unpause())
	w.ok(pause())
	if p := w.l.View().Key(ci).Pause; p == nil || p.Reason != "a verifier is down" || p.By != "admin" || p.At != w.l.View().Clock() {
		t.Errorf("pause %+v", p)
	}
	if l := w.lastLeaf(); l.Kind != "rotation.paused" || l.Reason != "a verifier is down" {
		t.Errorf("leaf %+v", l)
	}
	w.no(state.RotationPaused, pause())
	w.no(state.RotationPaused, &command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes...)})
	w.ok(unpause())
	w.bound(2)
	w.ok(pause())
	w.no(state.RotationPaused, publish(2))
	w.ok(unpause())
	w.ok(publish(2))
	w.pass(lifecycle.Hour)
	w.ok(pause())
	w.no(state.RotationPaused, activate(2))
	w.ok(early(2)) // out of plan: who asks for it says why, and rules may guard it
	w.pass(3 * lifecycle.Hour)
	w.no(state.RotationPaused, withdraw(1))
	w.ok(unpause())
	w.ok(withdraw(1))
	if w.l.View().Key(ci).Pause != nil {
		t.Error("it is paused still")
	}
}

// TestPauseHoldsNoIncident: what ends trust, and what an emergency makes, goes on.
func TestPauseHoldsNoIncident(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(pause())
	w.ok(suspend(1))
	w.ok(resume(1))
	w.ok(emergency(w, 2))
	w.ok(bind(ci, 2, w.nodes[0]))
	w.state(2, lifecycle.Active)
	w.state(1, lifecycle.Compromised)
	w.ok(w.change(func(p *lifecycle.Policy) { p.MaxTTL-- }))
	if w.l.View().Key(ci).Pause == nil {
		t.Error("the pause was lost on the way")
	}
}

func TestSkipGateActivate(t *testing.T) {
	w := newWorld(t).active(1).bound(2)
	w.no(state.NotPublished, skip(2, lifecycle.GateActivate))
	w.ok(publish(2))
	w.no(state.LeadNotPassed, activate(2))
	w.no(state.IllegalTransition, skip(1, lifecycle.GateActivate)) // it signs
	w.no(state.IllegalTransition, skip(2, lifecycle.GateWithdraw))
	w.ok(skip(2, lifecycle.GateActivate))
	if s := w.version(2).Skips(lifecycle.GateActivate); s == nil || s.By != "admin" || s.Comment != "nobody needs it" || s.At != w.l.View().Clock() {
		t.Errorf("skip %+v", s)
	}
	if l := w.lastLeaf(); l.Kind != "rotation.skipped" || l.Version != 2 || l.Before != "activate" || l.Reason != "nobody needs it" {
		t.Errorf("leaf %+v", l)
	}
	w.no(state.IllegalTransition, skip(2, lifecycle.GateActivate))
	w.state(2, lifecycle.PreActivation) // the step itself is the plan's
	w.ok(activate(2))
	w.signs(2, 0, 1, 2)
}

func TestNothingToSkip(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.pass(lifecycle.Hour)
	w.no(state.IllegalTransition, skip(2, lifecycle.GateActivate)) // its lead is over
	w.ok(activate(2))
	w.pass(2 * lifecycle.Hour)
	w.no(state.IllegalTransition, skip(1, lifecycle.GateWithdraw)) // its window is over
	w.ok(withdraw(1))
	w.no(state.IllegalTransition, skip(1, lifecycle.GateWithdraw))
	w.ok(revoke(lifecycle.KeyCompromise, 2))
	w.no(state.IllegalTransition, skip(2, lifecycle.GateWithdraw))
}

// TestSkippedGateIsNoReadiness: enough instances are still asked for.
func TestSkippedGateIsNoReadiness(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.ok(skip(2, lifecycle.GateActivate))
	for _, node := range w.nodes {
		w.ok(report(node, 2, lifecycle.Lost))
	}
	w.no(state.NotReady, activate(2))
}

func TestSkipGateWithdraw(t *testing.T) {
	w := newWorld(t)
	c := newKey(ci, w.nodes...)
	c.Policy.VerifyWindow = 0
	w.ok(c)
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(activate(1))
	w.active(2)
	w.pass(100 * lifecycle.Day)
	w.no(state.WaitNotPassed, withdraw(1)) // nothing ends by time alone
	w.ok(skip(1, lifecycle.GateWithdraw))
	w.ok(withdraw(1))
	w.trusts(1)
}

func TestRollBack(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.no(state.IllegalTransition, rollBack(1))
	w.l.HoldFences(true)
	w.ok(rollBack(2))
	if l := w.lastLeaf(); l.Kind != "rotation.paused" || l.Reason != "ci/2 was rolled back: made by mistake" {
		t.Errorf("leaf %+v", l)
	}
	w.state(2, lifecycle.Deactivated)
	w.trusts(2)
	w.state(1, lifecycle.Active)
	w.signs(1, 0, 1, 2)
	v := w.version(2)
	if v.RolledBackAt == 0 || v.ActivatedAt != 0 {
		t.Errorf("version %+v", v)
	}
	if open := w.l.View().OpenFences(); len(open) != 1 || open[0].Cause != "key.rolled_back" || open[0].Event("fenced") != "key.fenced" {
		t.Errorf("fences %+v", open)
	}
	for _, b := range []command.Body{rollBack(2), activate(2), early(2), publish(2), skip(2, lifecycle.GateActivate), skip(2, lifecycle.GateWithdraw), withdraw(2)} {
		w.no(state.IllegalTransition, b)
	}
	w.no(state.RotationPaused, &command.PrepareVersion{Key: ci, Version: 3, Instances: intents(ci, 3, w.nodes...)})
	w.ok(unpause())
	w.active(3)
	w.no(state.IllegalTransition, rollBack(3)) // it signs
}

func TestRollBackBeforePublication(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.change(func(p *lifecycle.Policy) { p.RotateEvery = 0 }))
	w.prepared(2)
	w.ok(rollBack(2))
	if p := w.l.View().Key(ci).Pause; p != nil {
		t.Errorf("nothing would be made by itself, and the plan is paused: %+v", p)
	}
	w.ok(bind(ci, 2, w.nodes[0])) // it was on its way; nobody trusts it
	w.trusts(2)
	w.prepared(3)
}

// TestRollBackToSomething: without another version to go back to nothing would sign.
func TestRollBackToSomething(t *testing.T) {
	w := newWorld(t).prepared(1)
	w.no(state.IllegalTransition, rollBack(1))
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(activate(1))
	w.bound(2)
	w.ok(suspend(1))
	w.ok(rollBack(2)) // the first comes back
	w.ok(unpause())
	w.ok(resume(1))
	w.bound(3)
	w.ok(revoke(lifecycle.Superseded, 1))
	w.no(state.IllegalTransition, rollBack(3))
}

// TestCancelledDestructionIsRemembered, so that the plan does not ask for it again.
func TestCancelledDestructionIsRemembered(t *testing.T) {
	w := newWorld(t).deactivated(1)
	w.ok(destroyAt(1, w.l.Clock().At().Add(30*lifecycle.Day)))
	if w.version(1).Kept {
		t.Error("kept though its destruction is on its way")
	}
	w.ok(cancelDestroy(1))
	if !w.version(1).Kept {
		t.Error("forgotten")
	}
	w.ok(destroyAt(1, w.l.Clock().At().Add(30*lifecycle.Day))) // whoever asks for it gets it
}

func TestNoteWaiting(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.no(state.Invalid, &command.NoteWaiting{Key: ci, Version: 2, For: "nobody"}) // not the cluster's word
	if o := w.waiting(1); o.Code != state.IllegalTransition {
		t.Errorf("outcome %+v", o)
	}
	if o := w.waiting(2); !o.OK() {
		t.Fatalf("outcome %+v", o)
	}
	if l := w.lastLeaf(); l.Kind != "rotation.waiting" || l.Version != 2 || l.Reason != "consumer deploy-eu of eu@example.com" {
		t.Errorf("leaf %+v", l)
	}
	if at := w.version(2).NotedAt; at != w.l.View().Clock() {
		t.Errorf("noted at %s", at)
	}
}

// TestSkippingNeedsApprovals where a rule says so; pausing and rolling back never wait.
func TestSkippingNeedsApprovals(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.ok(approver("alice", ed25519Key("alice")))
	w.ok(w.settings(func(s *lifecycle.Settings) {
		for _, v := range []lifecycle.ApprovalVerb{lifecycle.ApproveSkip, lifecycle.ApproveCluster, lifecycle.ApprovePrincipals} {
			s.Approvals = append(s.Approvals, lifecycle.ApprovalRule{Verb: v, Needs: 1, Approvers: []string{"alice"}})
		}
	}))
	w.no(state.ApprovalRequired, skip(2, lifecycle.GateActivate))
	w.ok(w.opening(1, skip(2, lifecycle.GateActivate)))
	w.approvedBy(1, "alice")
	w.no(state.IntentMismatch, w.execution(1, skip(2, lifecycle.GateWithdraw)))
	w.ok(w.execution(1, skip(2, lifecycle.GateActivate)))
	if s := w.version(2).Skips(lifecycle.GateActivate); s == nil {
		t.Error("not skipped")
	}
	w.ok(pause())
	w.ok(unpause())
	w.ok(rollBack(2))
}
