package integration

import (
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
)

// Processes that stop at marked points, for times around the protocol's own.
var stops = []time.Duration{time.Second, leaseFor, waitFor, 3 * waitFor}

func (s *stage) stopFor() time.Duration {
	if full() {
		return stops[s.random.IntN(len(stops))]
	}
	return stops[s.random.IntN(3)] // the longest takes too long for every run
}

// stopSigners stops a follower and the node without a vote while they sign, each at a
// point of its own, withdraws the key, and lets them go on.
func stopSigners(first, second string) func(*stage) {
	return func(s *stage) {
		_, follower, other := s.cast()
		d := s.stopFor()
		follower.at(first, fault.Stop, 0)
		other.at(second, fault.Stop, 0)
		follower.waitStopped(10 * time.Second)
		other.waitStopped(10 * time.Second)
		until := time.Now().Add(d)
		w, took := s.suspend(follower, other)
		s.expectFenced("two signers stopped", w, took, 10*time.Second)
		s.stay(time.Until(until))
		follower.goOn()
		other.goOn()
		s.stay(time.Second) // what they had begun comes to its end
	}
}

// stopBeforeAck stops a node that has applied the withdrawal and not said so yet.
func stopBeforeAck(s *stage) {
	_, follower, _ := s.cast()
	follower.at(fault.FenceAck, fault.Stop, 0)
	w, took := s.suspend(follower)
	s.expectFenced("a node stopped before its acknowledgement", w, took, 10*time.Second)
	if !follower.stopped() {
		s.find("%s was never asked to acknowledge", follower.name)
	}
	s.stay(s.stopFor())
	follower.goOn()
	s.stay(500 * time.Millisecond)
}

// stopBeforeGrant stops the leader with a grant in its hand, until others lead.
func stopBeforeGrant(s *stage) {
	leader, _, _ := s.cast()
	leader.at(fault.LeaseGrant, fault.Stop, 0)
	leader.waitStopped(10 * time.Second)
	until := time.Now().Add(s.stopFor())
	w, took := s.suspend(leader)
	s.expectFenced("leader stopped with a grant in its hand", w, took, 15*time.Second)
	s.stay(time.Until(until))
	leader.goOn()
	s.stay(time.Second)
}

// zombieLeader stops the leader until the others have fenced without it, and then
// lets it believe for a moment that it still leads.
func zombieLeader(s *stage) {
	leader, _, other := s.cast()
	s.c.net.Apart(hosts(leader, other), hosts(s.c.others(leader, other)...)) // it must not be told
	leader.at(fault.SignAdmitted, fault.Stop, 0)
	leader.waitStopped(10 * time.Second)
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
