package cluster

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// TestProposeWhileCutOff: the entry is in the old leader's log and nobody else's.
// It may not be called failed, and here it is lost.
func TestProposeWhileCutOff(t *testing.T) {
	l := newCluster(t, 3)
	old := l.leader()
	rest := l.others(old)
	l.network.split([]*member{old}, rest)
	c := l.joinToken()
	if _, err := old.propose(t.Context(), c); !errors.Is(err, ledger.ErrIndeterminate) {
		t.Errorf("proposed without a quorum: %v", err)
	}
	if _, err := old.propose(t.Context(), l.joinToken()); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("proposed after it stepped down: %v", err)
	}
	token, _ := l.writeAmong(rest...)
	l.network.heal()
	l.awaitRow(token, old)
	for _, m := range l.all() {
		if m.has(c.ID) {
			t.Errorf("%s has an entry that was never replicated", m.name)
		}
	}
	if len(old.node.Load().proposals) != 0 {
		t.Error("a token was not given back")
	}
}

// TestProposeGivenUp: whoever gives up does not know, and here it is committed.
func TestProposeGivenUp(t *testing.T) {
	l := newCluster(t, 1)
	m := l.leader()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 { // the answer may win the race
		c := l.joinToken()
		if _, err := m.propose(ctx, c); err != nil && (!errors.Is(err, ledger.ErrIndeterminate) || !errors.Is(err, context.Canceled)) {
			t.Errorf("given up: %v", err)
		}
		l.awaitRow(c.ID, m)
	}
	l.eventually("all tokens back", func() bool { return len(m.node.Load().proposals) == 0 })
}

func TestProposalsAreBounded(t *testing.T) {
	l := newCluster(t, 1)
	m := l.leader()
	n := m.node.Load()
	for range cap(n.proposals) {
		n.proposals <- struct{}{}
	}
	if _, err := m.propose(t.Context(), l.joinToken()); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("one too many: %v", err)
	}
	for range cap(n.proposals) {
		<-n.proposals
	}
	l.write()
}

// TestCloseWhileProposing: everybody gets an answer, and what was acknowledged is
// with the others.
func TestCloseWhileProposing(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	rest := l.others(leader)
	var mu sync.Mutex
	var acknowledged []string
	var callers sync.WaitGroup
	for range 16 {
		callers.Go(func() {
			for {
				c := l.joinToken()
				n := leader.node.Load()
				if n == nil {
					return
				}
				o, err := leader.propose(t.Context(), c)
				switch {
				case err == nil && o.OK():
					mu.Lock()
					acknowledged = append(acknowledged, c.ID)
					mu.Unlock()
				case errors.Is(err, ledger.ErrNotLeader), errors.Is(err, ledger.ErrIndeterminate), errors.Is(err, ledger.ErrStopped), errors.Is(err, ledger.ErrBusy):
					return
				default:
					t.Errorf("%v, %v", o, err)
					return
				}
			}
		})
	}
	l.eventually("some writes", func() bool { mu.Lock(); defer mu.Unlock(); return len(acknowledged) > 100 })
	if err := leader.node.Load().Close(); err != nil {
		t.Error(err)
	}
	callers.Wait()
	next := l.leaderOf(rest...)
	for _, token := range acknowledged {
		if !next.has(token) {
			t.Errorf("%s was acknowledged and is lost", token)
		}
	}
}

// TestCloseWaitsForAnswers: raft forgets what waits in its channel when it shuts
// down, so it has to run until everybody has been answered.
func TestCloseWaitsForAnswers(t *testing.T) {
	l := newCluster(t, 1)
	m := l.leader()
	n := m.node.Load()
	n.proposals <- struct{}{} // somebody waits for an answer
	closed := make(chan struct{})
	go func() { m.stop(); close(closed) }()
	l.eventually("our own goroutines have ended", func() bool { return n.Leadership() == ledger.Leadership{} })
	n.running.Wait()
	answer := make(chan error, 1)
	go func() { answer <- n.raft.Barrier(0).Error() }()
	l.eventually("raft answers", func() bool { return len(answer) == 1 })
	if err := <-answer; err != nil {
		t.Fatalf("raft is gone: %v", err)
	}
	<-n.proposals
	<-closed
}
