package ledgertest

import (
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// FailNext makes the next Propose return err with nothing stored. Calls queue up.
func (l *Ledger) FailNext(err error) { l.fail(failure{err: err}) }

// LoseNextAnswer makes the next Propose return ledger.ErrIndeterminate although
// the command was applied: leadership was lost between commit and answer.
func (l *Ledger) LoseNextAnswer() { l.fail(failure{err: ledger.ErrIndeterminate, stored: true}) }

func (l *Ledger) fail(f failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, f)
}

// SetLeader gives leadership to this node, with a new term, or to a node nobody
// reaches: Propose then fails with ErrNotLeader, and reads go on.
func (l *Ledger) SetLeader(self bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leadership.Self == self {
		return
	}
	l.leadership = ledger.Leadership{Leader: NodeID("elsewhere"), Term: l.leadership.Term + 1}
	if self {
		l.leadership = ledger.Leadership{Leader: l.node, Self: true, Ready: true, Term: l.leadership.Term}
	}
	close(l.moved)
	l.moved = make(chan struct{})
}

// SetStale cuts the node off from news for the last hour by its clock: bounded and
// linearizable reads fail with ErrStale, stale ones are marked. false ends it.
func (l *Ledger) SetStale(stale bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.confirmed = time.Time{}
	if stale {
		l.confirmed = l.clock.Now().Add(-time.Hour)
	}
}

// Follow makes this node follow another one: Propose fails with ErrNotLeader, and
// Leadership names the leader.
func (l *Ledger) Follow(leader lifecycle.NodeID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.leadership = ledger.Leadership{Leader: leader, Term: l.leadership.Term + 1}
	close(l.moved)
	l.moved = make(chan struct{})
}
