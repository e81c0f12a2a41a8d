package integration

import (
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/integration/netlab"
	"github.com/chancery-project/chancery/transport/wire"
)

// healthy is what everything else is compared with.
func healthy(s *stage) {
	for range 5 {
		w, took := s.suspend()
		s.expectFenced("healthy", w, took, 3*time.Second)
		s.restore()
	}
}

// cutFollower cuts one voter off from all other nodes; callers still reach it.
func cutFollower(s *stage) {
	_, follower, _ := s.cast()
	s.cutOff("a voter cut off", follower)
}

// cutOther cuts the node without a vote off.
func cutOther(s *stage) {
	_, _, other := s.cast()
	s.cutOff("a node without a vote cut off", other)
}

// cutLeader leaves the leader alone.
func cutLeader(s *stage) {
	leader, _, _ := s.cast()
	s.cutOff("the leader cut off", leader)
}

// cutLeaderWithNonvoters leaves the leader with nodes that must not confirm it.
func cutLeaderWithNonvoters(s *stage) {
	leader, _, _ := s.cast()
	s.cutOff("the leader with the nodes without a vote", append(s.nonvoters(), leader)...)
	for _, e := range leader.record() {
		if e.Name == "grant" && e.BegunNS > s.cutNS+int64(300*time.Millisecond) && e.NS < s.healedNS {
			s.find("%s granted a lease whose confirmation began %s after it had lost the voters", leader.name, time.Duration(e.BegunNS-s.cutNS))
		}
	}
}

// cutTwo cuts leader and a follower off, each for itself, until they are healed: no
// quorum is left anywhere, and nobody may sign or withdraw.
func cutTwo(s *stage) {
	leader, follower, other := s.cast()
	s.c.net.Apart(hosts(leader), hosts(s.c.others(leader)...))
	s.c.net.Apart(hosts(follower), hosts(s.c.others(follower)...))
	cut := mono()
	s.stay(leaseFor + time.Second)
	s.expectSilence("no quorum anywhere", cut, leader, follower, other)
	if got := s.statusAt(leader, s.key, wire.Bounded); got == wire.Good && mono()-cut > int64(statusBound+500*time.Millisecond) {
		s.find("%s says %s without a quorum", leader.name, got)
	}
	s.c.net.Heal()
	w, took := s.suspend()
	s.expectFenced("after a time without a quorum", w, took, 20*time.Second)
}

// cutOff cuts nodes from all others, withdraws the key through the others, and
// watches those that were cut off until their leases have run out.
func (s *stage) cutOff(what string, nodes ...*node) {
	rest := s.c.others(nodes...)
	s.c.net.Apart(hosts(nodes...), hosts(rest...))
	s.cutNS = mono()
	w, took := s.suspend(nodes...)
	s.expectFenced(what, w, took, 15*time.Second)
	s.stay(time.Until(time.Now().Add(leaseFor + 500*time.Millisecond - time.Duration(mono()-s.cutNS))))
	s.healedNS = mono()
	s.expectSilence(what, s.cutNS, nodes...)
}

// staleStatus cuts a node off until its state is too old to say good, and asks it
// every way there is.
func staleStatus(s *stage) {
	_, _, other := s.cast()
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	w, took := s.suspend(other)
	s.expectFenced("before stale status answers", w, took, 10*time.Second)
	s.stay(statusBound + 500*time.Millisecond - took)
	for _, level := range []string{wire.Bounded, wire.Stale} {
		if got := s.statusAt(other, s.key, level); got == wire.Good {
			s.find("%s says %s at level %s, %s after it was cut off", other.name, got, level, statusBound+500*time.Millisecond)
		}
	}
}

