package integration

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/integration/netlab"
	"github.com/chancery-project/chancery/transport/wire"
)

// envMinutes is how long the nemesis goes on; `make nemesis MINUTES=n` sets it.
const envMinutes = "CHANCERY_NEMESIS_MINUTES"

// mischief breaks something on or around one node and returns what ends it.
type mischief struct {
	name string
	do   func(s *stage, n *node) (undo func())
}

var mischiefs = []mischief{
	{"alone", func(s *stage, n *node) func() { return s.spoil(n, netlab.Link{Cut: true}, true, true) }},
	{"deaf", func(s *stage, n *node) func() { return s.spoil(n, netlab.Link{Cut: true}, true, false) }},
	{"mute", func(s *stage, n *node) func() { return s.spoil(n, netlab.Link{Cut: true}, false, true) }},
	{"slow links", func(s *stage, n *node) func() {
		return s.spoil(n, netlab.Link{Delay: 50 * time.Millisecond, Jitter: 100 * time.Millisecond}, true, true)
	}},
	{"bad links", func(s *stage, n *node) func() {
		return s.spoil(n, netlab.Link{Loss: 0.1, Duplicate: 0.1, Jitter: 30 * time.Millisecond}, true, true)
	}},
	{"stopped", func(s *stage, n *node) func() { n.send(sigStop); return n.goOn }},
	{"killed", func(s *stage, n *node) func() { n.kill(); return func() { s.revive(n) } }},
	{"stopped at S1", at(fault.SignAdmitted, fault.Stop)},
	{"stopped in C_Sign", at(fault.SignInHSM, fault.Stop)},
	{"stopped after C_Sign", at(fault.SignSigned, fault.Stop)},
	{"stopped at S5", at(fault.SignAtGate, fault.Stop)},
	{"stopped at an acknowledgement", at(fault.FenceAck, fault.Stop)},
	{"stopped at a grant", at(fault.LeaseGrant, fault.Stop)},
	{"killed before B2", at(fault.FenceBounded, fault.Kill)},
	{"killed before B5", at(fault.FenceAsked, fault.Kill)},
	{"killed before settling", at(fault.FenceRecorded, fault.Kill)},
	{"killed while applying", at(fault.ApplyBatch, fault.Kill)},
	{"grants late", sleeps(fault.LeaseGrant, 700)},
	{"acknowledgements late", sleeps(fault.FenceAck, 700)},
	{"applies late", sleeps(fault.ApplyBatch, 300)},
	{"key store slow", sleeps(fault.KeyStoreSign, 1800)},
	{"key store wrong", at(fault.KeyStoreSign, fault.Wrong)},
	{"key store gone", func(s *stage, n *node) func() {
		s.tell(n, fault.Command{Order: &fault.Order{Point: fault.KeyStoreState, Do: fault.Fail}})
		return func() { s.tell(n, fault.Command{Order: &fault.Order{Point: fault.KeyStoreState}}) }
	}},
	{"clock at 0.9", rate(0.9)},
	{"clock at 1.1", rate(1.1)},
	{"slept", func(s *stage, n *node) func() {
		s.tell(n, fault.Command{Clock: &fault.Distortion{BootMS: 30_000}})
		return func() {}
	}},
	{"made leader", func(s *stage, n *node) func() {
		k := s.c.caller(0)
		defer k.Close()
		if _, err := k.TransferLeader(ctx(s.t), wire.TransferLeader{Target: n.name}, client.Wait(wire.Committed, 0)); err != nil {
			s.r.told("transfer leadership", err)
		}
		return func() {}
	}},
}

// spoil makes all links to or from a node, or both, like this one.
func (s *stage) spoil(n *node, link netlab.Link, to, from bool) func() {
	set := func(link netlab.Link) {
		for _, m := range s.c.others(n) {
			if to {
				s.c.net.Set(m.host, n.host, link)
			}
			if from {
				s.c.net.Set(n.host, m.host, link)
			}
		}
	}
	set(link)
	return func() { set(netlab.Link{}) }
}

// at arms a point of a node once, and afterwards lets go on or live again what it hit.
func at(point, do string) func(*stage, *node) func() {
	return func(s *stage, n *node) func() {
		s.tell(n, fault.Command{Order: &fault.Order{Point: point, Do: do, Times: 1}})
		return func() {
			n.goOn()
			s.tell(n, fault.Command{Order: &fault.Order{Point: point}})
			s.revive(n)
		}
	}
}

func sleeps(point string, ms int64) func(*stage, *node) func() {
	return func(s *stage, n *node) func() {
		s.tell(n, fault.Command{Order: &fault.Order{Point: point, Do: fault.Sleep, MS: ms}})
		return func() { s.tell(n, fault.Command{Order: &fault.Order{Point: point}}) }
	}
}

func rate(r float64) func(*stage, *node) func() {
	return func(s *stage, n *node) func() {
		s.tell(n, fault.Command{Clock: &fault.Distortion{Rate: r}})
		return func() { s.tell(n, fault.Command{Clock: &fault.Distortion{Rate: 1}}) }
	}
}

// tell sends a command to a process that may be stopped or dead: then it does not
// hear it, which is as good a plan as any.
func (s *stage) tell(n *node, c fault.Command) {
	if err := n.tryOrder(c, 300*time.Millisecond); err != nil {
		s.r.told("order", err)
	}
}

// revive starts a node that has ended.
func (s *stage) revive(n *node) {
	if n.alive() {
		return
	}
	if err := n.startAgain(); err != nil {
		s.r.told("start", err)
	}
}

// TestNemesis breaks two to four things at once, each for one to ten seconds, again
// and again, for as many minutes as the environment says; then judges. In `make test`
// it is a quarter of a minute.
func TestNemesis(t *testing.T) {
	random := seeded(t)
	length := 15 * time.Second
	if m := os.Getenv(envMinutes); m != "" {
		minutes, err := strconv.ParseFloat(m, 64)
		if err != nil || minutes <= 0 {
			t.Fatalf("%s=%q is no number of minutes", envMinutes, m)
		}
		length = time.Duration(minutes * float64(time.Minute))
	}
	c := startBreakable(t, random.Uint64(), 3, 1)
	s := c.enter(random, traffic{slots: 6, every: 30 * time.Millisecond, think: 60 * time.Millisecond})
	begun, spoken := time.Now(), time.Now()
	played := map[string]int{}
	for rounds := 1; time.Since(begun) < length; rounds++ {
		var names []string
		var wg sync.WaitGroup
		for range 2 + random.IntN(3) {
			m, n := mischiefs[random.IntN(len(mischiefs))], c.nodes[random.IntN(len(c.nodes))]
			names = append(names, n.name+" "+m.name)
			played[m.name]++
			lasts := time.Second + time.Duration(random.Int64N(int64(9*time.Second)))
			wg.Go(func() {
				undo := m.do(s, n)
				s.stay(lasts)
				undo()
			})
			s.stay(time.Duration(random.Int64N(int64(time.Second))))
		}
		wg.Wait()
		s.repair()
		s.stay(time.Duration(random.Int64N(int64(2 * time.Second)))) // in health
		if time.Since(spoken) > time.Minute {
			spoken = time.Now()
			t.Logf("%3.0f min: round %d, %d barriers; last: %s", time.Since(begun).Minutes(), rounds, s.r.barriers(), strings.Join(names, ", "))
		}
	}
	found := s.close()
	t.Logf("nemesis: %s, %v: %d barriers, %d violations", time.Since(begun).Round(time.Second), played, s.r.barriers(), len(found))
	condemn(t, found)
	checkAgreement(t, c)
}
