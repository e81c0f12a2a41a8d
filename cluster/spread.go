package cluster

import (
	"context"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// spreadPause is how long to wait before a node is asked again.
const spreadPause = 2 * time.Millisecond

// Spread waits until every member has applied index, or ctx ends, and returns
// when each was seen to have. It asks the nodes themselves: that an entry is
// committed says nothing of the minority, nor of the milliseconds until followers
// hear of the commit.
func (n *Node) Spread(ctx context.Context, index uint64) map[lifecycle.NodeID]time.Time {
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	seen := map[lifecycle.NodeID]time.Time{}
	for id := range n.Members() {
		all.Go(func() {
			if n.hasApplied(ctx, id, index) {
				mu.Lock()
				defer mu.Unlock()
				seen[id] = n.Wall()
			}
		})
	}
	all.Wait()
	return seen
}

func (n *Node) hasApplied(ctx context.Context, id lifecycle.NodeID, index uint64) bool {
	for ctx.Err() == nil {
		if id == n.ID {
			return n.reach(ctx, index) == nil
		}
		resp, err := n.Peers.Confirm(ctx, id, ConfirmReq{Nonce: nonce(), Leader: n.ID, Term: n.Leadership().Term})
		if err == nil && resp.Node == id && resp.Report.Index >= index {
			return true
		}
		select {
		case <-ctx.Done():
		case <-time.After(spreadPause):
		}
	}
	return false
}
