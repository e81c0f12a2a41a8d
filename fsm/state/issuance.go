package state

import (
	"bytes"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// gatherIssuance takes what nodes announced and recorded at the same time, one part after
// the other. Each is what it would be in an entry of its own: its items are judged on what
// the parts before it left, its leaves name its node, and none is refused because of
// another.
//
// What is written once for the whole entry is what nobody reads within it: the counts, the
// row of open intents (the records come first), and which requests are forgotten.
func (x *tx) gatherIssuance(c *command.GatherIssuance) Outcome {
	if o := x.ofCluster(); !o.OK() {
		return o
	}
	entry := x.head
	defer func() { x.head = entry }()
	all, announced := make([]Outcome, 0, len(c.Records)+len(c.Announcements)), 0
	x.expect(7 * c.Certificates())
	for i := range c.Records {
		r := &c.Records[i]
		x.head = x.headOf(r.Node, entry)
		all = append(all, Outcome{Index: x.index, Groups: x.recordAll(r)})
	}
	for i := range c.Announcements {
		a := &c.Announcements[i]
		x.head = x.headOf(a.Node, entry)
		groups, done := x.announceAll(a)
		x.endPart(a, groups)
		announced += done
		all = append(all, Outcome{Index: x.index, Groups: groups})
	}
	x.putTallies()
	x.endAnnouncing(announced)
	return Outcome{Requests: all}
}

// headOf is the header that a node's part would have in an entry of its own.
func (x *tx) headOf(node lifecycle.NodeID, of *command.Header) *command.Header {
	h := &command.Header{At: of.At, Actor: nodeActor + node.Short(), Node: of.Node}
	if n := x.node(node); n != nil {
		h.Actor = nodeActor + n.Name
	}
	return h
}

// keyHolder is a certificate that names a public key, and who asked for it.
type keyHolder struct {
	serial    lifecycle.Serial
	requester string
}

// endPart makes the public keys that a part announced those of earlier ones: to the parts
// that follow they are what the index would say.
func (x *tx) endPart(c *command.IssueIntents, groups []GroupOutcome) {
	if x.heldKeys == nil {
		x.heldKeys = make(map[string]keyHolder, len(x.owners))
	}
	for i := range groups {
		it := &c.Items[i]
		if groups[i].Code != "" {
			continue
		}
		if first, ok := x.heldKeys[string(it.SPKIHash)]; !ok || bytes.Compare(it.Serial[:], first.serial[:]) < 0 {
			x.heldKeys[string(it.SPKIHash)] = keyHolder{it.Serial, it.Requester}
		}
	}
	x.owners = nil
}
