package state

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func (x *tx) newNode(r command.NodeRecord) lifecycle.Node {
	return lifecycle.Node{ID: r.ID, Name: r.Name, Incarnation: r.Incarnation, Addrs: r.Addrs, CACert: r.CACert,
		Status: lifecycle.Member, MaxFormat: r.MaxFormat, Version: r.Version, Driver: r.Driver, Joined: x.origin()}
}

// member finds a node that has not been removed.
func (x *tx) member(id lifecycle.NodeID) (*lifecycle.Node, Outcome) {
	n := x.node(id)
	if n == nil {
		return nil, refuse(NodeNotFound, id.Short(), "no node has this id")
	}
	if n.Status == lifecycle.Removed {
		return nil, refuse(NodeNotMember, n.Name, "the node was removed at %s: join it again with a new token", n.RemovedAt)
	}
	return n, Outcome{}
}

func (x *tx) addJoinToken(c *command.AddJoinToken) Outcome {
	if get[lifecycle.JoinToken](x, TableJoinTokens, c.ID) != nil {
		return refuse(AlreadyExists, c.ID, "a join token has this id")
	}
	if c.ExpiresAt <= x.now() {
		return refuse(TokenExpired, c.ID, "the join token would expire before it exists")
	}
	put(x, TableJoinTokens, c.ID, &lifecycle.JoinToken{ID: c.ID, MACKey: c.MACKey, ExpiresAt: c.ExpiresAt, Created: x.origin()})
	x.record(Leaf{Kind: "node.token_created", Detail: c.ID})
	return Outcome{Subject: c.ID}
}

func (x *tx) joinNode(c *command.JoinNode) Outcome {
	t := get[lifecycle.JoinToken](x, TableJoinTokens, c.TokenID)
	switch {
	case t == nil:
		return refuse(TokenNotFound, c.TokenID, "no such join token: make one with `chancery node token`")
	case t.UsedBy != "":
		return refuse(TokenSpent, c.TokenID, "the join token was used by node %s: make a new one with `chancery node token`", t.UsedBy.Short())
	case x.clock > t.ExpiresAt:
		return refuse(TokenExpired, c.TokenID, "the join token expired at %s: make a new one with `chancery node token`", t.ExpiresAt)
	}
	if format := x.cluster().Format; c.Node.MaxFormat < format {
		return refuse(FormatRefused, c.Node.Name, "the node's program knows format %d and the cluster is at %d: install the version that the members run", c.Node.MaxFormat, format)
	}
	members, taken := 0, false
	ascend(x.hot.freeze(), TableNodes, "", func(n *lifecycle.Node) bool {
		if n.Status != lifecycle.Removed {
			members++
			taken = taken || n.Name == c.Node.Name && n.ID != c.Node.ID
		}
		return true
	})
	if taken {
		return refuse(AlreadyExists, c.Node.Name, "a node of this name is a member: choose another node_name")
	}
	if members >= command.MaxNodes {
		return refuse(LimitReached, c.Node.Name, "the cluster has %d nodes, which is the limit", members)
	}
	if old := x.node(c.Node.ID); old != nil && old.Status != lifecycle.Removed {
		return refuse(AlreadyExists, old.Name, "this node is a member already: to replace its data directory use `chancery node rebuild`")
	}
	spent := *t
	spent.UsedBy = c.Node.ID
	put(x, TableJoinTokens, t.ID, &spent)
	n := x.newNode(c.Node)
	x.putNode(n)
	x.record(Leaf{Kind: "node.joined", Node: n.ID, After: string(n.Status), Detail: n.Name})
	return Outcome{Subject: n.Name}
}

func (x *tx) updateNode(c *command.UpdateNode) Outcome {
	old, o := x.member(c.ID)
	if !o.OK() {
		return o
	}
	n := *old
	n.Addrs, n.MaxFormat, n.Version, n.Driver = c.Addrs, c.MaxFormat, c.Version, c.Driver
	leaf := Leaf{Kind: "node.updated", Node: n.ID, Detail: n.Name}
	if c.Incarnation != "" && c.Incarnation != n.Incarnation {
		// A wiped data directory has forgotten its votes, so it has none to keep.
		leaf.Kind, leaf.Before, leaf.After = "node.rebuilt", n.Incarnation, c.Incarnation
		n.Incarnation, n.Voter = c.Incarnation, false
	}
	x.putNode(n)
	x.record(leaf)
	return Outcome{Subject: n.Name}
}