// oneWay cuts one direction only: what the leader says, or what it hears.
func oneWay(deaf bool) func(*stage) {
	return func(s *stage) {
		leader, _, _ := s.cast()
		for _, n := range s.c.others(leader) {
			if deaf {
				s.c.net.Set(n.host, leader.host, netlab.Link{Cut: true})
			} else {
				s.c.net.Set(leader.host, n.host, netlab.Link{Cut: true})
			}
		}
		cut := mono()
		w, took := s.suspend(leader)
		s.expectFenced(fmt.Sprintf("one way, leader deaf %v", deaf), w, took, 20*time.Second)
		s.expectSilence("one way", cut, leader)
	}
}

// partial cuts two voters from each other, both of which reach the third.
func partial(s *stage) {
	leader, follower, _ := s.cast()
	s.c.net.Apart(hosts(leader), hosts(follower))
	w, took := s.suspend()
	s.expectFenced("leader and a voter do not hear each other", w, took, 20*time.Second)
}

// badLinks makes every link slow, lossy and unordered.
func badLinks(s *stage) {
	for i, a := range s.c.nodes {
		for _, b := range s.c.nodes[i+1:] {
			s.c.net.Both(a.host, b.host, netlab.Link{Delay: 20 * time.Millisecond, Jitter: 60 * time.Millisecond, Loss: 0.05, Duplicate: 0.05})
		}
	}
	for range 3 {
		w, took := s.suspend()
		s.expectFenced("5 % loss, reordered and repeated packets", w, took, 15*time.Second)
		s.restore()
	}
}

// slowLinks delays everything by 50 ms each way. Its caller is near the leader and knows
// it: what is measured is the fence, three round trips and what they cost.
func slowLinks(s *stage) {
	for i, a := range s.c.nodes {
		for _, b := range s.c.nodes[i+1:] {
			s.c.net.Both(a.host, b.host, netlab.Link{Delay: 50 * time.Millisecond})
		}
	}
	leader, _, _ := s.cast()
	k := s.c.caller(0, leader)
	defer k.Close()
	if _, err := k.Key(ctx(s.t), s.key); err != nil { // it is connected now
		s.t.Fatal(err)
	}
	s.stay(time.Second) // connections get to know their links
	for range 5 {
		w, took := s.suspendBy(k, s.key, wire.Fenced)
		s.expectFenced("100 ms round trips", w, took, 5*time.Second)
		s.restore()
	}
}

// flapping cuts and heals one voter's links again and again.
func flapping(s *stage) {
	_, follower, _ := s.cast()
	for range 4 {
		s.c.net.Apart(hosts(follower), hosts(s.c.others(follower)...))
		s.stay(time.Second)
		s.c.net.Heal()
		s.stay(500 * time.Millisecond)
		w, took := s.suspend()
		s.expectFenced("a flapping link", w, took, 15*time.Second)
		s.restore()
	}
}

// lateGrants delays grants for about as long as they last. All of them come too late.
func lateGrants(s *stage) {
	leader, _, _ := s.cast()
	for _, d := range []time.Duration{leaseFor / 2, leaseFor, waitFor, 2 * waitFor} {
		leader.order(fault.Command{Order: &fault.Order{Point: fault.LeaseGrant, Do: fault.Sleep, MS: d.Milliseconds(), Times: 3}})
		w, took := s.suspend()
		s.expectFenced("grants late by "+d.String(), w, took, 15*time.Second)
		if full() {
			s.stay(d - took) // they come
		}
		s.restore()
		if !full() && d > leaseFor/2 {
			break
		}
	}
}

// fiveAtOnce opens five fences in one moment, with one node that none of them reaches.
func fiveAtOnce(s *stage) {
	_, _, other := s.cast()
	var keys []string
	for i := range 5 {
		key := fmt.Sprintf("%s-%x-%d", s.key, s.random.Uint32(), i)
		s.createKey(key, "")
		keys = append(keys, key)
	}
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			w, took := s.suspendKey(key, wire.Settled, other)
			s.expectFenced("one of five", w, took, 15*time.Second)
		})
	}
	wg.Wait()
	s.c.net.Heal()
	for _, key := range keys {
		s.restoreKey(key)
	}
}

