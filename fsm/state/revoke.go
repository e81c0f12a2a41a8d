package state

import (
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) revoke(c *command.Revoke) Outcome {
	k := x.key(c.Key)
	if k == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	for _, n := range c.Versions {
		if x.version(c.Key, n) == nil {
			return refuse(VersionNotFound, subject(c.Key, n), "the key has no such version; its newest is %d", k.Newest)
		}
	}
	if c.Node != "" {
		return x.revokeInstances(c)
	}
	var done []uint64
	for _, v := range x.versions(c.Key) {
		named := slices.Contains(c.Versions, v.Number)
		if !named && (len(c.Versions) > 0 || v.State.Terminal()) {
			continue
		}
		if o := x.revokeVersion(c, v); o.OK() {
			done = append(done, v.Number)
		} else if named {
			return o
		}
	}
	if len(done) == 0 {
		return refuse(IllegalTransition, string(c.Key), "no version of the key can be revoked for %s", c.Reason)
	}
	x.openFence(revokedKind(c), c.Key, done, "")
	return accepted(c.Key, done...)
}

func revokedKind(c *command.Revoke) string {
	if c.Reason == lifecycle.CertificateHold {
		return "key.suspended"
	}
	return "key.revoked"
}

func (x *tx) revokeVersion(c *command.Revoke, old *lifecycle.Version) Outcome {
	rev := x.revocation(c, old.Revocation)
	if r := old.Revocation; c.Reason == lifecycle.CertificateHold && r != nil {
		rev = r // resuming ends the hold and must not wipe out why the version was revoked before
	}
	v, o := x.move(old, c.Reason.Verb(), func(v *lifecycle.Version) {
		v.Revocation = rev
		v.Distrusted = v.Distrusted || c.Distrust
	})
	if !o.OK() {
		return o
	}
	if v.State == lifecycle.Compromised {
		x.spoilInstances(&v, rev)
	}
	x.record(Leaf{Kind: revokedKind(c), Key: v.Key, Version: v.Number, Before: old.State.String(), After: v.State.String(),
		Reason: string(c.Reason), Detail: revocationDetail(c)})
	return Outcome{}
}

func revocationDetail(c *command.Revoke) string {
	d := c.Comment
	if c.CompromisedSince != 0 {
		d += " (compromised since " + c.CompromisedSince.String() + ")"
	}
	if c.Distrust {
		d += " (distrusted)"
	}
	return d
}

// revocation keeps the earliest compromise time ever named: a later, milder word
// must not make old signatures good again.
func (x *tx) revocation(c *command.Revoke, old *lifecycle.Revocation) *lifecycle.Revocation {
	r := &lifecycle.Revocation{Reason: c.Reason, At: x.now(), By: x.head.Actor, CompromisedSince: c.CompromisedSince, Comment: c.Comment, Index: x.index}
	if old != nil && old.CompromisedSince != 0 && (r.CompromisedSince == 0 || old.CompromisedSince < r.CompromisedSince) {
		r.CompromisedSince = old.CompromisedSince
	}
	return r
}

// spoilInstances marks every instance of a compromised version that has a key.
func (x *tx) spoilInstances(v *lifecycle.Version, rev *lifecycle.Revocation) {
	for _, old := range x.instances(v.Key, v.Number) {
		if old.Condition == lifecycle.Ready || old.Condition == lifecycle.Lost && old.KID != "" {
			x.spoil(old, rev)
		}
	}
}

func (x *tx) spoil(old *lifecycle.Instance, rev *lifecycle.Revocation) {
	i := *old
	i.Condition, i.Revocation = lifecycle.InstanceBad, rev
	x.putInstance(i)
	x.record(Leaf{Kind: "instance.compromised", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
		Before: old.Condition.String(), After: i.Condition.String(), Reason: string(rev.Reason)})
}

// revokeInstances revokes one node's instances of the versions named (or all). A
// compromise, or --distrust, takes the public key out of the trust set; any other
// reason only ends its signing.
func (x *tx) revokeInstances(c *command.Revoke) Outcome {
	node := x.node(c.Node)
	if node == nil {
		return refuse(NodeNotFound, c.Node.Short(), "no node has this id")
	}
	var done []uint64
	for _, v := range x.versions(c.Key) {
		if len(c.Versions) > 0 && !slices.Contains(c.Versions, v.Number) {
			continue
		}
		old := x.instance(c.Key, v.Number, c.Node)
		if old == nil || old.Condition == lifecycle.InstanceBad || old.Condition == lifecycle.Erased {
			continue
		}
		rev := x.revocation(c, old.Revocation)
		switch {
		case c.Reason.IsCompromise() || c.Distrust:
			x.spoil(old, rev)
		case old.Condition == lifecycle.Lost && old.Revocation != nil:
			continue
		default:
			i := *old
			i.Condition, i.Revocation, i.Detail = lifecycle.Lost, rev, "revoked: "+string(c.Reason)
			x.putInstance(i)
			x.record(Leaf{Kind: "instance.lost", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
				Before: old.Condition.String(), After: i.Condition.String(), Reason: string(c.Reason), Detail: c.Comment})
		}
		done = append(done, v.Number)
	}
	if len(done) == 0 {
		return refuse(InstanceNotFound, string(c.Key), "node %s holds no instance that could be revoked", c.Node.Short())
	}
	cause := "instance.lost"
	if c.Reason.IsCompromise() || c.Distrust {
		cause = "instance.compromised"
	}
	x.openFence(cause, c.Key, done, node.Name)
	return accepted(c.Key, done...)
}
