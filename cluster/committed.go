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

// hasten lets the followers hear now that what this leader has applied is committed.
// Raft would tell them with the next entry, or some CommitTimeouts later: most of the
// time that a revocation or a read on a follower takes. An entry that a snapshot has
// replaced is not news to anybody.
func (n *Node) hasten(term, index uint64) {
	var entry raft.Log
	if err := n.logs.GetLog(index, &entry); err != nil {
		n.Logger.Debug("tell the others what is committed", "index", index, "err", err)
		return
	}
	n.transport.Committed(term, &entry)
}

// hastenLast is hasten, when no entry follows that would tell the followers as soon.
func (n *Node) hastenLast(index uint64) {
	if l := n.Leadership(); l.Self && index > 0 && n.raft.LastIndex() == index {
		n.hasten(l.Term, index)
	}
}
