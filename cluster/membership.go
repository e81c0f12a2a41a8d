package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const (
	configurationLimit = 10 * time.Second
	// catchUpLimit is how long AddVoter waits for a server to come near; a voter
	// far behind would count in the majority and could not help to form one.
	catchUpLimit = 30 * time.Second
	catchUpGap   = 1000 // entries
)

// AddNonvoter lets a server replicate without a vote.
func (n *Node) AddNonvoter(_ context.Context, serverID, addr string) error {
	return configuration(n.raft.AddNonvoter(raft.ServerID(serverID), raft.ServerAddress(addr), 0, configurationLimit))
}

// AddVoter gives a server a vote, once it has caught up.
func (n *Node) AddVoter(ctx context.Context, serverID, addr string) error {
	if !n.Leadership().Ready {
		return ledger.ErrNotLeader
	}
	servers, err := n.Servers()
	if err != nil {
		return err
	}
	if servers[serverID] {
		return nil
	}
	if err := n.caughtUp(ctx, nodeOf(raft.ServerID(serverID))); err != nil {
		return err
	}
	return configuration(n.raft.AddVoter(raft.ServerID(serverID), raft.ServerAddress(addr), 0, configurationLimit))
}

// caughtUp waits until the node reports an index near ours.
func (n *Node) caughtUp(ctx context.Context, id lifecycle.NodeID) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if !n.Leadership().Ready {
			return ledger.ErrNotLeader // nobody reports to this node any more
		}
		mine, its := n.fsm.Position().Index, n.peers.index(id)
		if its > 0 && its+catchUpGap >= mine {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s has applied %d of %d entries: start it, or wait until it has caught up: %w", id.Short(), its, mine, ctx.Err())
		case <-tick.C:
		}
	}
}

// DemoteVoter takes the vote and goes on replicating.
func (n *Node) DemoteVoter(_ context.Context, serverID string) error {
	return configuration(n.raft.DemoteVoter(raft.ServerID(serverID), 0, configurationLimit))
}

// RemoveServer ends replication to a server.
func (n *Node) RemoveServer(_ context.Context, serverID string) error {
	return configuration(n.raft.RemoveServer(raft.ServerID(serverID), 0, configurationLimit))
}

func configuration(f raft.IndexFuture) error {
	switch err := f.Error(); {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader):
		return ledger.ErrNotLeader
	case errors.Is(err, raft.ErrLeadershipLost):
		return fmt.Errorf("%w: %w", ledger.ErrIndeterminate, err)
	default:
		return fmt.Errorf("change the raft configuration: %w", err)
	}
}

// TransferLeadership returns when another node leads: raft's own call returns
// when it has told the other to stand.
func (n *Node) TransferLeadership(ctx context.Context, to lifecycle.NodeID) error {
	if !n.Leadership().Self {
		return ledger.ErrNotLeader
	}
	if to == n.ID {
		return nil
	}
	if err := n.startTransfer(to); err != nil {
		return fmt.Errorf("hand leadership over: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, configurationLimit)
	defer cancel()
	for {
		changed := n.LeadershipChanged()
		if l := n.Leadership(); !l.Self && l.Leader != "" && l.Leader != n.ID {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("hand leadership over: nobody else leads yet: %w", ctx.Err())
		}
	}
}

func (n *Node) startTransfer(to lifecycle.NodeID) error {
	if to == "" {
		return n.raft.LeadershipTransfer().Error()
	}
	row := n.View().Node(to)
	if row == nil {
		return fmt.Errorf("no node %s", to.Short())
	}
	// Raft itself would tell a server without a vote to stand, and the election that
	// the silence in between sets off could end anywhere.
	servers, err := n.Servers()
	if err != nil {
		return err
	}
	if !servers[row.ServerID()] {
		return fmt.Errorf("node %s has no vote", row.Name)
	}
	return n.raft.LeadershipTransferToServer(raft.ServerID(row.ServerID()), raft.ServerAddress(row.Addrs.Node)).Error()
}

// Servers is the newest Raft configuration: server id -> has a vote.
func (n *Node) Servers() (map[string]bool, error) {
	f := n.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, fmt.Errorf("read the raft configuration: %w", err)
	}
	out := map[string]bool{}
	for _, s := range f.Configuration().Servers {
		out[string(s.ID)] = s.Suffrage == raft.Voter
	}
	return out, nil
}

// Bootstrap makes this data directory the first server of a new cluster. Call it
// once, right after Start in an empty directory.
func (n *Node) Bootstrap() error {
	f := n.raft.BootstrapCluster(raft.Configuration{Servers: []raft.Server{{ID: n.serverID, Address: raft.ServerAddress(n.Address)}}})
	if err := f.Error(); err != nil {
		return fmt.Errorf("bootstrap raft: %w", err)
	}
	return nil
}
