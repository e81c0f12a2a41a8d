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
func (m *Machine) checkpoint(r Reader, cmd *command.Command) {
	switch c := cmd.Body.(type) {
	case *command.MarkCheckpoint:
		m.refreshRoot(r)
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

// median is the lower median of the readings of distinct voters, who must be a
// majority: a minority of wrong clocks cannot move it past the right ones.
func (x *tx) median(c *command.AdvanceClock) (lifecycle.Instant, Outcome) {
	voters := 0
	ascend(x.hot.Root(), TableNodes, "", func(n *lifecycle.Node) bool {
		if n.Voter && n.Status != lifecycle.Removed {
			voters++
		}
		return true
	})
	var times []lifecycle.Instant
	var seen []lifecycle.NodeID
	for _, r := range c.Readings {
		if n := x.node(r.Node); n == nil || !n.Voter || n.Status == lifecycle.Removed || slices.Contains(seen, r.Node) {
			return 0, refuse(Invalid, r.Node.Short(), "a clock reading is not from a voter, or the voter stands twice")
		}
		seen, times = append(seen, r.Node), append(times, r.At)
	}
	if 2*len(times) <= voters {
		return 0, refuse(Invalid, "", "clock readings of %d of %d voters: a majority is needed", len(times), voters)
	}
	slices.Sort(times)
	return times[(len(times)-1)/2], Outcome{}
}
