package cluster

import (
	"errors"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestTransferLeadership(t *testing.T) {
	l := newCluster(t, 3)
	spare := l.join()
	leader := l.leader()
	n := leader.node.Load()
	target := l.others(leader, spare)[0]
	if err := n.TransferLeadership(t.Context(), leader.id); err != nil || l.leader() != leader {
		t.Errorf("to itself: %v", err)
	}
	if err := n.TransferLeadership(t.Context(), "nobody"); err == nil {
		t.Error("to nobody")
	}
	if err := n.TransferLeadership(t.Context(), spare.id); err == nil {
		t.Error("to a node without a vote")
	}
	if l.leader() != leader {
		t.Fatal("a refused transfer moved leadership")
	}
	if err := target.node.Load().TransferLeadership(t.Context(), ""); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("by a follower: %v", err)
	}
	l.eventually("the transfer", func() bool {
		from := l.leader() // a transfer that took too long may come about all the same
		if from == target {
			return true
		}
		if from.node.Load().TransferLeadership(t.Context(), target.id) != nil {
			return false
		}
		if at := from.node.Load().Leadership(); at.Self && at.Leader == from.id {
			t.Errorf("returned while %+v", at)
		}
		return true
	})
	l.eventually("a transfer to any", func() bool {
		from := l.leader()
		return from.node.Load().TransferLeadership(t.Context(), "") == nil && l.leader() != from
	})
	l.write()
}

func TestMembershipIsRepeatable(t *testing.T) {
	l := newCluster(t, 2)
	m := l.join()
	n := l.leader().node.Load()
	server := string(m.node.Load().serverID)
	vote := func(want, member bool) {
		t.Helper()
		servers, err := n.Servers()
		if got, ok := servers[server]; err != nil || got != want || ok != member {
			t.Errorf("has a vote: %v, is there: %v, %v", got, ok, err)
		}
	}
	for range 2 {
		if err := n.AddVoter(t.Context(), server, m.name); err != nil {
			t.Fatal(err)
		}
		vote(true, true)
	}
	if err := n.AddNonvoter(t.Context(), server, m.name); err != nil {
		t.Error(err)
	}
	vote(true, true) // being let in again takes nothing away
	for range 2 {
		if err := n.DemoteVoter(t.Context(), server); err != nil {
			t.Error(err)
		}
		vote(false, true)
	}
	for range 2 {
		if err := n.RemoveServer(t.Context(), server); err != nil {
			t.Error(err)
		}
		vote(false, false)
	}
	f := l.others(l.leader(), m)[0].node.Load()
	for name, err := range map[string]error{
		"AddNonvoter": f.AddNonvoter(t.Context(), server, m.name), "AddVoter": f.AddVoter(t.Context(), server, m.name),
		"DemoteVoter": f.DemoteVoter(t.Context(), server), "RemoveServer": f.RemoveServer(t.Context(), server),
	} {
		if !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("%s on a follower: %v", name, err)
		}
	}
}

// TestRemovedNodeCannotDisturb: it was cut off when it was removed, so it does not
// know, and goes on standing for election.
func TestRemovedNodeCannotDisturb(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	out := l.others(leader)[0]
	rest := l.others(out)
	server := string(out.node.Load().serverID)
	l.network.isolate(out, true)
	for _, status := range []lifecycle.NodeStatus{lifecycle.Quarantined, lifecycle.Removed} {
		l.mustAmong(&command.SetNodeStatus{ID: out.id, Status: status}, rest...)
	}
	l.eventually("the removal", func() bool { return l.leaderOf(rest...).node.Load().RemoveServer(t.Context(), server) == nil })
	token, _ := l.writeAmong(rest...)
	l.awaitRow(token, rest...)
	for _, m := range rest {
		n := m.node.Load()
		if _, known := n.AddressOf(out.id); known || n.Member(out.id) || n.memberServer(out.node.Load().serverID) || len(n.Members()) != 2 {
			t.Errorf("%s still takes the removed node for a member", m.name)
		}
	}
	l.network.heal()
	l.eventually("a term that outlasts its attempts", func() bool { // a busy machine may change the leader by itself
		term := l.leaderOf(rest...).node.Load().Leadership().Term
		refused := func() int { return strings.Count(l.record.String(), "is not a member") }
		before := refused()
		l.eventually("the removed node stands for election and is refused", func() bool { return refused() > before+1 })
		token, _ = l.writeAmong(rest...)
		return l.leaderOf(rest...).node.Load().Leadership().Term == term
	})
	if out.has(token) {
		t.Error("the removed node is still told")
	}
	refusesLinearizable(t, out)
}

func refusesLinearizable(t *testing.T, m *member) {
	t.Helper()
	if s, err := m.read(linearizable); err == nil || s.Fresh {
		t.Errorf("linearizable read on %s: %v, %v", m.name, s.Fresh, err)
	}
}

// TestStrandedFollower: while it was away a node that it has never heard of joined
// and came to lead. It refuses that node until it has asked those it knows.
func TestStrandedFollower(t *testing.T) {
	l := newCluster(t, 3)
	away := l.others(l.leader())[0]
	away.stop()
	rest := l.others(away)
	joined := l.joinVia(rest...)
	server := string(joined.node.Load().serverID)
	l.eventually("a vote", func() bool {
		return l.leaderOf(rest...).node.Load().AddVoter(t.Context(), server, joined.name) == nil
	})
	l.eventually("the new node leads", func() bool {
		_ = l.leaderOf(append(rest, joined)...).node.Load().TransferLeadership(t.Context(), joined.id) // tried again until it leads
		return joined.node.Load().Leadership().Ready
	})
	token, _ := l.writeAmong(joined)
	away.start()
	if away.node.Load().Member(joined.id) {
		t.Fatal("it knows the new node: this test shows nothing")
	}
	l.awaitRow(token, away)
	l.awaitFresh(away)
	if _, kept := away.node.Load().peers.seed(joined.id); kept {
		t.Error("what it was told outlives what it knows")
	}
}

func TestHintsOnlyMoveAddresses(t *testing.T) {
	l := newCluster(t, 2)
	m := l.leader()
	n := m.node.Load()
	other := l.others(m)[0]
	if addr, ok := n.AddressOf(other.id); !ok || addr != other.name {
		t.Errorf("%q, %v", addr, ok)
	}
	m.hint.Store("elsewhere")
	if addr, ok := n.AddressOf(other.id); !ok || addr != "elsewhere" {
		t.Errorf("%q, %v", addr, ok)
	}
	if n.Member("stranger") {
		t.Error("gossip made a member")
	}
	// Nobody is there. What is connected stays; what is not, comes back with the truth.
	m.hint.Store("")
	l.write()
}
