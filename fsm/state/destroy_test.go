package state_test

import (
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func destroyAt(n uint64, at lifecycle.Instant) *command.ScheduleDestroy {
	return &command.ScheduleDestroy{Key: ci, Version: n, DestroyAt: at}
}

func cancelDestroy(n uint64) *command.ScheduleDestroy {
	return &command.ScheduleDestroy{Key: ci, Version: n, Cancel: true}
}

func erase(n uint64) *command.BeginErasure { return &command.BeginErasure{Key: ci, Version: n} }

func erased(node lifecycle.NodeID, n uint64) *command.ConfirmErased {
	return &command.ConfirmErased{Key: ci, Version: n, Node: node, Evidence: "two look-ups found nothing"}
}

// doomed goes on to where nodes may erase a deactivated version 1.
func (w *world) doomed() *world {
	w.Helper()
	w.deactivated(1)
	w.ok(destroyAt(1, w.l.Clock().At().Add(7*lifecycle.Day)))
	w.pass(7 * lifecycle.Day)
	w.ok(erase(1))
	return w
}

func TestDestroy(t *testing.T) {
	w := newWorld(t).active(1)
	in := func(d lifecycle.Milliseconds) lifecycle.Instant { return w.l.Clock().At().Add(d) }
	w.no(state.IllegalTransition, destroyAt(1, in(7*lifecycle.Day)))
	w.active(2)
	w.no(state.WaitNotPassed, destroyAt(1, in(7*lifecycle.Day-1)))
	w.no(state.IllegalTransition, cancelDestroy(1))
	w.no(state.IllegalTransition, erase(1))
	w.ok(destroyAt(1, in(7*lifecycle.Day)))
	w.no(state.IllegalTransition, destroyAt(1, in(8*lifecycle.Day)))
	w.no(state.IllegalTransition, erased(w.nodes[0], 1))
	w.ok(cancelDestroy(1))
	w.ok(destroyAt(1, in(7*lifecycle.Day)))
	w.no(state.WaitNotPassed, erase(1))
	w.trusts(1, 0, 1, 2)
	w.pass(7 * lifecycle.Day)
	w.ok(erase(1))
	w.trusts(1)
	w.no(state.IllegalTransition, erase(1))
	w.no(state.IllegalTransition, cancelDestroy(1))
	for node := range w.nodes {
		w.state(1, lifecycle.Deactivated)
		w.ok(erased(w.nodes[node], 1))
		w.ok(erased(w.nodes[node], 1)) // the answer was lost
	}
	w.state(1, lifecycle.Destroyed)
	if v := w.version(1); v.Erasing || !v.Distrusts() {
		t.Errorf("version %+v", v)
	}
	if i := w.instance(1, 0); i.Condition != lifecycle.Erased || i.ErasedAt == 0 || i.Detail == "" {
		t.Errorf("instance %+v", i)
	}
	for _, b := range []command.Body{activate(1), suspend(1), resume(1), deactivate(1), revoke(lifecycle.KeyCompromise, 1),
		revoke(lifecycle.Superseded, 1), destroyAt(1, in(30*lifecycle.Day)), erase(1)} {
		w.no(state.IllegalTransition, b)
	}
	w.signs(2, 0, 1, 2)
}

// TestDestroyWaitsForTheVerifyWindow: destroying takes a version out of the trust
// set for good, so it waits like a withdrawal, unless nobody trusts it any more.
func TestDestroyWaitsForTheVerifyWindow(t *testing.T) {
	w := newWorld(t)
	c := newKey(ci, w.nodes...)
	c.Policy.VerifyWindow = 30 * lifecycle.Day
	w.ok(c)
	w.ok(bind(ci, 1, w.nodes[0]))
	w.ok(activate(1))
	w.ok(deactivate(1))
	at := w.l.Clock().At()
	w.no(state.WaitNotPassed, destroyAt(1, at.Add(30*lifecycle.Day-1)))
	w.ok(destroyAt(1, at.Add(30*lifecycle.Day)))
	w.ok(cancelDestroy(1))
	w.ok(&command.Revoke{Key: ci, Reason: lifecycle.Superseded, Distrust: true})
	w.ok(destroyAt(1, at.Add(7*lifecycle.Day)))
}

// TestCompromisedOutlivesItsBytes: that a key was compromised is never forgotten.
func TestCompromisedOutlivesItsBytes(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(revoke(lifecycle.KeyCompromise))
	w.ok(destroyAt(1, w.l.Clock().At().Add(7*lifecycle.Day)))
	w.pass(7 * lifecycle.Day)
	w.ok(erase(1))
	for _, node := range w.nodes {
		w.ok(erased(node, 1))
	}
	w.state(1, lifecycle.Compromised)
	if v := w.version(1); v.Erasing || v.Revocation == nil || v.Revocation.Reason != lifecycle.KeyCompromise {
		t.Errorf("version %+v", v)
	}
	w.trusts(1)
}

func TestCompromisedWhileErasing(t *testing.T) {
	w := newWorld(t).doomed()
	w.ok(erased(w.nodes[0], 1))
	w.ok(revoke(lifecycle.KeyCompromise, 1))
	w.ok(erased(w.nodes[1], 1))
	w.ok(erased(w.nodes[2], 1))
	w.state(1, lifecycle.Compromised)
	if w.version(1).Erasing {
		t.Error("the erasure never ends")
	}
}

// TestNoHoldWhileErasing: a suspended version cannot be destroyed, and the erasure
// would never end.
func TestNoHoldWhileErasing(t *testing.T) {
	w := newWorld(t).doomed()
	w.no(state.IllegalTransition, suspend(1))
	w.no(state.IllegalTransition, revoke(lifecycle.CertificateHold, 1))
	for _, node := range w.nodes {
		w.ok(erased(node, 1))
	}
	w.state(1, lifecycle.Destroyed)
}

// TestHoldStopsADestruction that has not begun; it is asked for again afterwards.
func TestHoldStopsADestruction(t *testing.T) {
	w := newWorld(t).deactivated(1)
	w.ok(destroyAt(1, w.l.Clock().At().Add(7*lifecycle.Day)))
	w.ok(suspend(1))
	w.pass(7 * lifecycle.Day)
	w.no(state.IllegalTransition, erase(1))
	w.ok(resume(1))
	w.ok(erase(1))
}

// TestErasureDoesNotWaitForRemovedNodes, whether they leave before it begins or while
// it waits for them alone.
func TestErasureDoesNotWaitForRemovedNodes(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		w := newWorld(t).deactivated(1)
		w.ok(destroyAt(1, w.l.Clock().At().Add(7*lifecycle.Day)))
		w.remove(2)
		w.pass(7 * lifecycle.Day)
		w.ok(erase(1))
		w.ok(erased(w.nodes[0], 1))
		w.ok(erased(w.nodes[1], 1))
		w.state(1, lifecycle.Destroyed)
		w.namedInTheLog("gamma")
	})
	t.Run("while", func(t *testing.T) {
		w := newWorld(t).doomed()
		w.ok(erased(w.nodes[0], 1))
		w.ok(erased(w.nodes[1], 1))
		w.state(1, lifecycle.Deactivated)
		w.remove(2)
		w.state(1, lifecycle.Destroyed)
		w.namedInTheLog("gamma")
	})
	t.Run("all", func(t *testing.T) {
		w := newWorld(t)
		w.ok(newKey(ci, w.nodes[2]))
		w.ok(bind(ci, 1, w.nodes[2]))
		w.ok(activate(1))
		w.ok(deactivate(1))
		w.ok(destroyAt(1, w.l.Clock().At().Add(7*lifecycle.Day)))
		w.remove(2)
		w.pass(7 * lifecycle.Day)
		w.ok(erase(1))
		w.state(1, lifecycle.Destroyed)
	})
}

