package state

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// maxLedgerBreaks is how many of a node's broken ledgers are remembered one by one. Of
// more, the oldest are forgotten: since then every later one says that not all is known.
const maxLedgerBreaks = 16

// reportTally takes a node's word about its own instances, as far as it can be true: a
// count never falls, the ledger never shrinks, and a line once named keeps its hash.
func (x *tx) reportTally(c *command.ReportTally) Outcome {
	n, o := x.member(c.Node)
	if !o.OK() {
		return o
	}
	old := get[lifecycle.LedgerHead](x, TableLedgers, string(c.Node))
	head := lifecycle.LedgerHead{Node: c.Node}
	if old != nil {
		head = *old
	}
	if o := continues(n, old, c); !o.OK() {
		return o
	}
	released := head.Released
	for i := range c.Items {
		grown, o := x.putTally(n, c, &c.Items[i])
		if !o.OK() {
			return o
		}
		head.Released += grown
	}
	if c.Anew && old != nil {
		x.breakLedger(n, &head, old, c)
	}
	if !c.More {
		head.Seq, head.Hash, head.At = c.Seq, c.Hash, max(head.At, c.At)
	}
	put(x, TableLedgers, string(c.Node), &head)
	x.record(Leaf{Kind: "signature.tallied", Node: n.ID, Count: int(head.Released - released), Digest: hex.EncodeToString(c.Hash),
		After: strconv.FormatUint(c.Seq, 10), Detail: n.Name})
	return Outcome{Subject: n.Name}
}

// breakLedger remembers that what follows stands in another ledger.
func (x *tx) breakLedger(n *lifecycle.Node, head, old *lifecycle.LedgerHead, c *command.ReportTally) {
	kept := old.Breaks[max(0, len(old.Breaks)+1-maxLedgerBreaks):]
	head.Breaks = append(slices.Clone(kept), lifecycle.LedgerBreak{At: c.At, KnownAt: old.At, Seq: old.Seq, Index: x.index})
	x.record(Leaf{Kind: "ledger.broken", Node: n.ID, Before: strconv.FormatUint(old.Seq, 10), After: strconv.FormatUint(c.Seq, 10), Digest: hex.EncodeToString(old.Hash),
		Detail: n.Name + " has another ledger: the one before was accounted for up to " + old.At.String()})
}

// continues refuses a report that contradicts the one before.
func continues(n *lifecycle.Node, old *lifecycle.LedgerHead, c *command.ReportTally) Outcome {
	switch {
	case old == nil || c.Anew:
	case c.Seq < old.Seq:
		return refuse(Invalid, n.Name, "the ledger is accounted for up to line %d: a report up to line %d is older, or of another ledger", old.Seq, c.Seq)
	case c.Seq == old.Seq && !bytes.Equal(c.Hash, old.Hash):
		return refuse(Invalid, n.Name, "line %d of the ledger was reported with another hash: it was written anew", c.Seq)
	}
	return Outcome{}
}

// putTally writes one count and says by how much it has grown.
func (x *tx) putTally(n *lifecycle.Node, c *command.ReportTally, it *command.TallyItem) (grown uint64, o Outcome) {
	name := subject(it.Key, it.Version)
	i := x.instance(it.Key, it.Version, c.Node)
	if i == nil || i.KID != it.KID {
		return 0, refuse(InstanceNotHere, name, "node %s has no instance %s of this version", n.Name, it.KID)
	}
	row := lifecycle.Tally{Key: it.Key, Version: it.Version, Node: c.Node, KID: it.KID, Released: it.Released, Open: it.Open, LastAt: it.LastAt, Seq: c.Seq}
	grown = it.Released
	if old := get[lifecycle.Tally](x, TableSigned, instanceKey(it.Key, it.Version, c.Node)); old != nil {
		if it.Released < old.Released {
			return 0, refuse(Invalid, name, "node %s reported %d released signatures before, and %d now: a count never falls", n.Name, old.Released, it.Released)
		}
		grown -= old.Released
		row.LastAt = max(row.LastAt, old.LastAt)
	}
	put(x, TableSigned, instanceKey(it.Key, it.Version, c.Node), &row)
	return grown, Outcome{}
}

// Tally of one instance, nil when its node has reported none.
func (v *View) Tally(key lifecycle.KeyID, version uint64, node lifecycle.NodeID) *lifecycle.Tally {
	return viewGet[lifecycle.Tally](v, TableSigned, instanceKey(key, version, node))
}

// Tallies of all instances of a key, by version and node.
func (v *View) Tallies(key lifecycle.KeyID) []*lifecycle.Tally {
	return viewList[lifecycle.Tally](v, TableSigned, string(key)+"\x00")
}

// EachTally calls fn for every tally until fn returns false.
func (v *View) EachTally(fn func(*lifecycle.Tally) bool) {
	ascend(v.root.hot, TableSigned, "", fn)
}

// LedgerHead is how far a node's ledger is accounted for, nil when it has reported
// nothing yet.
func (v *View) LedgerHead(node lifecycle.NodeID) *lifecycle.LedgerHead {
	return viewGet[lifecycle.LedgerHead](v, TableLedgers, string(node))
}
