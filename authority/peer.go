package authority

import (
	"context"
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Peer is the authority as one member node may use it: typed verbs about that
// node and its own instances, never somebody else's principal, never command
// bytes. The node's identity comes from its TLS key and is checked against every
// argument, so a stolen node can only lie about itself.
type Peer struct {
	s      *Service
	id     lifecycle.NodeID
	remote string
}

// Peer speaks for the node id, whose key the transport has verified.
func (s *Service) Peer(id lifecycle.NodeID, remote string) *Peer { return &Peer{s, id, remote} }

// enter admits the node: a member, about itself, on the leader, on record.
func (p *Peer) enter(ctx context.Context, verb string, about lifecycle.NodeID) (*lifecycle.Node, error) {
	if l := p.s.ledger.Leadership(); !l.Self || !l.Ready {
		return nil, ledger.ErrNotLeader
	}
	n := p.s.View().Node(p.id)
	ok := n != nil && n.Status != lifecycle.Removed && about == p.id
	actor := "node:" + p.id.Short()
	if n != nil {
		actor = "node:" + n.Name
	}
	if err := p.s.recordNode(ctx, p.id, actor, verb, p.remote, ok); err != nil {
		return nil, err
	}
	if !ok {
		return nil, &Denied{fmt.Sprintf("node %s may not do %s for node %s", p.id.Short(), verb, about.Short())}
	}
	return n, nil
}

// BindInstance ends a key generation on the node. verify checks the proof of
// possession against the row the intent made.
func (p *Peer) BindInstance(ctx context.Context, c *command.BindInstance, verify func(k *lifecycle.Key, cluster string) error) (state.Outcome, error) {
	n, err := p.enter(ctx, "instance.bind", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	v := p.s.View()
	k := v.Key(c.Key)
	if k == nil {
		return state.Outcome{}, refuse(string(state.KeyNotFound), "", "there is no key %q", string(c.Key))
	}
	if err := verify(k, v.Cluster().ID); err != nil {
		return state.Outcome{}, &Denied{fmt.Sprintf("the proof of possession of %s/%d from %s does not hold: %v", c.Key, c.Version, n.Name, err)}
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// ReportCondition says that an instance of the node was lost, or found again.
func (p *Peer) ReportCondition(ctx context.Context, c *command.ReportCondition) (state.Outcome, error) {
	n, err := p.enter(ctx, "instance.report", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// ConfirmErased gives the node's evidence that a key pair is gone.
func (p *Peer) ConfirmErased(ctx context.Context, c *command.ConfirmErased) (state.Outcome, error) {
	n, err := p.enter(ctx, "instance.erased", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// UpdateNode records where the node is and what it runs. With a new incarnation
// (its data directory was rebuilt) the old server leaves the Raft configuration
// and the new one enters without a vote.
func (p *Peer) UpdateNode(ctx context.Context, c *command.UpdateNode) (state.Outcome, error) {
	n, err := p.enter(ctx, "node.update", c.ID)
	if err != nil {
		return state.Outcome{}, err
	}
	if c.Incarnation == "" || c.Incarnation == n.Incarnation {
		return p.s.proposeAs(ctx, "node:"+n.Name, c)
	}
	if err := p.s.keepQuorum(n); err != nil {
		return state.Outcome{}, err
	}
	if err := p.s.members.RemoveServer(ctx, n.ServerID()); err != nil {
		return state.Outcome{}, fmt.Errorf("remove the old server: %w", err)
	}
	o, err := p.s.proposeAs(ctx, "node:"+n.Name, c)
	if err != nil {
		return o, err
	}
	fresh := p.s.View().Node(p.id)
	if err := p.s.members.AddNonvoter(ctx, fresh.ServerID(), fresh.Addrs.Node); err != nil {
		return o, fmt.Errorf("add the rebuilt server: %w", err)
	}
	return o, nil
}
