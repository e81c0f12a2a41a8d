package state

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func accepted(k lifecycle.KeyID, n ...uint64) Outcome {
	o := Outcome{Subject: string(k), Key: k, Versions: n}
	if len(n) == 1 {
		o.Subject = subject(k, n[0])
	}
	return o
}

// move writes the version in its next state, or refuses by the table.
func (x *tx) move(old *lifecycle.Version, verb lifecycle.Verb, change func(*lifecycle.Version)) (lifecycle.Version, Outcome) {
	next, ok := lifecycle.Next(old.State, verb, old.SuspendedFrom)
	if !ok {
		return *old, refuse(IllegalTransition, subject(old.Key, old.Number), "the version is %s: %s is not possible", old.State, verb)
	}
	if next == lifecycle.Suspended && old.Erasing {
		return *old, refuse(IllegalTransition, subject(old.Key, old.Number), "its keys are being erased: that cannot be paused")
	}
	v := *old
	if v.State != next {
		v.SinceAt = x.now()
	}
	v.State = next
	if next == lifecycle.Suspended {
		v.SuspendedFrom = old.State
	} else {
		v.SuspendedFrom = 0
	}
	if next == lifecycle.Deactivated && v.DeactivatedAt == 0 {
		v.DeactivatedAt = x.now()
	}
	if change != nil {
		change(&v)
	}
	x.putVersion(v)
	x.setActive(&v)
	return v, Outcome{}
}

// setActive keeps the key's pointer to its one active version.
func (x *tx) setActive(v *lifecycle.Version) {
	k := *x.key(v.Key)
	switch {
	case v.State == lifecycle.Active && k.Active != v.Number:
		k.Active = v.Number
	case v.State != lifecycle.Active && k.Active == v.Number:
		k.Active = 0
	default:
		return
	}
	x.putKey(k)
}

func (x *tx) prepareVersion(c *command.PrepareVersion) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if c.Version != old.Newest+1 {
		return refuse(Conflict, string(c.Key), "the next version is %d, not %d", old.Newest+1, c.Version)
	}
	if o := x.notPaused(old); !o.OK() {
		return o
	}
	for _, v := range x.versions(c.Key) {
		if v.State == lifecycle.PreActivation {
			return refuse(RotationOpen, subject(c.Key, v.Number), "this version waits to be activated: activate it, or roll it back first")
		}
	}
	k := *old
	k.Newest = c.Version
	x.putKey(k)
	return x.addVersion(&k, lifecycle.Version{Number: c.Version}, c.Instances)
}

// ready counts the instances that could sign.
func (x *tx) ready(v *lifecycle.Version) (n int) {
	for _, i := range x.instances(v.Key, v.Number) {
		if i.Condition == lifecycle.Ready {
			n++
		}
	}
	return n
}

func (x *tx) enough(k *lifecycle.Key, v *lifecycle.Version) Outcome {
	want := max(1, k.Policy.MinReady)
	if v.Emergency {
		want = 1
	}
	if have := x.ready(v); have < want {
		return refuse(NotReady, subject(k.ID, v.Number), "%d instances are ready, the policy wants %d", have, want)
	}
	return Outcome{}
}

// publish puts the version and its ready instances into the trust set.
func (x *tx) publish(old *lifecycle.Version) *lifecycle.Version {
	v := *old
	v.PublishedAt = x.now()
	x.putVersion(v)
	for _, oldInstance := range x.instances(v.Key, v.Number) {
		if oldInstance.Condition == lifecycle.Ready {
			i := *oldInstance
			i.PublishedAt = x.now()
			x.putInstance(i)
		}
	}
	x.record(Leaf{Kind: "key.published", Key: v.Key, Version: v.Number, Before: v.State.String(), After: v.State.String()})
	return &v
}

func (x *tx) publishVersion(c *command.PublishVersion) Outcome {
	k, v, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	if v.State != lifecycle.PreActivation || v.PublishedAt != 0 {
		return refuse(IllegalTransition, subject(k.ID, v.Number), "the version is %s and was published at %q: there is nothing to publish", v.State, v.PublishedAt)
	}
	if o := x.goesOn(k, v); !o.OK() {
		return o
	}
	if o := x.enough(k, v); !o.OK() {
		return o
	}
	x.publish(v)
	return accepted(k.ID, v.Number)
}

func (x *tx) activateVersion(c *command.ActivateVersion) Outcome {
	k, v, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, v.Number)
	if _, ok := lifecycle.Next(v.State, lifecycle.Activate, 0); !ok {
		return refuse(IllegalTransition, name, "the version is %s: activate is not possible", v.State)
	}
	if newer := x.overtaken(v); newer != 0 {
		return refuse(IllegalTransition, name, "version %d has been active since: prepare a new version instead", newer)
	}
	if o := x.enough(k, v); !o.OK() {
		return o
	}
	if o := x.mayIssueNext(k, v); !o.OK() {
		return o
	}
	if !c.Early {
		if o := x.goesOn(k, v); !o.OK() {
			return o
		}
		if o := x.passActivate(k, v); !o.OK() {
			return o
		}
	}
	return x.putToUse(k, v, c.Early || !v.Gated(), c.Comment)
}

