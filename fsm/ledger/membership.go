package ledger

import (
	"context"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Membership changes who replicates the log. Every method works on the leader
// only (ErrNotLeader elsewhere) and may be repeated: what is already so is no error.
type Membership interface {
	// AddNonvoter lets a server replicate without a vote. serverID is
	// lifecycle.Node.ServerID, addr its node listener.
	AddNonvoter(ctx context.Context, serverID, addr string) error
	// AddVoter gives a server a vote.
	AddVoter(ctx context.Context, serverID, addr string) error
	// DemoteVoter takes the vote and goes on replicating.
	DemoteVoter(ctx context.Context, serverID string) error
	// RemoveServer ends replication to a server.
	RemoveServer(ctx context.Context, serverID string) error
	// TransferLeadership hands leadership to a voter ("" = any) and returns when
	// another node leads.
	TransferLeadership(ctx context.Context, to lifecycle.NodeID) error
	// Servers lists the committed Raft configuration: server id -> has a vote.
	Servers() (map[string]bool, error)
}
