package state_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// emergency replaces versions of ci (none named = all) by version n, on every node.
func emergency(w *world, n uint64, versions ...uint64) *command.Replace {
	return &command.Replace{Key: ci, Versions: versions, Version: n, Instances: intents(ci, n, w.nodes...), Reason: lifecycle.KeyCompromise,
		CompromisedSince: 1767350000000, Comment: "keys in a public repository"}
}

// TestReplace: one entry ends the old versions, the first instance makes the new one
// sign, and the nodes that come later join it one by one.
func TestReplace(t *testing.T) {
	w := newWorld(t).active(1).active(2)
	o := w.ok(emergency(w, 3))
	if fmt.Sprint(o.Versions) != "[1 2 3]" || o.Key != ci {
		t.Errorf("outcome %+v", o)
	}
	for n := uint64(1); n <= 2; n++ {
		w.state(n, lifecycle.Compromised)
		w.signs(n)
		w.trusts(n)
		if r := w.version(n).Revocation; r == nil || r.Reason != lifecycle.KeyCompromise || r.CompromisedSince != 1767350000000 || r.Index != o.Index || r.FencedAt == 0 || r.SettledAt == 0 {
			t.Errorf("version %d: revocation %+v", n, r)
		}
	}
	w.state(3, lifecycle.PreActivation)
	if v := w.version(3); !v.Emergency || v.Created.Index != o.Index || w.l.View().Key(ci).Newest != 3 || w.l.View().Key(ci).Active != 0 {
		t.Errorf("version %+v of key %+v", v, w.l.View().Key(ci))
	}
	w.ok(bind(ci, 3, w.nodes[1]))
	w.state(3, lifecycle.Active)
	w.signs(3, 1)
	w.trusts(3, 1)
	w.ok(bind(ci, 3, w.nodes[0]))
	w.signs(3, 0, 1)
	w.trusts(3, 0, 1)
	if k := w.l.View().Key(ci); k.Active != 3 {
		t.Errorf("active is version %d", k.Active)
	}
}

// TestReplaceLeaves: what an auditor, and whoever follows the events, is told.
func TestReplaceLeaves(t *testing.T) {
	w := newWorld(t).active(1)
	size := w.l.View().Position().LogSize
	w.ok(emergency(w, 2))
	w.ok(bind(ci, 2, w.nodes[0]))
	var kinds []string
	err := w.l.View().Leaves(size, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if kinds = append(kinds, l.Kind); l.Kind == "key.replaced" && (l.Version != 2 || l.Reason != "keyCompromise" || l.Detail != "in place of [1]: keys in a public repository") {
			t.Errorf("leaf %+v", l)
		}
		return true
	})
	want := []string{"key.revoked", "instance.compromised", "instance.compromised", "instance.compromised", "key.prepared", "key.replaced",
		"key.fenced", "key.settled", "instance.ready", "key.published", "key.activated"}
	for _, k := range want[:len(want)-3] {
		if !slices.Contains(kinds, k) {
			t.Errorf("there is no leaf %s in %v", k, kinds)
		}
	}
	if err != nil || len(kinds) != len(want) {
		t.Errorf("leaves %v (%v), want %v", kinds, err, want)
	}
}

// TestALateInstanceOfAnEmergency: while caches may hold the trust set from before, one
// key more surprises nobody; afterwards it has its lead like any.
func TestALateInstanceOfAnEmergency(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(emergency(w, 2))
	w.ok(bind(ci, 2, w.nodes[0]))
	w.pass(policy().JWKSMaxAge)
	w.ok(bind(ci, 2, w.nodes[1]))
	w.signs(2, 0, 1)
	w.pass(lifecycle.Second)
	w.ok(bind(ci, 2, w.nodes[2]))
	w.trusts(2, 0, 1, 2)
	w.signs(2, 0, 1)
	admit := &command.AdmitInstance{Key: ci, Version: 2, Node: w.nodes[2]}
	w.no(state.LeadNotPassed, admit)
	w.pass(policy().Lead)
	w.ok(admit)
	w.signs(2, 0, 1, 2)
}

// TestReplaceUnderWay: a version that was prepared before the compromise may share it.
func TestReplaceUnderWay(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(*world)
	}{
		{"pending", func(w *world) { w.prepared(3) }},
		{"bound", func(w *world) { w.bound(3) }},
		{"published", func(w *world) { w.published(3) }},
		{"on hold", func(w *world) { w.published(3).ok(suspend(3)) }},
	} {
		for _, reason := range []lifecycle.Reason{lifecycle.KeyCompromise, lifecycle.Superseded} {
			for _, named := range [][]uint64{nil, {2}} {
				t.Run(fmt.Sprint(c.name, reason, named), func(t *testing.T) {
					w := newWorld(t).active(1).active(2)
					c.start(w)
					body := emergency(w, 4, named...)
					if body.Reason = reason; !reason.IsCompromise() {
						body.CompromisedSince = 0
					}
					w.ok(body)
					if got := w.version(3); got.State != lifecycle.Compromised && got.State != lifecycle.Deactivated || got.InTrustSet() {
						t.Errorf("the half-made version is %+v", got)
					}
					if i := w.l.View().Instance(ci, 3, w.nodes[0]); i.Condition == lifecycle.Pending {
						w.ok(bind(ci, 3, w.nodes[0]))
					}
					w.no(state.IllegalTransition, early(3))
					w.no(state.RotationOpen, &command.PrepareVersion{Key: ci, Version: 5, Instances: intents(ci, 5, w.nodes...)})
					w.ok(bind(ci, 4, w.nodes[0]))
					w.signs(4, 0)
					for n := uint64(1); n <= 3; n++ {
						w.signs(n)
					}
				})
			}
		}
	}
}

