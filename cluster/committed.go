package cluster

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// committedCommand is the last command that this leader knows to be committed.
//
// A follower may publish an entry before the leader does: it hears of the commit and
// applies it while the leader's own FSM is busy. What it has shown to a reader must be
// in every later linearizable read, so a read index has to cover what is committed, not
// only what this leader has applied. Raft's commit index serves as that bound and as
// nothing else: it counts entries that no FSM ever sees, which are passed over here,
// and it says nothing of what is applied, which is waited for.
func (n *Node) committedCommand() (uint64, error) {
	applied := n.fsm.Position().Index
	for index := n.raft.CommitIndex(); index > applied; index-- {
		var l raft.Log
		if err := n.logs.GetLog(index, &l); err != nil {
			return 0, fmt.Errorf("%w: look at committed entry %d: %w", ledger.ErrStale, index, err)
		}
		if l.Type == raft.LogCommand {
			return index, nil
		}
	}
	return applied, nil
}
