package cluster

import (
	"errors"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
)

func TestClusterGrowsAndFailsOver(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	servers, err := leader.node.Load().Servers()
	if err != nil || len(servers) != 3 {
		t.Fatalf("servers %v, %v", servers, err)
	}
	for id, voter := range servers {
		if !voter {
			t.Errorf("%s has no vote", id)
		}
	}
	var tokens []string
	for range 10 {
		token, _ := l.write()
		tokens = append(tokens, token)
	}
	for _, m := range l.others(leader) {
		if _, err := m.propose(t.Context(), l.joinToken()); !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("a follower proposed: %v", err)
		}
		l.eventually("the follower knows the leader", func() bool { return m.node.Load().Leadership().Leader == leader.id })
	}

	heard := l.others(leader)[0].node.Load().LeadershipChanged()
	leader.crash()
	<-heard
	next := l.leaderOf(l.others(leader)...)
	if next == leader {
		t.Fatal("a dead node leads")
	}
	for _, token := range tokens {
		if !next.has(token) {
			t.Errorf("%s was acknowledged and is lost", token)
		}
	}
	token, _ := l.write()
	leader.start()
	l.awaitRow(token, l.all()...)
	if got := leader.node.Load().Members(); len(got) != 3 {
		t.Errorf("the restarted node knows %d members", len(got))
	}
}

func TestWholeClusterRestarts(t *testing.T) {
	l := newCluster(t, 3)
	token, _ := l.write()
	l.restart()
	if !l.leader().has(token) {
		t.Fatal("an acknowledged write is lost")
	}
	l.write()
	for _, m := range l.all() {
		<-m.node.Load().Verified()
	}
}

// TestChanged waits for an entry by the channel alone.
func TestChanged(t *testing.T) {
	l := newCluster(t, 1)
	n := l.leader().node.Load()
	at := n.View().Position().Index
	changed := n.Changed(at)
	select {
	case <-changed:
		t.Fatal("nothing has changed yet")
	default:
	}
	l.write()
	<-changed
	if n.View().Position().Index <= at {
		t.Error("woken for nothing")
	}
}

func TestCloseRefuses(t *testing.T) {
	l := newCluster(t, 1)
	m := l.leader()
	n := m.node.Load()
	m.stop()
	if err := n.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := n.Propose(t.Context(), &command.Command{Header: m.head(), Body: l.joinToken()}); !errors.Is(err, ledger.ErrNotLeader) && !errors.Is(err, ledger.ErrStopped) {
		t.Errorf("propose: %v", err)
	}
	if _, err := n.Read(t.Context(), ledger.Freshness{}); !errors.Is(err, ledger.ErrStopped) {
		t.Errorf("read: %v", err)
	}
	if n.View().Cluster() == nil {
		t.Error("a View outlives its node")
	}
}
