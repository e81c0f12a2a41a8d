package state

import (
	"bytes"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) planInstances(c *command.PlanInstances) Outcome {
	k, v, o := x.find(c.Key, c.Version)
	if !o.OK() {
		return o
	}
	if !grows(v) {
		return refuse(IllegalTransition, subject(k.ID, v.Number), "the version is %s: it gets no more instances", v.State)
	}
	if o := x.addIntents(k, v.Number, c.Instances); !o.OK() {
		return o
	}
	for _, in := range c.Instances {
		x.record(Leaf{Kind: "instance.planned", Key: k.ID, Version: v.Number, Node: in.Node, After: lifecycle.Pending.String()})
	}
	return Outcome{Subject: subject(k.ID, v.Number), Key: k.ID, Versions: []uint64{v.Number}}
}

// grows reports whether the version may get public keys that nobody has seen yet.
// One that has ended never does, or revoking it would leave a door open.
func grows(v *lifecycle.Version) bool {
	switch v.State {
	case lifecycle.PreActivation, lifecycle.Active:
		return true
	case lifecycle.Suspended:
		return v.SuspendedFrom != lifecycle.Deactivated
	}
	return false
}

// expose puts a ready instance of a published version into the trust set, if it is
// not there; its own lead begins now.
func (x *tx) expose(k *lifecycle.Key, v *lifecycle.Version, i *lifecycle.Instance) {
	if i.Condition != lifecycle.Ready || i.PublishedAt != 0 || !v.InTrustSet() || !grows(v) {
		return
	}
	i.PublishedAt = x.now()
	if v.State == lifecycle.Active && (k.Policy.Lead == 0 || x.unseen(k, v)) {
		i.AdmittedAt = x.now()
	}
}

// held finds an instance of a member node.
func (x *tx) held(id lifecycle.KeyID, n uint64, node lifecycle.NodeID) (*lifecycle.Key, *lifecycle.Version, *lifecycle.Instance, Outcome) {
	k, v, o := x.find(id, n)
	if !o.OK() {
		return nil, nil, nil, o
	}
	if _, o := x.member(node); !o.OK() {
		return nil, nil, nil, o
	}
	i := x.instance(id, n, node)
	if i == nil {
		return nil, nil, nil, refuse(InstanceNotFound, subject(id, n), "node %s has no instance of this version", node.Short())
	}
	return k, v, i, Outcome{}
}

func (x *tx) bindInstance(c *command.BindInstance) Outcome {
	k, v, old, o := x.held(c.Key, c.Version, c.Node)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, v.Number)
	done := Outcome{Subject: name, Key: k.ID, Versions: []uint64{v.Number}}
	if old.CKAID != c.CKAID {
		return refuse(IllegalTransition, name, "the intent of this instance names another CKA_ID")
	}
	if old.Condition != lifecycle.Pending {
		if bytes.Equal(old.SPKI, c.SPKI) {
			return done // the node did not hear the first answer
		}
		return refuse(IllegalTransition, name, "the instance is %s and has a public key", old.Condition)
	}
	if owner := get[KIDRow](x, TableKIDs, c.KID); owner != nil {
		return refuse(AlreadyExists, name, "the public key %s belongs to %s", c.KID, subject(owner.Key, owner.Version))
	}
	i := *old
	i.SPKI, i.KID, i.Driver, i.Attributes = c.SPKI, c.KID, c.Driver, c.Attributes
	i.Condition, i.ReadyAt, i.Detail = lifecycle.Ready, x.now(), ""
	if v.State == lifecycle.Compromised {
		i.Condition = lifecycle.InstanceBad
	}
	x.expose(k, v, &i)
	x.putInstance(i)
	put(x, TableKIDs, i.KID, &KIDRow{Key: i.Key, Version: i.Version, Node: i.Node})
	x.record(Leaf{Kind: "instance.ready", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
		Before: old.Condition.String(), After: i.Condition.String(), Detail: i.Driver})
	x.hasten(k, v, c.Node)
	return done
}

