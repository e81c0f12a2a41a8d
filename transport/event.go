package transport

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// Event is a leaf of the lifecycle log as those who watch see it, on the API and in
// webhooks alike.
func Event(v *state.View, l *state.Leaf) wire.Event {
	e := wire.Event{ID: wire.EventID(v.Position().Epoch, l.Index), At: wire.Time(l.At), Kind: l.Kind, Key: wire.Text(l.Key), Version: wire.Number(l.Version),
		KID: wire.Text(l.KID), Actor: l.Actor, RequestID: wire.Text(l.RequestID), Before: wire.Text(l.Before), After: wire.Text(l.After),
		Reason: wire.Text(l.Reason), Detail: l.Detail, Data: eventData(v, l), Index: l.Index}
	if len(l.Serials) == 1 && l.Count <= 1 {
		e.Serial = wire.Text(l.Serials[0].String())
	}
	if l.Node != "" {
		e.Node = wire.Text(NodeName(v, l.Node))
	}
	return e
}

// NodeName is a node's label, or the beginning of its id when it is not known.
func NodeName(v *state.View, id lifecycle.NodeID) string {
	if id == "" {
		return ""
	}
	if n := v.Node(id); n != nil {
		return n.Name
	}
	return id.Short()
}

// eventData is what the event of a fence carries beyond its line: the entry that
// opened it, and how the right ended on each node.
func eventData(v *state.View, l *state.Leaf) map[string]any {
	data := map[string]any{}
	if len(l.Serials) > 0 {
		serials := make([]string, len(l.Serials))
		for i, s := range l.Serials {
			serials[i] = s.String()
		}
		data["serials"] = serials
	}
	if l.Fence == 0 {
		return data
	}
	data["fence"] = l.Fence
	if len(l.Nodes) > 0 {
		nodes := make([]wire.FencedNode, 0, len(l.Nodes))
		for _, n := range l.Nodes {
			nodes = append(nodes, wire.FencedNode{Node: NodeName(v, n.Node), Outcome: string(n.Outcome), At: wire.Time(n.At)})
		}
		slices.SortFunc(nodes, func(a, b wire.FencedNode) int { return strings.Compare(a.Node, b.Node) })
		data["nodes"] = nodes
	}
	return data
}
