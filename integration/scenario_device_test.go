package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
)

// slowKeyStore makes a device take twice as long as a request may be old.
func slowKeyStore(s *stage) {
	_, _, other := s.cast()
	other.order(fault.Command{Order: &fault.Order{Point: fault.KeyStoreSign, Do: fault.Sleep, MS: (2 * requestAge).Milliseconds()}})
	began := mono()
	w, took := s.suspend()
	s.expectFenced("a key store that takes 2 D", w, took, 10*time.Second)
	s.restore()
	s.stay(3 * requestAge)
	for _, e := range other.record() {
		if e.Name == "gate" && e.BegunNS > began+int64(requestAge) {
			s.find("%s released a signature for which its key store took %s", other.name, 2*requestAge)
			return
		}
	}
}

// wrongSignatures makes a device give wrong ones: none may leave.
func wrongSignatures(s *stage) {
	_, _, other := s.cast()
	other.order(fault.Command{Order: &fault.Order{Point: fault.KeyStoreSign, Do: fault.Wrong}})
	began := mono()
	s.stay(time.Second)
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	for _, a := range s.r.accepted {
		if a.node == other.name && a.call > began {
			s.find("%s released a wrong signature of %s", other.name, a.key)
			return
		}
	}
}

// goneKeyStore takes a device away: its node gives its lease up.
func goneKeyStore(s *stage) {
	_, _, other := s.cast()
	other.order(fault.Command{Order: &fault.Order{Point: fault.KeyStoreState, Do: fault.Fail}})
	gone := mono()
	s.stay(1500 * time.Millisecond)
	if why := s.c.probe(other, "?for=sign"); why == "" {
		s.find("%s says that it can sign without its key store", other.name)
	}
	if after := time.Duration(lastGate(other) - gone); after > time.Second {
		s.find("%s passed its gate %s after its key store had said that it is gone", other.name, after)
	}
}

// clocks runs one node's clocks at another rate. Within 10 % that is harmless; beyond
// what the protocol allows for, the node has to notice and to stop signing.
func clocks(rate float64, harmless bool) func(*stage) {
	return func(s *stage) {
		_, follower, other := s.cast()
		n := []*node{follower, other}[s.random.IntN(2)]
		n.order(fault.Command{Clock: &fault.Distortion{Rate: rate}})
		defer n.order(fault.Command{Clock: &fault.Distortion{Rate: 1}})
		if !harmless {
			eventually(s.t, 40*time.Second, fmt.Sprintf("%s notices that its clock runs at %.1f", n.name, rate), func() string {
				if why := s.c.probe(n, "?for=sign"); strings.Contains(why, "clock") {
					return ""
				} else if why != "" {
					return "it says something else: " + why
				}
				return "it says that it can sign"
			})
			stopped := mono()
			s.stay(time.Second)
			if after := time.Duration(lastGate(n) - stopped); after > 0 {
				s.find("%s passed its gate %s after it had noticed its clock", n.name, after)
			}
			return
		}
		s.stay(6 * time.Second) // as long as the others need to notice, were it too much
		if why := s.c.probe(n, "?for=sign"); why != "" {
			s.find("%s does not sign with a clock at %.1f: %s", n.name, rate, why)
		}
		s.c.net.Apart(hosts(n), hosts(s.c.others(n)...))
		w, took := s.suspend(n)
		s.expectFenced(fmt.Sprintf("cut off with a clock at %.1f", rate), w, took, 10*time.Second)
		s.stay(leaseFor + time.Second - took)
	}
}

// leaderClock bends the clocks of whoever leads.
func leaderClock(rate float64) func(*stage) {
	return func(s *stage) {
		leader, _, other := s.cast()
		leader.order(fault.Command{Clock: &fault.Distortion{Rate: rate}})
		defer leader.order(fault.Command{Clock: &fault.Distortion{Rate: 1}})
		s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
		w, took := s.suspend(other)
		s.expectFenced(fmt.Sprintf("leader's clock at %.1f and a node cut off", rate), w, took, 10*time.Second)
		s.stay(leaseFor + time.Second - took)
	}
}

// failingDisk lets strace fail or delay what one node's syncs do.
func failingDisk(inject string, ends bool) func(*stage) {
	return func(s *stage) {
		_, follower, _ := s.cast()
		file := filepath.Join(follower.dir, "strace")
		cmd := exec.Command("strace", "-f", "-q", "-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:"+inject, "-o", file, "-p", fmt.Sprint(follower.pid()))
		if err := cmd.Start(); err != nil {
			s.t.Fatalf("%v: run scripts/deps", err)
		}
		defer func() {
			_ = cmd.Process.Kill() // it ends with its node, too
			_ = cmd.Wait()
		}()
		s.stay(300 * time.Millisecond)
		w, took := s.suspend(follower)
		s.expectFenced("syncs of one node: "+inject, w, took, 15*time.Second)
		if ends {
			eventually(s.t, 20*time.Second, follower.name+" stops when a sync fails", func() string {
				if follower.alive() {
					return "it goes on"
				}
				return ""
			})
		}
	}
}