// namedInTheLog: the leaf about the destruction names the node nobody could ask.
func (w *world) namedInTheLog(node string) {
	w.Helper()
	found := false
	if err := w.l.View().Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool {
		found = found || l.Kind == "key.destroyed" && strings.Contains(l.Detail, node)
		return true
	}); err != nil {
		w.Fatal(err)
	}
	if !found {
		w.Errorf("no key.destroyed leaf names %s", node)
	}
}

// TestDestroyOfAnIssuer: what its certificates are judged by has to be signed as long as
// one of them lives.
func TestDestroyOfAnIssuer(t *testing.T) {
	for _, revoked := range []bool{false, true} {
		p := newPKI(t)
		f := p.issued("a.test", "web-01")
		p.ok(&command.DeactivateVersion{Key: corp, Version: 1})
		soon := p.l.Clock().At().Add(8 * lifecycle.Day)
		if revoked { // every CA certificate: no verifier comes as far as the CRL
			for node := range p.nodes {
				p.ok(&command.RevokeCertificates{Items: []command.RevokeItem{{Serial: p.caSerial(node), Reason: lifecycle.CessationOfOperation}}})
			}
			p.ok(&command.ScheduleDestroy{Key: corp, Version: 1, DestroyAt: soon})
			continue
		}
		p.no(state.WaitNotPassed, &command.ScheduleDestroy{Key: corp, Version: 1, DestroyAt: soon})
		p.no(state.WaitNotPassed, &command.ScheduleDestroy{Key: corp, Version: 1, DestroyAt: f.to - 1})
		p.ok(&command.ScheduleDestroy{Key: corp, Version: 1, DestroyAt: f.to})
	}
}
