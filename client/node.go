package client

import (
	"context"
	"net/http"
	"slices"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Nodes lists the members and former members.
func (c *Client) Nodes(ctx context.Context, opts ...Option) (wire.List[wire.Node], error) {
	return list[wire.Node](ctx, c, wire.PathNodes, opts)
}

// Node by name, or by an id prefix of 8 characters.
func (c *Client) Node(ctx context.Context, name string, opts ...Option) (*wire.Node, error) {
	return one[wire.Node](ctx, c, wire.Path(wire.PathNode, name), opts)
}

// Discover asks for the members' addresses and adds those it did not know to the
// end of the list.
func (c *Client) Discover(ctx context.Context) error {
	l, err := c.Nodes(ctx)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range l.Items {
		if base, err := baseURL(n.Addrs.API); err == nil && n.Status != lifecycle.Removed && !slices.Contains(c.nodes, base) {
			c.nodes = append(c.nodes, base)
		}
	}
	return nil
}

// CreateJoinToken makes a token that lets one node in.
func (c *Client) CreateJoinToken(ctx context.Context, t wire.CreateJoinToken, opts ...Option) (*wire.JoinToken, error) {
	out := new(wire.JoinToken)
	if err := c.mutate(ctx, http.MethodPost, wire.PathJoinTokens, t, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// Promote gives a node a vote, or lets it sign.
func (c *Client) Promote(ctx context.Context, name string, p wire.Promote, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathPromote, name, p, opts)
}

// Quarantine stops a node from signing, or takes that back.
func (c *Client) Quarantine(ctx context.Context, name string, q wire.Quarantine, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathQuarantine, name, q, opts)
}

// Unseal lets a node sign again that was sealed on its own machine.
func (c *Client) Unseal(ctx context.Context, name string, u wire.Unseal, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathUnseal, name, u, opts)
}

// RemoveNode takes a quarantined node out.
func (c *Client) RemoveNode(ctx context.Context, name string, r wire.RemoveNode, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRemoveNode, name, r, opts)
}

// RebuildNode lets a node with a wiped data directory come back.
func (c *Client) RebuildNode(ctx context.Context, name string, r wire.Rebuild, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRebuild, name, r, opts)
}

// Reprovision gives up what a node's key store has lost, and has new key pairs made.
func (c *Client) Reprovision(ctx context.Context, name string, r wire.Reprovision, opts ...Option) (*wire.Reprovisioned, error) {
	out := new(wire.Reprovisioned)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathReprovision, name), r, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// TransferLeader hands leadership over.
func (c *Client) TransferLeader(ctx context.Context, t wire.TransferLeader, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathTransferLeader, "", t, opts)
}

// Cluster is what must agree everywhere; its Revision goes into IfMatch.
func (c *Client) Cluster(ctx context.Context, opts ...Option) (*wire.Cluster, error) {
	return one[wire.Cluster](ctx, c, wire.PathCluster, opts)
}

// SetCluster replaces the settings and needs IfMatch.
func (c *Client) SetCluster(ctx context.Context, s wire.SetCluster, opts ...Option) (*wire.Operation, error) {
	op := new(wire.Operation)
	if err := c.mutate(ctx, http.MethodPut, wire.PathCluster, s, op, opts); err != nil {
		return nil, err
	}
	return op, nil
}

// RotateGossipKey has the leader draw a new gossip key; the members go over to it by
// themselves.
func (c *Client) RotateGossipKey(ctx context.Context, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRotateGossip, "", wire.RotateGossipKey{}, opts)
}
