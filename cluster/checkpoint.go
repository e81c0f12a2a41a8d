package cluster

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// keepCheckpoints compares what the voters hold. The leader marks an index, hears
// every voter's digests there, and records what a majority that includes it
// agrees on; whoever differs stops when it applies the record. A leader that finds
// itself in the minority stops itself.
func (n *Node) keepCheckpoints(ctx context.Context) {
	for {
		every := lifecycle.DefaultSettings().CheckpointEvery
		if c := n.View().Cluster(); c != nil {
			every = c.Settings.CheckpointEvery
		}
		t := time.NewTimer(time.Duration(every) * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		if l := n.Leadership(); l.Self && l.Ready && n.View().Cluster() != nil {
			n.checkpoint(ctx)
		}
	}
}

func (n *Node) checkpoint(ctx context.Context) {
	if v := n.View(); v.Confirmed().Index == 0 || v.Position().Index > v.Confirmed().Index+1 {
		// One entry past the confirmed mark is the record itself: nothing new then.
		n.proposeSystem(&command.MarkCheckpoint{})
	}
	mark := n.View().Mark()
	if mark.Index == n.View().Confirmed().Index {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*roundTimeout)
	defer cancel()
	for range 20 {
		if _, err := n.confirm.call(ctx); err != nil {
			return
		}
		if n.compare(mark) {
			return
		}
		select {
		case <-ctx.Done():
			return // too few voters have come to the mark; the next tick marks again
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// compare counts who holds what at the mark; done when there is nothing to wait for.
func (n *Node) compare(mark state.Mark) (done bool) {
	voters := n.voters()
	agree, differ := []lifecycle.NodeID{n.ID}, map[string]int{}
	for _, r := range n.peers.reports(n.Elapsed()) {
		if r.Node == n.ID || r.Mark.Index != mark.Index || !slices.Contains(voters, r.Node) {
			continue
		}
		if r.Mark.LogSize == mark.LogSize && bytes.Equal(r.Mark.Root, mark.Root) && bytes.Equal(r.Mark.Digest, mark.Digest) {
			agree = append(agree, r.Node)
			continue
		}
		n.Logger.Error("a node's state differs from this leader's", "node", r.Node.Short(), "index", mark.Index)
		differ[fmt.Sprintf("%d %x %x", r.Mark.LogSize, r.Mark.Root, r.Mark.Digest)]++
	}
	for other, count := range differ {
		if 2*count > len(voters) {
			n.outvoted(mark, other)
			return true
		}
	}
	if 2*len(agree) > len(voters) {
		n.proposeSystem(&command.RecordCheckpoint{MarkIndex: mark.Index, LogSize: mark.LogSize, Root: mark.Root, Digest: mark.Digest, Voters: agree})
		return true
	}
	return false
}

// outvoted stops a leader whose state is not the majority's.
func (n *Node) outvoted(mark state.Mark, others string) {
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		n.Logger.Warn("hand leadership over before stopping", "err", err)
	}
	n.Fatal(&state.Divergence{Index: mark.Index, What: "state", Mine: fmt.Sprintf("%d %x %x", mark.LogSize, mark.Root, mark.Digest), Ours: others})
}
