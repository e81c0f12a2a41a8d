package cluster

import "testing"

// TestFollowersHearOfALoneCommit: raft would tell the followers of a commit with the next
// entry, or after a CommitTimeout, which here is longer than the test waits.
func TestFollowersHearOfALoneCommit(t *testing.T) {
	l := newLab(t)
	l.grow(3)
	l.commit = 2 * patience
	l.restart()
	leader := l.leader()
	l.eventually("an entry that all have before another follows it", func() bool {
		token, index := l.write()
		l.awaitRow(token, l.all()...)
		last, err := leader.node.Load().logs.LastIndex()
		return err == nil && last == index
	})
}
