package cluster

import (
	"context"
	"sync"
	"testing"
	"time"
)

// oneLeaderPerTerm samples who calls himself leader until the test ends.
func (l *lab) oneLeaderPerTerm() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		leaders := map[uint64]*member{}
		for ctx.Err() == nil {
			for _, m := range l.all() {
				n := m.node.Load()
				if n == nil {
					continue
				}
				at := n.Leadership()
				if !at.Self {
					continue
				}
				if other := leaders[at.Term]; other != nil && other != m {
					l.t.Errorf("%s and %s both lead in term %d", other.name, m.name, at.Term)
				}
				leaders[at.Term] = m
			}
			time.Sleep(2 * time.Millisecond) // a sample, not a wait
		}
	})
	l.t.Cleanup(func() { cancel(); done.Wait() })
}

// TestPartialPartitions cuts links so that some see each other and some do not, or
// in one direction only, and writes all the while.
func TestPartialPartitions(t *testing.T) {
	for name, cut := range map[string]func(l *lab, leader *member, rest []*member){
		"leader and one follower": func(l *lab, leader *member, rest []*member) {
			l.network.split([]*member{leader}, rest[:1])
		},
		"two followers": func(l *lab, _ *member, rest []*member) {
			l.network.split(rest[:1], rest[1:])
		},
		"the leader cannot call": func(l *lab, leader *member, rest []*member) {
			l.network.cut(bothPaths, leader, rest...)
		},
		"nobody can call the leader": func(l *lab, leader *member, rest []*member) {
			for _, m := range rest {
				l.network.cut(bothPaths, m, leader)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newCluster(t, 3)
			l.oneLeaderPerTerm()
			before, _ := l.write()
			leader := l.leader()
			cut(l, leader, l.others(leader))
			var tokens []string
			for range 20 {
				token, _ := l.write()
				tokens = append(tokens, token)
			}
			l.network.heal()
			after, _ := l.write()
			for _, token := range append(tokens, before, after) {
				l.awaitRow(token, l.all()...)
			}
			l.awaitFresh(l.all()...)
		})
	}
}
