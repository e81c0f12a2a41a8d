package state

import (
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// reportSeal remembers what the node obeys already. A seal that was lifted stays
// lifted however often its node repeats the report: it is where the node learns it.
func (x *tx) reportSeal(c *command.ReportSeal) Outcome {
	old, o := x.member(c.Node)
	if !o.OK() {
		return o
	}
	if s := old.Seal(c.ID); s != nil {
		if s.LiftedAt != 0 {
			return refuse(IllegalTransition, old.Name, "the seal was lifted at %s by %s", s.LiftedAt, s.LiftedBy)
		}
		return Outcome{Subject: old.Name} // the node did not hear the first answer
	}
	n := *old
	n.Seals = slices.Clone(old.Seals)
	if len(n.Seals) >= command.MaxSeals {
		lifted := slices.IndexFunc(n.Seals, func(s lifecycle.Seal) bool { return s.LiftedAt != 0 })
		if lifted < 0 {
			return refuse(LimitReached, old.Name, "the node has %d seals, which is the limit: lift one first", len(n.Seals))
		}
		n.Seals = slices.Delete(n.Seals, lifted, lifted+1)
	}
	n.Seals = append(n.Seals, lifecycle.Seal{ID: c.ID, Key: c.Key, Reason: c.Reason, At: c.SealedAt, By: c.By})
	x.putNode(n)
	x.record(Leaf{Kind: "node.sealed", Key: c.Key, Node: n.ID, After: c.ID, Reason: c.Reason, Detail: n.Name + " by " + c.By + " at " + c.SealedAt.String()})
	return Outcome{Subject: n.Name}
}

func (x *tx) liftSeal(c *command.LiftSeal) Outcome {
	old, o := x.member(c.Node)
	if !o.OK() {
		return o
	}
	s := old.Seal(c.ID)
	switch {
	case s == nil:
		return refuse(SealNotFound, old.Name, "the node has no seal %s: chancery node show %s lists them", c.ID, old.Name)
	case s.LiftedAt != 0:
		return refuse(IllegalTransition, old.Name, "the seal was lifted at %s by %s", s.LiftedAt, s.LiftedBy)
	}
	n := *old
	n.Seals = slices.Clone(old.Seals)
	lifted := n.Seal(c.ID)
	lifted.LiftedAt, lifted.LiftedBy = x.now(), x.head.Actor
	x.putNode(n)
	x.record(Leaf{Kind: "node.unsealed", Key: lifted.Key, Node: n.ID, Before: c.ID, Reason: c.Reason, Detail: n.Name})
	return Outcome{Subject: n.Name}
}
