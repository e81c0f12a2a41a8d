package state

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// goesOn refuses a step of the plan of a key whose plan is paused. An emergency is no
// step of a plan.
func (x *tx) goesOn(k *lifecycle.Key, v *lifecycle.Version) Outcome {
	if v.Emergency {
		return Outcome{}
	}
	return x.notPaused(k)
}

func (x *tx) notPaused(k *lifecycle.Key) Outcome {
	if p := k.Pause; p != nil {
		return refuse(RotationPaused, string(k.ID), "its rotation is paused since %s by %s: %s", p.At, p.By, p.Reason)
	}
	return Outcome{}
}

func (x *tx) pauseRotation(c *command.PauseRotation) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if o := x.notPaused(old); !o.OK() {
		return o
	}
	x.pause(old, c.Reason)
	return accepted(c.Key)
}

func (x *tx) pause(old *lifecycle.Key, reason string) {
	k := *old
	k.Pause = &lifecycle.Pause{At: x.now(), By: x.head.Actor, Reason: reason}
	x.putKey(k)
	x.record(Leaf{Kind: "rotation.paused", Key: k.ID, Reason: reason})
}

func (x *tx) resumeRotation(c *command.ResumeRotation) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if old.Pause == nil {
		return refuse(IllegalTransition, string(c.Key), "its rotation is not paused")
	}
	k := *old
	k.Pause = nil
	x.putKey(k)
	x.record(Leaf{Kind: "rotation.resumed", Key: k.ID, Reason: c.Comment})
	return accepted(c.Key)
}

// skipGate opens the gate that the version stands before. The step behind it is the
// plan's, as ever: it happens when enough instances are ready, and not while the plan is
// paused.
func (x *tx) skipGate(c *command.SkipGate) Outcome {
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, old.Number)
	if s := old.Skips(c.Gate); s != nil {
		return refuse(IllegalTransition, name, "%s skipped the gate %s at %s: it is open", s.By, s.Gate, s.At)
	}
	var g Gate
	switch {
	case c.Gate == lifecycle.GateActivate && old.State == lifecycle.PreActivation && old.PublishedAt == 0:
		return refuse(NotPublished, name, "it does not stand before the gate %s yet: it is published when its instances are ready", c.Gate)
	case c.Gate == lifecycle.GateActivate && old.State == lifecycle.PreActivation:
		g = x.gate(k, old, c.Gate)
	case c.Gate == lifecycle.GateWithdraw && old.State == lifecycle.Deactivated && old.InTrustSet():
		g = x.gate(k, old, c.Gate)
	default:
		return refuse(IllegalTransition, name, "the version is %s%s: it does not stand before the gate %s", old.State, outOfTrustSet(old), c.Gate)
	}
	if g.Open {
		return refuse(IllegalTransition, name, "nothing closes the gate %s: the plan takes the next step by itself", c.Gate)
	}
	v := *old
	v.Skipped = append(old.Skipped[:len(old.Skipped):len(old.Skipped)], lifecycle.Skip{Gate: c.Gate, At: x.now(), By: x.head.Actor, Comment: c.Comment})
	x.putVersion(v)
	x.record(Leaf{Kind: "rotation.skipped", Key: k.ID, Version: v.Number, Before: string(c.Gate), After: "open", Reason: c.Comment})
	return accepted(k.ID, v.Number)
}

func outOfTrustSet(v *lifecycle.Version) string {
	if v.PublishedAt == 0 || v.InTrustSet() {
		return ""
	}
	return " and out of the trust set"
}

// rollBack gives a version up before it has signed. It opens a fence like everything
// that takes trust away: who kept a good answer about it drops that.
func (x *tx) rollBack(c *command.RollBack) Outcome {
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, old.Number)
	switch {
	case old.State != lifecycle.PreActivation:
		return refuse(IllegalTransition, name, "the version is %s: only one that waits to be activated can be rolled back; what has signed is revoked, or rotated again", old.State)
	case !x.otherSigns(old):
		return refuse(IllegalTransition, name, "no other version of the key signs or is on hold: there is nothing to go back to; to end it all the same: chancery key revoke %s --version %d", k.ID, old.Number)
	}
	v, o := x.move(old, lifecycle.Retire, func(v *lifecycle.Version) { v.Withdrawn, v.RolledBackAt = true, x.now() })
	if !o.OK() {
		return o
	}
	x.record(Leaf{Kind: "key.rolled_back", Key: k.ID, Version: v.Number, Before: old.State.String(), After: v.State.String(), Reason: c.Comment})
	if k.Pause == nil && k.Policy.RotateEvery > 0 { // or the plan would make the next one at once
		x.pause(x.key(k.ID), subject(k.ID, v.Number)+" was rolled back: "+c.Comment)
	}
	x.openFence("key.rolled_back", k.ID, []uint64{v.Number}, "")
	return accepted(k.ID, v.Number)
}

// otherSigns reports whether a version other than v signs, or would after its hold.
func (x *tx) otherSigns(v *lifecycle.Version) bool {
	for _, other := range x.versions(v.Key) {
		if other.Number != v.Number && (other.State == lifecycle.Active || other.State == lifecycle.Suspended && other.SuspendedFrom == lifecycle.Active) {
			return true
		}
	}
	return false
}

// noteWaiting is the cluster's own word, like that about fences.
func (x *tx) noteWaiting(c *command.NoteWaiting) Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself says what a rotation waits for")
	}
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	if old.State != lifecycle.PreActivation {
		return refuse(IllegalTransition, subject(k.ID, old.Number), "the version is %s: it does not wait to be activated", old.State)
	}
	v := *old
	v.NotedAt = x.now()
	x.putVersion(v)
	x.record(Leaf{Kind: "rotation.waiting", Key: k.ID, Version: v.Number, Before: v.State.String(), After: v.State.String(), Reason: c.For})
	return accepted(k.ID, v.Number)
}
