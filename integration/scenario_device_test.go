package integration

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/transport/wire"
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

// wallClock sets one node's wall clock wrong. It goes on signing what bears no date, and
// its leases and fences are what they were; it gives out no token.
func wallClock(s *stage) {
	_, n, _ := s.cast()
	off := []time.Duration{-24 * time.Hour, 10 * time.Second, 365 * 24 * time.Hour}[s.random.IntN(3)]
	key := s.key + "-token"
	_, err := s.c.admin.CreateKey(ctx(s.t), wire.CreateKey{Name: key, Purpose: "token", Alg: "ES256", Owner: "lab@example.com", BusinessReason: "laboratory"}, client.Wait(wire.Activated, 20*time.Second))
	if err != nil {
		s.t.Fatalf("make a key for tokens: %v", err)
	}
	k := s.c.clientWith(func(cfg *client.Config) { cfg.Timeout, cfg.AttemptTimeout = time.Second, time.Second }, n) // a wrong clock is tried again
	defer k.Close()
	token := func() error {
		_, err := k.SignJWT(ctx(s.t), key, wire.JWTRequest{Claims: []byte(`{}`)}, client.At(n.api))
		return err
	}
	given := func() string {
		if err := token(); err != nil {
			return err.Error()
		}
		return ""
	}
	eventually(s.t, 20*time.Second, n.name+" gives out tokens", given)
	n.order(fault.Command{Clock: &fault.Distortion{WallMS: off.Milliseconds()}})
	for range 3 { // at once, and after the others have heard it
		if token() == nil {
			s.find("%s, whose clock is off by %s, gave out a token", n.name, off)
		}
		s.stay(700 * time.Millisecond)
	}
	eventually(s.t, 20*time.Second, n.name+" says that it is its clock", func() string {
		if why := given(); !strings.Contains(why, "clock") {
			return "it says: " + why
		}
		return ""
	})
	eventually(s.t, 20*time.Second, "the status names the clock", func() string {
		st, err := s.c.admin.Status(ctx(s.t))
		if err != nil {
			return err.Error()
		}
		for _, p := range st.Problems {
			if p.Code == "clock_off" && p.Subject == n.name {
				return ""
			}
		}
		return fmt.Sprint(st.Problems)
	})
	if why := s.c.probe(n, "?for=sign"); why != "" {
		s.find("%s does not sign with a wall clock that is off by %s: %s", n.name, off, why)
	}
	w, took := s.suspend()
	s.expectFenced(fmt.Sprintf("a wall clock off by %s", off), w, took, 10*time.Second)
	n.order(fault.Command{Clock: &fault.Distortion{Rate: 1}})
	eventually(s.t, 20*time.Second, n.name+" gives out tokens again", given)
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

// syncs are the system calls that make writes last.
const syncs = "fsync,fdatasync"

// failingDisk lets strace fail or delay such system calls of one node.
func failingDisk(calls, inject string, ends bool) func(*stage) {
	return func(s *stage) {
		_, follower, _ := s.cast()
		file := filepath.Join(follower.dir, "strace")
		cmd := exec.Command("strace", "-f", "-q", "-e", "trace="+calls, "-e", "inject="+calls+":"+inject, "-o", file, "-p", fmt.Sprint(follower.pid()))
		if err := cmd.Start(); err != nil {
			s.t.Fatalf("%v: run scripts/deps", err)
		}
		defer func() {
			_ = cmd.Process.Kill() // it ends with its node, too
			_ = cmd.Wait()
		}()
		s.stay(300 * time.Millisecond)
		w, took := s.suspend(follower)
		s.expectFenced("the disk of one node: "+inject, w, took, 15*time.Second)
		if ends {
			eventually(s.t, 20*time.Second, follower.name+" stops when its disk fails", func() string {
				if follower.alive() {
					return "it goes on"
				}
				return ""
			})
		}
	}
}