// mayIssueNext refuses the next version of an issuer as long as a node could not issue
// with it, early or not: all that an early activation would bring is that issuing stops.
func (x *tx) mayIssueNext(k *lifecycle.Key, v *lifecycle.Version) Outcome {
	if !v.Gated() {
		return Outcome{}
	}
	if nodes := x.view().uncertified(k.ID, v.Number, x.clock); len(nodes) > 0 {
		return refuse(NotReady, subject(k.ID, v.Number), "the instances on %s have no CA certificate: they would issue nothing; chancery rotation skip lets it pass without", namesOf(nodes))
	}
	return Outcome{}
}

// passActivate refuses a version that stands before a closed gate.
func (x *tx) passActivate(k *lifecycle.Key, v *lifecycle.Version) Outcome {
	g, name := x.gate(k, v, lifecycle.GateActivate), subject(k.ID, v.Number)
	switch {
	case g.Open:
		return Outcome{}
	case v.PublishedAt == 0:
		return refuse(NotPublished, name, "verifiers have not seen this version: it is published when its instances are ready")
	case x.clock < g.OpensAt:
		return refuse(LeadNotPassed, name, "published at %s, with a lead of %s it may sign from %s", v.PublishedAt, k.Policy.Lead, g.OpensAt)
	}
	return refuse(NotConfirmed, name, "%s have not proven that they know it; chancery consumer waive lets it pass without one, chancery rotation skip without all", owned(g.Holdouts))
}

// putToUse activates a version that may be, publishes it when it is not, and retires
// those before it.
func (x *tx) putToUse(k *lifecycle.Key, v *lifecycle.Version, early bool, comment string) Outcome {
	if v.PublishedAt == 0 {
		v = x.publish(v)
	}
	if retired := x.retirePredecessors(k, v.Number); retired != 0 {
		x.openFence("key.deactivated", k.ID, []uint64{retired}, "")
	}
	now, o := x.move(v, lifecycle.Activate, func(v *lifecycle.Version) { v.ActivatedAt = x.now() })
	if !o.OK() {
		return o
	}
	if x.admitPublished(k, &now, early) == 0 {
		return refuse(LeadNotPassed, subject(k.ID, v.Number), "no instance that is ready has been published for the lead of %s", k.Policy.Lead)
	}
	x.record(Leaf{Kind: "key.activated", Key: k.ID, Version: v.Number, Before: v.State.String(), After: now.State.String(), Detail: comment})
	return accepted(k.ID, v.Number)
}

// overtaken is the number of a later version that was active, 0 when there is none.
func (x *tx) overtaken(v *lifecycle.Version) uint64 {
	for _, other := range x.versions(v.Key) {
		if other.Number > v.Number && other.ActivatedAt != 0 {
			return other.Number
		}
	}
	return 0
}

// retirePredecessors deactivates the active version, and sees to it that a
// suspended one does not come back as a second active version. It returns the
// number of the version that was active, 0 when none was.
func (x *tx) retirePredecessors(k *lifecycle.Key, successor uint64) (active uint64) {
	for _, old := range x.versions(k.ID) {
		if old.Number == successor {
			continue
		}
		switch {
		case old.State == lifecycle.Active:
			v, _ := x.move(old, lifecycle.Deactivate, nil)
			x.record(Leaf{Kind: "key.deactivated", Key: k.ID, Version: v.Number, Before: old.State.String(), After: v.State.String(), Detail: "succeeded"})
			active = v.Number
		case old.State == lifecycle.Suspended && old.SuspendedFrom == lifecycle.Active:
			v := *old
			v.SuspendedFrom, v.DeactivatedAt = lifecycle.Deactivated, x.now()
			x.putVersion(v)
		}
	}
	return active
}

// admitPublished lets the instances sign whose public keys were out long enough,
// and counts them.
func (x *tx) admitPublished(k *lifecycle.Key, v *lifecycle.Version, early bool) (n int) {
	for _, old := range x.instances(k.ID, v.Number) {
		if old.Condition == lifecycle.Ready && old.PublishedAt != 0 && (early || x.clock >= old.PublishedAt.Add(k.Policy.Lead)) {
			i := *old
			i.AdmittedAt = x.now()
			x.putInstance(i)
			n++
		}
	}
	return n
}

func (x *tx) suspendVersion(c *command.SuspendVersion) Outcome {
	return x.simple(c.Key, c.Version, lifecycle.Suspend, "key.suspended", c.Comment)
}

func (x *tx) deactivateVersion(c *command.DeactivateVersion) Outcome {
	return x.simple(c.Key, c.Version, lifecycle.Deactivate, "key.deactivated", c.Comment)
}

func (x *tx) resumeVersion(c *command.ResumeVersion) Outcome {
	k, v, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	if v.State == lifecycle.Suspended && v.SuspendedFrom == lifecycle.Active && k.Active != 0 {
		return refuse(IllegalTransition, subject(k.ID, v.Number), "version %d is active meanwhile: deactivate this one instead", k.Active)
	}
	return x.simple(c.Key, c.Version, lifecycle.Resume, "key.resumed", c.Comment)
}