func (x *tx) reportCondition(c *command.ReportCondition) Outcome {
	k, v, old, o := x.held(c.Key, c.Version, c.Node)
	if !o.OK() {
		return o
	}
	name := subject(c.Key, c.Version)
	done := Outcome{Subject: name, Key: c.Key, Versions: []uint64{v.Number}}
	switch {
	case old.Condition == lifecycle.Pending && c.Condition == lifecycle.Lost:
		// Nothing was lost yet: the node says why it has not made the pair.
		i := *old
		i.Detail = c.Detail
		x.putInstance(i)
		return done
	case old.Condition == lifecycle.Ready && c.Condition == lifecycle.Lost:
		x.lose(old, c.Detail)
		return done
	case old.Condition == lifecycle.Lost && c.Condition == lifecycle.Ready && old.KID != "" && old.Revocation == nil:
		i := *old
		i.Condition, i.Detail = lifecycle.Ready, c.Detail
		x.expose(k, v, &i)
		x.putInstance(i)
		x.record(Leaf{Kind: "instance.ready", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
			Before: old.Condition.String(), After: i.Condition.String(), Detail: c.Detail})
		return done
	}
	return refuse(IllegalTransition, name, "the instance is %s: it cannot be reported %s", old.Condition, c.Condition)
}

func (x *tx) admitInstance(c *command.AdmitInstance) Outcome {
	k, v, old, o := x.held(c.Key, c.Version, c.Node)
	if !o.OK() {
		return o
	}
	name := subject(k.ID, v.Number)
	switch {
	case v.State != lifecycle.Active || old.Condition != lifecycle.Ready || old.AdmittedAt != 0:
		return refuse(IllegalTransition, name, "the version is %s and the instance %s: there is nothing to admit", v.State, old.Condition)
	case old.PublishedAt == 0:
		return refuse(NotPublished, name, "the instance is not in the trust set yet")
	case x.clock < old.PublishedAt.Add(k.Policy.Lead):
		return refuse(LeadNotPassed, name, "the instance was published at %s and may sign from %s", old.PublishedAt, old.PublishedAt.Add(k.Policy.Lead))
	}
	i := *old
	i.AdmittedAt = x.now()
	x.putInstance(i)
	x.record(Leaf{Kind: "instance.admitted", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node})
	return Outcome{Subject: name, Key: k.ID, Versions: []uint64{v.Number}}
}

func (x *tx) confirmErased(c *command.ConfirmErased) Outcome {
	_, v, old, o := x.held(c.Key, c.Version, c.Node)
	if !o.OK() {
		return o
	}
	name := subject(c.Key, c.Version)
	done := Outcome{Subject: name, Key: c.Key, Versions: []uint64{v.Number}}
	if old.Condition == lifecycle.Erased {
		return done
	}
	if !v.Erasing {
		return refuse(IllegalTransition, name, "nobody asked for this version to be erased")
	}
	i := *old
	i.Condition, i.ErasedAt, i.Detail = lifecycle.Erased, x.now(), c.Evidence
	x.putInstance(i)
	x.record(Leaf{Kind: "instance.erased", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
		Before: old.Condition.String(), After: i.Condition.String(), Detail: c.Evidence})
	x.finishErasure(v)
	return done
}

// finishErasure destroys the version once every instance is erased. Instances
// lost with a removed node can never be confirmed; they do not hold the rest up,
// and the log names them.
func (x *tx) finishErasure(old *lifecycle.Version) {
	unconfirmed := ""
	for _, i := range x.instances(old.Key, old.Number) {
		if i.Condition == lifecycle.Erased {
			continue
		}
		n := x.node(i.Node)
		if n == nil || n.Status != lifecycle.Removed {
			return
		}
		unconfirmed += " " + n.Name
	}
	v := *old
	next, ok := lifecycle.Next(v.State, lifecycle.Destroy, v.SuspendedFrom)
	if !ok {
		return
	}
	v.State, v.SinceAt, v.Erasing = next, x.now(), false
	x.putVersion(v)
	leaf := Leaf{Kind: "key.destroyed", Key: v.Key, Version: v.Number, Before: old.State.String(), After: v.State.String()}
	if unconfirmed != "" {
		leaf.Detail = "not confirmed on removed nodes:" + unconfirmed
	}
	x.record(leaf)
}
