package state

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// checkpoint notes a mark, or compares the noted one with the majority's. Both
// happen after the entry was flushed, so that every node looks at the same rows.
func (m *Machine) checkpoint(cmd *command.Command) {
	switch c := cmd.Body.(type) {
	case *command.MarkCheckpoint:
		m.refreshRoot()
		digest := m.meta.Digest()
		m.meta.Mark = Mark{Index: m.meta.Index, LogSize: m.meta.LogSize, Root: bytes.Clone(m.meta.LogRoot[:]), Digest: digest[:]}
	case *command.RecordCheckpoint:
		if c.MarkIndex != m.meta.Mark.Index {
			return // a later mark has taken its place; that one will be compared
		}
		m.meta.Mark.compare(c)
		m.meta.Confirmed = m.meta.Mark
	}
}

func (m *Mark) compare(c *command.RecordCheckpoint) {
	num := func(n uint64) string { return strconv.FormatUint(n, 10) }
	switch {
	case m.LogSize != c.LogSize:
		panic(&Divergence{Index: m.Index, What: "log size", Mine: num(m.LogSize), Ours: num(c.LogSize)})
	case !bytes.Equal(m.Root, c.Root):
		panic(&Divergence{Index: m.Index, What: "log root", Mine: hex.EncodeToString(m.Root), Ours: hex.EncodeToString(c.Root)})
	case !bytes.Equal(m.Digest, c.Digest):
		panic(&Divergence{Index: m.Index, What: "state digest", Mine: hex.EncodeToString(m.Digest), Ours: hex.EncodeToString(c.Digest)})
	}
}

// recordCheckpoint refuses a record that no majority stands behind: comparing with
// it could stop nodes that are right.
func (x *tx) recordCheckpoint(c *command.RecordCheckpoint) Outcome {
	return x.majority(c.Voters, "checkpoint")
}

// majority checks that the nodes are distinct voters and more than half of them all.
func (x *tx) majority(nodes []lifecycle.NodeID, what string) Outcome {
	voters := 0
	ascend(x.hot.freeze(), TableNodes, "", func(n *lifecycle.Node) bool {
		if n.Voter && n.Status != lifecycle.Removed {
			voters++
		}
		return true
	})
	for i, id := range nodes {
		if n := x.node(id); n == nil || !n.Voter || n.Status == lifecycle.Removed || slices.Contains(nodes[:i], id) {
			return refuse(Invalid, id.Short(), "the %s counts a node that is no voter, or one voter twice", what)
		}
	}
	if 2*len(nodes) <= voters {
		return refuse(Invalid, "", "the %s has %d of %d voters behind it: a majority is needed", what, len(nodes), voters)
	}
	return Outcome{}
}

// median is the lower median of the readings of distinct voters, who must be a
// majority: a minority of wrong clocks cannot move it past the right ones.
func (x *tx) median(c *command.AdvanceClock) (lifecycle.Instant, Outcome) {
	var nodes []lifecycle.NodeID
	var times []lifecycle.Instant
	for _, r := range c.Readings {
		nodes, times = append(nodes, r.Node), append(times, r.At)
	}
	if o := x.majority(nodes, "clock"); !o.OK() {
		return 0, o
	}
	slices.Sort(times)
	return times[(len(times)-1)/2], Outcome{}
}
