package api

import (
	"encoding/pem"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func (c *call) node(n *lifecycle.Node) wire.Node {
	w := wire.Node{Name: n.Name, ID: string(n.ID), Incarnation: n.Incarnation, Status: n.Status, Roles: nodeRoleNames(n),
		Leader: c.Service.Ledger().Leadership().Leader == n.ID, Addrs: n.Addrs, Version: n.Version, Driver: n.Driver, MaxFormat: n.MaxFormat,
		Joined: origin(n.Joined), RemovedAt: wire.Time(n.RemovedAt), Seals: seals(n)}
	if f := c.snap.Fence(n.QuarantineIndex); f != nil && n.Status == lifecycle.Quarantined {
		w.Fence = &wire.Reached{At: wire.Time(f.FencedAt), Index: f.FencedIndex, By: wire.Time(c.withdrawal(c.snap.View, f).FencedBy)}
	}
	return w
}

func seals(n *lifecycle.Node) (out []wire.Seal) {
	for _, s := range n.Seals {
		out = append(out, wire.Seal{ID: s.ID, Key: string(s.Key), Reason: s.Reason, At: wire.Time(s.At), By: s.By, LiftedAt: wire.Time(s.LiftedAt), LiftedBy: s.LiftedBy})
	}
	return out
}

func (c *call) unsealNode(in *wire.Unseal) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.UnsealNode(c.r.Context(), req, c.name(), in.ID, in.Reason)
	return c.operation(asked{verb: "node unseal", kind: command.KindLiftSeal, subject: c.name(), comment: in.Reason}, r, err)
}

func nodeRoleNames(n *lifecycle.Node) []string {
	out := []string{}
	if n.Voter {
		out = append(out, "voter")
	}
	if n.Signer {
		out = append(out, "signer")
	}
	return out
}

func (c *call) listNodes() (any, error) {
	if err := c.may(access.NodeRead, ""); err != nil {
		return nil, err
	}
	var items []wire.Node
	for _, n := range c.snap.Nodes() {
		items = append(items, c.node(n))
	}
	items, next, err := pageOrAll(c, items, func(n wire.Node) string { return n.ID })
	return listOf(c, items, next), err
}

func (c *call) showNode() (any, error) {
	if err := c.may(access.NodeRead, ""); err != nil {
		return nil, err
	}
	n := c.snap.NodeByName(c.name())
	if n == nil {
		return nil, noNode(c.name())
	}
	out, pos := c.node(n), transport.Position(c.snap.Position())
	out.Position = &pos
	return out, nil
}

func (c *call) createJoinToken(in *wire.CreateJoinToken) (any, error) {
	if c.EncodeJoinToken == nil {
		return nil, wire.Errorf(wire.NotAvailable, "this node cannot make join tokens")
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, secret, err := c.Service.CreateJoinToken(c.r.Context(), req, in.TTL)
	if err != nil {
		return c.operation(asked{}, r, err)
	}
	if r.Outcome.Replayed {
		c.w.Header()[wire.HeaderReplayed] = []string{"true"}
	}
	out := wire.JoinToken{ID: r.Outcome.Subject, RequestID: r.RequestID, Position: c.here()}
	if t := c.snap.JoinToken(out.ID); t != nil && !r.DryRun {
		out.ExpiresAt = wire.Time(t.ExpiresAt)
	}
	if secret.ID != "" {
		if out.Token, out.Command, err = c.EncodeJoinToken(secret); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (c *call) promoteNode(in *wire.Promote) (any, error) {
	if !in.Voter && !in.Signer {
		return nil, wire.Errorf(wire.Invalid, "promote to what?").WithHint("--voter, --signer or both")
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.PromoteNode(c.r.Context(), req, c.name(), in.Voter, in.Signer)
	return c.operation(asked{verb: "node promote", kind: command.KindSetNodeRoles, subject: c.name()}, r, err)
}

func (c *call) quarantineNode(in *wire.Quarantine) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	a := asked{verb: "node quarantine", kind: command.KindSetNodeStatus, subject: c.name(), comment: in.Reason}
	if in.Release {
		a.verb = "node release"
	}
	r, err := c.Service.QuarantineNode(c.r.Context(), req, c.name(), in.Reason, in.Release)
	return c.operation(a, r, err)
}

func (c *call) removeNode(in *wire.RemoveNode) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	before := c.Service.View()
	r, err := c.Service.RemoveNode(c.r.Context(), req, authority.RemoveSpec{Node: c.name(), Reason: in.Reason, Lost: in.Lost, Patience: c.hold})
	out, err := c.operation(asked{verb: "node remove", kind: command.KindSetNodeStatus, subject: c.name(), comment: in.Reason}, r, err)
	if op, ok := out.(*wire.Operation); ok {
		lost(op, c.lossOf(before, before.NodeByName(c.name()), nil))
	}
	return out, err
}

// rebuildNode has nothing to do here: a node that starts with an empty data
// directory and its identity asks for its new incarnation by itself.
func (c *call) rebuildNode(*wire.Rebuild) (any, error) {
	return nil, wire.Errorf(wire.NotAvailable, "a node is rebuilt on its own machine, not from here").
		WithHint("on %s: stop the server, run chancery node rebuild --config F, start it again", c.name())
}

func (c *call) transferLeader(in *wire.TransferLeader) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.TransferLeadership(c.r.Context(), req, in.Target)
	return c.operation(asked{verb: "cluster transfer-leader", subject: in.Target, final: true}, r, err)
}

func (c *call) showCluster() (any, error) {
	if err := c.may(access.ClusterRead, ""); err != nil {
		return nil, err
	}
	row := c.snap.Cluster()
	c.w.Header()["Etag"] = []string{wire.ETag(row.Rev)}
	out := wire.Cluster{ID: row.ID, Name: row.Name, Epoch: row.Epoch, Format: row.Format, Revision: row.Rev, Settings: row.Settings,
		CABundle: caBundle(c.snap.View), Created: origin(row.Created), Position: transport.Position(c.snap.Position())}
	if k := row.GossipKey; k != nil {
		out.Gossip = &wire.GossipKey{Generation: k.Generation, Digest: k.Digest, Rotated: origin(k.Rotated)}
	}
	return out, nil
}

// caBundle is what a client needs to know every node by.
func caBundle(v *state.View) string {
	var b []byte
	for _, n := range v.Nodes() {
		if n.Status != lifecycle.Removed {
			b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: n.CACert})...)
		}
	}
	return string(b)
}

func (c *call) setCluster(in *wire.SetCluster) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	revision, err := c.ifMatch()
	if err != nil {
		return nil, err
	}
	req.Comment = in.Comment
	r, err := c.Service.SetSettings(c.r.Context(), req, revision, func(lifecycle.Settings) (lifecycle.Settings, error) { return in.Settings, nil })
	return c.operation(asked{verb: "cluster set", kind: command.KindSetSettings, comment: in.Comment, body: &command.SetSettings{Settings: in.Settings}}, r, err)
}

func (c *call) rotateGossipKey(in *wire.RotateGossipKey) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.RotateGossipKey(c.r.Context(), req)
	return c.operation(asked{verb: "cluster rotate-gossip-key", kind: command.KindRotateGossipKey}, r, err)
}
