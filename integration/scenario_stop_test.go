package integration

import (
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
)

// Processes that stop at marked points, for times around the protocol's own.
var stops = []time.Duration{time.Second, leaseFor, waitFor, 3 * waitFor}

// eachStop plays with every length of a stop, or with one of the shorter ones where
// there is little time, and repairs in between.
func (s *stage) eachStop(play func(d time.Duration)) {
	if !full() {
		play(stops[s.random.IntN(3)])
		return
	}
	for i, d := range stops {
		if i > 0 {
			s.repair()
		}
		play(d)
	}
}

// meanwhile withdraws the key, asking all nodes but these, and lets them go on after d,
// fenced or not.
func (s *stage) meanwhile(what string, d time.Duration, stopped ...*node) {
	goOn := func() {
		for _, n := range stopped {
			n.goOn()
		}
	}
	until := time.Now().Add(d)
	time.AfterFunc(d, goOn)
	w, took := s.suspend(stopped...)
	s.expectFenced(what+" for "+d.String(), w, took, 15*time.Second)
	s.stay(time.Until(until))
	goOn()
	s.stay(time.Second) // what they had begun comes to its end
}

// stopSigners stops a follower and the node without a vote while they sign, each at a
// point of its own, withdraws the key, and lets them go on.
func stopSigners(first, second string) func(*stage) {
	return func(s *stage) {
		s.eachStop(func(d time.Duration) {
			_, follower, other := s.cast()
			follower.at(first, fault.Stop, 0)
			other.at(second, fault.Stop, 0)
			follower.waitStopped(10 * time.Second)
			other.waitStopped(10 * time.Second)
			s.meanwhile("two signers stopped", d, follower, other)
		})
	}
}

// stopBeforeAck stops a node that has applied the withdrawal and not said so yet.
func stopBeforeAck(s *stage) {
	s.eachStop(func(d time.Duration) {
		_, follower, _ := s.cast()
		follower.at(fault.FenceAck, fault.Stop, 0)
		var fenced sync.WaitGroup
		fenced.Go(func() {
			w, took := s.suspend(follower)
			s.expectFenced("a node stopped before its acknowledgement for "+d.String(), w, took, 10*time.Second)
		})
		follower.waitStopped(10 * time.Second)
		s.stay(d)
		follower.goOn()
		fenced.Wait()
		s.stay(500 * time.Millisecond)
	})
}

// stopBeforeGrant stops the leader with a grant in its hand; if that is long, others
// lead when it goes on.
func stopBeforeGrant(s *stage) {
	s.eachStop(func(d time.Duration) {
		leader, _, _ := s.cast()
		leader.at(fault.LeaseGrant, fault.Stop, 0)
		leader.waitStopped(10 * time.Second)
		s.meanwhile("leader stopped with a grant in its hand", d, leader)
	})
}

// zombieLeader stops the leader until the others have fenced without it, and then
// lets it believe for a moment that it still leads.
func zombieLeader(s *stage) {
	leader, _, other := s.cast()
	leader.at(fault.SignAdmitted, fault.Stop, 0)
	leader.waitStopped(10 * time.Second)                                     // not cut off before: it may have to be granted a lease first
	s.c.net.Apart(hosts(leader, other), hosts(s.c.others(leader, other)...)) // it must not be told
	w, took := s.suspend(leader, other)
	s.expectFenced("zombie leader", w, took, 15*time.Second)
	leader.goOn()
	s.stay(2 * time.Second)
}

// starved lets a follower and the node without a vote run for a tenth of the time, in
// slices of less than a lease: they renew late, answer late, and are stopped anywhere.
func starved(s *stage) {
	_, follower, other := s.cast()
	over := make(chan struct{})
	var ended sync.WaitGroup
	for _, n := range []*node{follower, other} {
		stopped := 400*time.Millisecond + time.Duration(s.random.Int64N(int64(400*time.Millisecond)))
		ended.Go(func() {
			for {
				n.send(sigStop)
				time.Sleep(stopped) // the fault itself
				n.goOn()
				select {
				case <-over:
					return
				case <-time.After(stopped / 10):
				}
			}
		})
	}
	for range 3 {
		w, took := s.suspend(follower, other)
		s.expectFenced("two nodes starved", w, took, 15*time.Second)
		s.restore()
	}
	close(over)
	ended.Wait()
}

// killLeaderAt kills the leader between two steps of a fence.
func killLeaderAt(point string) func(*stage) {
	return func(s *stage) {
		leader, _, _ := s.cast()
		leader.at(point, fault.Kill, 0)
		w, took := s.suspend()
		s.expectFenced("leader killed at "+point, w, took, 15*time.Second)
		if leader.alive() {
			s.find("the leader was not killed at %s", point)
		}
	}
}

// restartAfterAck restarts a node that has acknowledged while the fence waits for
// another one.
func restartAfterAck(s *stage) {
	_, follower, other := s.cast()
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w, took := s.suspend(follower, other)
		s.expectFenced("a node restarted after its acknowledgement", w, took, 10*time.Second)
	}()
	s.stay(700 * time.Millisecond)
	follower.kill()
	follower.start(s.t)
	<-done
}

// suspendedMachine makes one node's clocks tell that it slept for a minute.
func suspendedMachine(s *stage) {
	_, _, other := s.cast()
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	other.order(fault.Command{Clock: &fault.Distortion{BootMS: 60_000}})
	slept := mono()
	s.stay(time.Second)
	if after := time.Duration(lastGate(other) - slept); after > 300*time.Millisecond {
		s.find("%s passed its gate %s after it had slept for a minute", other.name, after)
	}
}
