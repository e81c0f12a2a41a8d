package state

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func subject(key lifecycle.KeyID, version uint64) string { return fmt.Sprintf("%s/%d", key, version) }

func (x *tx) createKey(c *command.CreateKey) Outcome {
	if old := x.key(c.Name); old != nil {
		return refuse(AlreadyExists, string(c.Name), "a key of this name exists since %s (owner %s): names are never reused", old.Created.At, old.Owner)
	}
	if o := x.checkNewKey(c); !o.OK() {
		return o
	}
	k := lifecycle.Key{ID: c.Name, Purpose: c.Purpose, Alg: c.Alg, Bits: c.Bits, Custody: c.Custody, Node: c.Node,
		Owner: c.Owner, Reason: c.Reason, ConfirmBy: c.ConfirmBy, Labels: c.Labels, Policy: c.Policy, PolicyVersion: 1,
		Newest: 1, Created: x.origin()}
	if k.Policy.Strict {
		k.StrictAt = x.now()
	}
	x.putKey(k)
	x.record(Leaf{Kind: "key.created", Key: k.ID, Detail: fmt.Sprintf("%s %s for %s: %s", k.Purpose, k.Alg, k.Owner, k.Reason)})
	return x.addVersion(&k, lifecycle.Version{Number: 1}, c.Instances)
}

// addVersion writes a version in pre-activation with its intents.
func (x *tx) addVersion(k *lifecycle.Key, v lifecycle.Version, intents []command.Intent) Outcome {
	v.Key, v.State, v.SinceAt, v.Created = k.ID, lifecycle.PreActivation, x.now(), x.origin()
	x.putVersion(v)
	x.record(Leaf{Kind: "key.prepared", Key: k.ID, Version: v.Number, After: v.State.String()})
	if o := x.addIntents(k, v.Number, intents); !o.OK() {
		return o
	}
	return accepted(k.ID, v.Number)
}

func (x *tx) addIntents(k *lifecycle.Key, n uint64, intents []command.Intent) Outcome {
	for _, in := range intents {
		node, o := x.member(in.Node)
		if !o.OK() {
			return o
		}
		if !node.Signs() {
			return refuse(NodeNotMember, node.Name, "the node may not hold instances: promote it with `chancery node promote %s`", node.Name)
		}
		if k.Custody == lifecycle.Singleton && in.Node != k.Node {
			return refuse(Invalid, subject(k.ID, n), "a singleton key has its one instance on its own node")
		}
		if x.instance(k.ID, n, in.Node) != nil {
			return refuse(AlreadyExists, subject(k.ID, n), "node %s has an instance of this version", node.Name)
		}
		x.putInstance(lifecycle.Instance{Key: k.ID, Version: n, Node: in.Node, CKAID: in.CKAID, Condition: lifecycle.Pending, IntentAt: x.now()})
	}
	return Outcome{}
}

func (x *tx) setPolicy(c *command.SetPolicy) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if err := c.Policy.Check(old.Purpose, old.Alg); err != nil {
		return refuse(Invalid, string(c.Key), "%v", err)
	}
	if o := x.checkKeyRules(c.Key, old.Policy.Approvals, c.Policy.Approvals); !o.OK() {
		return o
	}
	k := *old
	k.Policy, k.PolicyVersion = c.Policy, k.PolicyVersion+1
	switch {
	case !k.Policy.Strict:
		k.StrictAt = 0
	case !old.Policy.Strict:
		k.StrictAt = x.now()
	}
	if c.Owner != "" {
		k.Owner = c.Owner
	}
	if c.Reason != "" {
		k.Reason = c.Reason
	}
	if c.ConfirmBy != 0 {
		k.ConfirmBy = c.ConfirmBy
	}
	if len(c.Labels) > 0 {
		k.Labels = c.Labels
	}
	x.putKey(k)
	x.record(Leaf{Kind: "key.policy_changed", Key: k.ID, Before: fmt.Sprint(old.PolicyVersion), After: fmt.Sprint(k.PolicyVersion),
		Detail: fmt.Sprintf("owner %s: %s", k.Owner, k.Reason)})
	if k.Policy.Narrows(old.Policy) {
		x.openFence("key.policy_changed", k.ID, nil, "")
	}
	return Outcome{Subject: string(k.ID), Key: k.ID}
}

func (x *tx) confirmPurpose(c *command.ConfirmPurpose) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if c.ConfirmBy <= x.now() {
		return refuse(Invalid, string(c.Key), "the purpose is to be confirmed again by %s, which is past: it is %s", c.ConfirmBy, x.now())
	}
	if c.ConfirmBy > x.now().Add(command.MaxConfirmAhead) {
		return refuse(Invalid, string(c.Key), "the purpose is to be confirmed again by %s: more than %s ahead nobody remembers it", c.ConfirmBy, command.MaxConfirmAhead)
	}
	k := *old
	k.Reason, k.ConfirmBy = c.Reason, c.ConfirmBy
	x.putKey(k)
	x.record(Leaf{Kind: "key.confirmed", Key: k.ID, Before: old.ConfirmBy.String(), After: k.ConfirmBy.String(), Detail: fmt.Sprintf("owner %s: %s", k.Owner, k.Reason)})
	return Outcome{Subject: string(k.ID), Key: k.ID}
}

// find returns the key and one of its versions.
func (x *tx) find(id lifecycle.KeyID, n uint64) (*lifecycle.Key, *lifecycle.Version, Outcome) {
	k := x.key(id)
	if k == nil {
		return nil, nil, refuse(KeyNotFound, string(id), "no such key")
	}
	v := x.version(id, n)
	if v == nil {
		return nil, nil, refuse(VersionNotFound, subject(id, n), "the key has no such version; its newest is %d", k.Newest)
	}
	return k, v, Outcome{}
}
