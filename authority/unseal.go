package authority

import (
	"context"
	"strings"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// ReportSeal makes an order known that was given on the node's own machine. The node
// obeys it already; its word needs nobody's right, because it takes away its own.
func (p *Peer) ReportSeal(ctx context.Context, c *command.ReportSeal) (state.Outcome, error) {
	n, err := p.enter(ctx, "node.seal", c.Node)
	if err != nil {
		return state.Outcome{}, err
	}
	return p.s.proposeAs(ctx, "node:"+n.Name, c)
}

// UnsealNode lets a node sign again that was sealed on its own machine. With id ""
// the only seal that holds is meant.
func (s *Service) UnsealNode(ctx context.Context, req Request, name, id, reason string) (Result, error) {
	if reason == "" {
		return Result{}, refuse("invalid", "--reason 'drill is over'", "to lift a seal needs a reason")
	}
	return s.change(ctx, req, access.NodeUnseal, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		n, err := findNode(v, name)
		if err != nil {
			return nil, nil, err
		}
		which := id
		if which == "" {
			if which, err = onlySeal(n); err != nil {
				return nil, nil, err
			}
		}
		return &command.LiftSeal{Node: n.ID, ID: which, Reason: reason}, []command.RowRef{state.RefNode(n)}, nil
	})
}

// onlySeal is the id of the one seal that holds.
func onlySeal(n *lifecycle.Node) (string, error) {
	var ids []string
	for _, s := range n.Seals {
		if s.LiftedAt == 0 {
			ids = append(ids, s.ID)
		}
	}
	switch len(ids) {
	case 0:
		return "", refuse(string(state.SealNotFound), "chancery node show "+n.Name, "node %s has no seal that holds; one it could not report yet is lifted once it has", n.Name)
	case 1:
		return ids[0], nil
	}
	return "", refuse("invalid", "--id "+ids[0], "node %s has %d seals, lift them one by one: %s", n.Name, len(ids), strings.Join(ids, ", "))
}