func (x *tx) setNodeRoles(c *command.SetNodeRoles) Outcome {
	old, o := x.member(c.ID)
	if !o.OK() {
		return o
	}
	n := *old
	n.Voter, n.Signer = c.Voter, c.Signer
	x.putNode(n)
	if old.Signer && !n.Signer {
		x.openFence("node.roles_changed", "", nil, n.Name)
	}
	x.record(Leaf{Kind: "node.roles_changed", Node: n.ID, Before: roles(old), After: roles(&n), Detail: n.Name})
	return Outcome{Subject: n.Name}
}

func roles(n *lifecycle.Node) string {
	switch {
	case n.Voter && n.Signer:
		return "voter,signer"
	case n.Voter:
		return "voter"
	case n.Signer:
		return "signer"
	}
	return "none"
}

func (x *tx) setNodeStatus(c *command.SetNodeStatus) Outcome {
	old, o := x.member(c.ID)
	if !o.OK() {
		return o
	}
	if old.Status == c.Status {
		return refuse(IllegalTransition, old.Name, "the node is %s already", c.Status)
	}
	if c.Status == lifecycle.Removed && old.Status != lifecycle.Quarantined {
		return refuse(NodeNotQuarantine, old.Name, "a node is quarantined before it is removed: chancery node quarantine %s", old.Name)
	}
	if f := x.quarantineFence(old); f != nil && c.Status == lifecycle.Removed {
		return refuse(NotFenced, old.Name, "the node may still be signing: its quarantine of %s is not fenced yet; wait, and look with `chancery node show %s`", f.OpenedAt, old.Name)
	}
	n := *old
	n.Status, n.QuarantineIndex = c.Status, 0
	kind := "node.readmitted"
	switch c.Status {
	case lifecycle.Quarantined:
		kind, n.QuarantineIndex = "node.quarantined", x.index
		x.openFence(kind, "", nil, n.Name)
	case lifecycle.Removed:
		kind = "node.removed"
		n.RemovedAt, n.Voter, n.Signer = x.now(), false, false
	}
	x.putNode(n)
	x.record(Leaf{Kind: kind, Node: n.ID, Before: string(old.Status), After: string(n.Status), Reason: c.Reason, Detail: n.Name})
	if c.Status == lifecycle.Removed {
		x.loseInstances(&n, c.Lost)
	}
	return Outcome{Subject: n.Name}
}

// quarantineFence is the fence that the node's removal waits for, nil when it
// stands or there is none.
func (x *tx) quarantineFence(n *lifecycle.Node) *lifecycle.Fence {
	return get[lifecycle.Fence](x, TableFences, fenceKey(fenceOpen, n.QuarantineIndex))
}

// loseInstances marks what a removed node held. Their public keys stay in the
// trust set, because what they signed is still to be verified. Erasures that waited
// for this node alone end here.
func (x *tx) loseInstances(n *lifecycle.Node, withHSM bool) {
	detail := "node " + n.Name + " was removed"
	if withHSM {
		detail += ", its HSM is gone"
	}
	var held []*lifecycle.Instance
	ascend(x.hot.freeze(), TableInstances, "", func(i *lifecycle.Instance) bool {
		if i.Node == n.ID {
			held = append(held, i)
		}
		return true
	})
	for _, old := range held {
		if old.Condition == lifecycle.Ready || old.Condition == lifecycle.Pending {
			x.lose(old, detail)
		}
		if v := x.version(old.Key, old.Version); v.Erasing {
			x.finishErasure(v)
		}
	}
}

func (x *tx) lose(old *lifecycle.Instance, detail string) {
	i := *old
	i.Condition, i.Detail = lifecycle.Lost, detail
	x.putInstance(i)
	x.record(Leaf{Kind: "instance.lost", Key: i.Key, Version: i.Version, KID: i.KID, Node: i.Node,
		Before: old.Condition.String(), After: i.Condition.String(), Detail: detail})
}