// transferDuringFence hands leadership over while a fence is open.
func transferDuringFence(s *stage) {
	_, follower, other := s.cast()
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, took := s.suspend(other)
		s.expectFenced("leadership handed over meanwhile", w, took, 15*time.Second)
	}()
	s.stay(500 * time.Millisecond)
	k := s.c.caller(0, s.c.others(other)...)
	defer k.Close()
	if _, err := k.TransferLeader(ctx(s.t), wire.TransferLeader{Target: follower.name}); err != nil {
		s.t.Logf("transfer leadership: %v", err)
	}
	<-done
}

// lagging holds back what one node applies while it hears everything: it must say
// that it is behind, and its lease must not be renewed for a state it has not got.
func lagging(s *stage) {
	_, follower, _ := s.cast()
	follower.order(fault.Command{Order: &fault.Order{Point: fault.ApplyBatch, Do: fault.Sleep, MS: 7000, Times: 1}})
	w, took := s.suspend(follower)
	s.expectFenced("a node that does not apply", w, took, 10*time.Second)
	s.stay(statusBound + 800*time.Millisecond - took)
	for _, level := range []string{wire.Bounded, wire.Stale} {
		if got := s.statusAt(follower, s.key, level); got == wire.Good {
			s.find("%s says %s at level %s and has not applied the suspension", follower.name, got, level)
		}
	}
}

// removeDuringFence removes a node that is cut off while fences wait for it: not
// before its quarantine is fenced.
func removeDuringFence(s *stage) {
	_, _, other := s.cast()
	rest := s.c.others(other)
	s.c.net.Apart(hosts(other), hosts(rest...))
	cut := mono()
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, took := s.suspend(other)
		s.expectFenced("a node removed meanwhile", w, took, 15*time.Second)
	}()
	k := s.c.clientWith(func(cfg *client.Config) { cfg.Timeout = 20 * time.Second }, rest...)
	defer k.Close()
	if _, err := k.Quarantine(ctx(s.t), other.name, wire.Quarantine{Reason: "removed during a fence"}, client.Wait(wire.Committed, 0)); err != nil {
		s.t.Fatalf("quarantine %s: %v", other.name, err)
	}
	if _, err := k.RemoveNode(ctx(s.t), other.name, wire.RemoveNode{Lost: true}, client.Wait(wire.Committed, 0)); wire.CodeOf(err) != wire.NotFenced && time.Duration(mono()-cut) < leaseFor {
		s.find("%s was removed while it may hold a lease: %v", other.name, err)
	}
	<-done
	eventually(s.t, 20*time.Second, other.name+" is removed", func() string {
		if _, err := k.RemoveNode(ctx(s.t), other.name, wire.RemoveNode{Lost: true}, client.Wait(wire.Committed, 0)); err == nil {
			return ""
		} else if row, shown := k.Node(ctx(s.t), other.name); shown != nil || row.Status != lifecycle.Removed {
			return err.Error()
		}
		return "" // an earlier request went through, and its answer was lost
	})
	s.c.net.Heal()
	s.stay(time.Second)
	if after := time.Duration(lastGate(other) - cut); after > leaseFor+250*time.Millisecond {
		s.find("%s passed its gate %s after it was cut off, and was removed", other.name, after)
	}
	s.c.nodes, s.c.retired = rest, append(s.c.retired, other)
}

// leaderAppliesLate lets one follower apply an entry before the leader and another
// follower have: whoever has read it on the one must not read less on the other.
func leaderAppliesLate(s *stage) {
	leader, follower, other := s.cast()
	for _, n := range []*node{leader, other} {
		n.order(fault.Command{Order: &fault.Order{Point: fault.ApplyBatch, Do: fault.Sleep, MS: 400}})
	}
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); {
		for _, n := range []*node{follower, other} {
			if key := s.r.key(s.random); key != "" {
				s.r.readOnce(n, key)
			}
		}
	}
}