func (x *tx) simple(key lifecycle.KeyID, n uint64, verb lifecycle.Verb, kind, comment string) Outcome {
	k, old, o := x.find(key, n)
	if !o.OK() {
		return o
	}
	v, o := x.move(old, verb, nil)
	if !o.OK() {
		return o
	}
	if verb == lifecycle.Resume && v.Revocation != nil && v.Revocation.Reason == lifecycle.CertificateHold {
		v.Revocation = nil
		x.putVersion(v)
	}
	x.record(Leaf{Kind: kind, Key: k.ID, Version: v.Number, Before: old.State.String(), After: v.State.String(), Detail: comment})
	if verb != lifecycle.Resume {
		x.openFence(kind, k.ID, []uint64{v.Number}, "")
	}
	return accepted(k.ID, v.Number)
}

func (x *tx) withdrawVersion(c *command.WithdrawVersion) Outcome {
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, old.Number)
	if old.State != lifecycle.Deactivated || old.Withdrawn {
		return refuse(IllegalTransition, name, "the version is %s: only a deactivated version in the trust set can be withdrawn", old.State)
	}
	if o := x.goesOn(k, old); !o.OK() {
		return o
	}
	switch g := x.gate(k, old, lifecycle.GateWithdraw); {
	case g.Open:
	case g.OpensAt == 0:
		return refuse(WaitNotPassed, name, "its policy has no verify window that could end: chancery rotation skip %s --version %d --gate %s takes it out of the trust set", k.ID, old.Number, lifecycle.GateWithdraw)
	default:
		return refuse(WaitNotPassed, name, "what it signed may be verified until %s; to distrust it now: chancery key revoke %s --version %d --distrust", g.OpensAt, k.ID, old.Number)
	}
	v := *old
	v.Withdrawn = true
	x.putVersion(v)
	x.record(Leaf{Kind: "key.withdrawn", Key: k.ID, Version: v.Number, Before: v.State.String(), After: v.State.String(), Detail: c.Comment})
	return accepted(k.ID, v.Number)
}

func (x *tx) scheduleDestroy(c *command.ScheduleDestroy) Outcome {
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, old.Number)
	v := *old
	if c.Cancel {
		if old.DestroyAt == 0 || old.Erasing || old.State == lifecycle.Destroyed {
			return refuse(IllegalTransition, name, "there is no destruction that could still be cancelled")
		}
		v.DestroyAt, v.Kept = 0, true
		x.putVersion(v)
		x.record(Leaf{Kind: "key.destroy_cancelled", Key: k.ID, Version: v.Number, Detail: c.Comment})
		return accepted(k.ID, v.Number)
	}
	if _, ok := lifecycle.Next(old.State, lifecycle.Destroy, 0); !ok {
		return refuse(IllegalTransition, name, "the version is %s: deactivate or revoke it before its keys are destroyed", old.State)
	}
	if old.DestroyAt != 0 {
		return refuse(IllegalTransition, name, "its destruction was asked for already, for %s", old.DestroyAt)
	}
	if first := x.now().Add(k.Policy.DestroyWait); c.DestroyAt < first {
		return refuse(WaitNotPassed, name, "the policy's waiting period of %s allows destruction from %s", k.Policy.DestroyWait, first)
	}
	if until := old.DeactivatedAt.Add(k.Policy.VerifyWindow); old.InTrustSet() && c.DestroyAt < until {
		return refuse(WaitNotPassed, name, "what it signed may be verified until %s; to distrust it now: chancery key revoke %s --version %d --distrust", until, k.ID, old.Number)
	}
	if until := x.view().ListedUntil(k.ID, old.Number); old.State == lifecycle.Deactivated && c.DestroyAt < until {
		return refuse(WaitNotPassed, name, "certificates that it signed live until %s, and until then it signs the CRLs and OCSP answers about them", until)
	}
	v.DestroyAt = c.DestroyAt
	x.putVersion(v)
	x.record(Leaf{Kind: "key.destroy_scheduled", Key: k.ID, Version: v.Number, After: c.DestroyAt.String(), Detail: c.Comment})
	return accepted(k.ID, v.Number)
}

func (x *tx) beginErasure(c *command.BeginErasure) Outcome {
	k, old, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, old.Number)
	if old.DestroyAt == 0 || old.Erasing {
		return refuse(IllegalTransition, name, "no destruction is waiting")
	}
	if _, ok := lifecycle.Next(old.State, lifecycle.Destroy, 0); !ok {
		return refuse(IllegalTransition, name, "the version is %s", old.State)
	}
	if x.clock < old.DestroyAt {
		return refuse(WaitNotPassed, name, "the waiting period ends at %s", old.DestroyAt)
	}
	v := *old
	v.Erasing, v.Withdrawn = true, true
	x.putVersion(v)
	x.record(Leaf{Kind: "key.erasing", Key: k.ID, Version: v.Number, Before: v.State.String(), After: v.State.String()})
	x.finishErasure(&v) // every instance may be gone with its node
	return accepted(k.ID, v.Number)
}