// TestReplaceNamed: only what is named is revoked, but nothing else may sign.
func TestReplaceNamed(t *testing.T) {
	w := newWorld(t).active(1).active(2)
	w.no(state.IllegalTransition, emergency(w, 3, 1))
	w.no(state.VersionNotFound, emergency(w, 3, 2, 9))
	w.ok(emergency(w, 3, 2))
	w.state(1, lifecycle.Deactivated)
	w.trusts(1, 0, 1, 2)
	w.state(2, lifecycle.Compromised)
	w.ok(bind(ci, 3, w.nodes[2]))
	w.signs(3, 2)
}

// TestReplaceOnHold: what was on hold does not come back to signing.
func TestReplaceOnHold(t *testing.T) {
	w := newWorld(t).active(1).published(2)
	w.ok(suspend(1))
	w.ok(emergency(w, 3, 2))
	w.ok(resume(1))
	w.state(1, lifecycle.Deactivated)
	w.ok(bind(ci, 3, w.nodes[0]))
	w.signs(3, 0)

	w = newWorld(t).active(1)
	w.ok(suspend(1))
	w.ok(emergency(w, 2))
	w.state(1, lifecycle.Compromised)
	w.no(state.IllegalTransition, resume(1))
}

// TestReplaceWithNothingLeft: a key whose versions are all revoked gets a new one, and
// a fence all the same.
func TestReplaceWithNothingLeft(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(revoke(lifecycle.KeyCompromise))
	o := w.ok(emergency(w, 2))
	if fmt.Sprint(o.Versions) != "[2]" {
		t.Errorf("outcome %+v", o)
	}
	if f := w.l.View().Fence(o.Index); f == nil || f.FencedAt == 0 || len(f.Versions) != 0 {
		t.Errorf("fence %+v", f)
	}
	w.ok(bind(ci, 2, w.nodes[0]))
	w.signs(2, 0)
}

// TestEmergencyOnHold: somebody stopped the new version before it was made. It waits,
// and is taken into use when it may.
func TestEmergencyOnHold(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(emergency(w, 2))
	w.ok(suspend(2))
	w.ok(bind(ci, 2, w.nodes[0]))
	w.state(2, lifecycle.Suspended)
	w.trusts(2)
	w.ok(resume(2))
	w.ok(activate(2)) // what the leader's loop proposes; no lead and one instance will do
	w.signs(2, 0)
}

// TestEmergencyWithoutANodeThatSigns: an instance that could not sign starts nothing.
func TestEmergencyWithoutANodeThatSigns(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(emergency(w, 2))
	w.quarantine(1)
	w.ok(bind(ci, 2, w.nodes[1]))
	w.state(2, lifecycle.PreActivation)
	w.ok(bind(ci, 2, w.nodes[0]))
	w.state(2, lifecycle.Active)
	w.signs(2, 0, 1) // beta's row says so; its quarantine holds it
}

func TestReplaceIgnoresMinReady(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.change(func(p *lifecycle.Policy) { p.MinReady = 3 }))
	w.ok(emergency(w, 2))
	w.ok(bind(ci, 2, w.nodes[0]))
	w.signs(2, 0)
}

func TestReplaceRefused(t *testing.T) {
	w := newWorld(t).active(1)
	w.no(state.Conflict, emergency(w, 1))
	w.no(state.Conflict, emergency(w, 3))
	unknown := emergency(w, 2)
	unknown.Key = "nobody"
	w.no(state.KeyNotFound, unknown)
	hold := emergency(w, 2)
	hold.Reason, hold.CompromisedSince = lifecycle.CertificateHold, 0
	w.no(state.Invalid, hold)
	w.quarantine(2)
	w.no(state.NodeNotMember, emergency(w, 2)) // nothing half done: the old version signs on
	w.signs(1, 0, 1, 2)
}

// TestTwoReplacements: the second ends what the first one made.
func TestTwoReplacements(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(emergency(w, 2))
	w.ok(emergency(w, 3))
	w.ok(bind(ci, 2, w.nodes[0]))
	w.state(2, lifecycle.Compromised)
	w.ok(bind(ci, 3, w.nodes[1]))
	w.signs(3, 1)
	w.ok(emergency(w, 4, 3))
	w.ok(bind(ci, 4, w.nodes[1]))
	w.signs(3)
	w.signs(4, 1)
}

// TestEmergencies are known until their fences are settled.
func TestEmergencies(t *testing.T) {
	w := newWorld(t).active(1)
	w.l.HoldFences(true)
	w.l.HoldSettling(true)
	w.ok(revoke(lifecycle.KeyCompromise)) // another fence
	if got := w.l.View().Emergencies(); len(got) != 0 {
		t.Errorf("a revocation: %+v", got)
	}
	w.ok(emergency(w, 2))
	known := func(want string) {
		t.Helper()
		var got []uint64
		for _, v := range w.l.View().Emergencies() {
			got = append(got, v.Number)
		}
		if fmt.Sprint(got) != want {
			t.Errorf("emergencies %v, want %s", got, want)
		}
	}
	known("[2]")
	w.ok(emergency(w, 3))
	known("[2 3]")
	w.l.HoldFences(false)
	known("[2 3]")
	w.l.HoldSettling(false)
	known("[]")
}
