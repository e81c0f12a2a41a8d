package integration

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/transport/wire"
)

// seedling is an error that is put into the program on purpose, and the play in which
// the laboratory must catch it. Without the error the same play finds nothing.
type seedling struct {
	fault string
	in    *play
	quick bool // also in `make test`
}

// play is a scenario made for one error, or for two that show in the same way.
type play struct{ run func(*stage) }

var (
	acrossTheFence    = &play{stoppedAcrossFence}
	afterALateGrant   = &play{cutAfterLateGrant}
	beforeATransfer   = &play{cutBeforeTransfer}
	amidAGrant        = &play{fenceBetweenIndexAndRecord}
	amongNonvoters    = &play{cutLeaderWithNonvoters}
	appliesNothing    = &play{stuckApply}
	oldGrants         = &play{replayedGrant}
	grantsBeforeStart = &play{replayedAfterRestart}
	tooOldForGood     = &play{staleStatus}
	askedTwice        = &play{askedAgain}
	unheard           = &play{cutOther}
	insideTheGate     = &play{slowInGate}
	strictKey         = &play{strictSigning}
)

var seedlings = []seedling{
	{fault.NoGate, acrossTheFence, true},
	{fault.LeaseFromReceipt, afterALateGrant, false},
	{fault.NoElectionWait, beforeATransfer, false},
	{fault.IndexBeforeRecord, amidAGrant, false},
	{fault.NoConfirmation, amongNonvoters, true},
	{fault.CountNonvoters, amongNonvoters, false},
	{fault.RaftApplied, appliesNothing, false},
	{fault.NoNonce, oldGrants, false},
	{fault.GrantAfterRestart, grantsBeforeStart, false},
	{fault.StaleGood, tooOldForGood, false},
	{fault.CachedGood, askedTwice, false},
	{fault.DuplicateApply, unheard, true},
	{fault.AckBeforeDrain, insideTheGate, false},
	{fault.AckBeforeApply, appliesNothing, false},
	{fault.NoWait, unheard, false},
	{fault.StrictSkipped, strictKey, true},
}

// quiet is traffic that changes nothing: a state that somebody missed stays missed.
var quiet = traffic{slots: 1, every: time.Hour, think: 15 * time.Millisecond}

// tries of a play: what it does to its victim depends on the moment.
const tries = 4

// TestSeededFaults shows that the laboratory finds something: each fault is switched
// on, on all nodes, and has to be caught. `make seeded-faults` takes all of them, after
// it has played all the plays without any fault.
func TestSeededFaults(t *testing.T) {
	random := seeded(t)
	all := full() || os.Getenv(envScenes) != ""
	others := 1
	if all {
		others = 2 // as many as make a majority with a leader, if somebody counts them
	}
	c := startBreakable(t, random.Uint64(), 3, others)
	chosen := slices.DeleteFunc(slices.Clone(seedlings), func(g seedling) bool {
		words := os.Getenv(envScenes)
		return !all && !g.quick || words != "" && !slices.Contains(strings.Split(words, ","), g.fault)
	})
	if all {
		s, played := c.enter(random, quiet), map[*play]bool{}
		for _, g := range chosen {
			if !played[g.in] {
				played[g.in] = true
				s.play(scenario{name: "without " + g.fault, play: g.in.run})
			}
		}
		condemn(t, s.close())
	}
	caught := 0
	for _, g := range chosen {
		if why := c.catch(t, g, func() *stage { return c.enter(random, quiet) }); why == "" {
			t.Errorf("NOT CAUGHT: %s", g.fault)
		} else {
			caught++
			t.Logf("caught %s: %s", g.fault, why)
		}
		if all {
			c.restartAll() // what the fault has left behind in memory ends with it
		}
	}
	t.Logf("%d of %d seeded faults were caught", caught, len(chosen))
}

// catch plays with the fault on until something is found. "" = nothing was.
func (c *lab) catch(t *testing.T, g seedling, enter func() *stage) string {
	t.Helper()
	for range tries {
		s := enter()
		for _, n := range c.nodes {
			n.env = append(n.env, fault.EnvFaults+"="+g.fault) // for those that are started again
			n.order(fault.Command{Seed: g.fault, On: true})
		}
		s.play(scenario{name: g.fault, play: g.in.run})
		for _, n := range c.nodes {
			n.env = n.env[:len(n.env)-1]
			n.order(fault.Command{Seed: g.fault})
		}
		if found := s.close(); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

func (c *lab) restartAll() {
	for _, n := range c.nodes {
		n.kill()
	}
	for _, n := range c.nodes {
		n.start(c.t)
	}
	for _, n := range c.nodes {
		c.waitSigns(n)
	}
}

// stoppedAcrossFence stops a node between C_Sign and the gate for longer than its
// lease, and withdraws the key meanwhile.
func stoppedAcrossFence(s *stage) {
	_, _, other := s.cast()
	other.at(fault.SignSigned, fault.Stop, 0)
	other.waitStopped(10 * time.Second)
	w, took := s.suspend(other)
	s.expectFenced("stopped before the gate", w, took, 15*time.Second)
	s.stay(100 * time.Millisecond)
	other.goOn()
	s.stay(500 * time.Millisecond)
}

// cutAfterLateGrant has every grant come late to a node whose clock is as slow as the
// protocol allows for, and cuts the node off when it has just got one.
func cutAfterLateGrant(s *stage) {
	leader, _, other := s.cast()
	id := string(nodeID(s.c, other))
	other.order(fault.Command{Clock: &fault.Distortion{Rate: 0.9}})
	leader.order(fault.Command{Order: &fault.Order{Point: fault.LeaseGrant, Do: fault.Sleep, MS: 800}})
	s.stay(2 * time.Second)
	leader.await("a grant for "+other.name, func(e event) bool { return e.Name == "grant" && e.NodeID == id })
	s.stay(30 * time.Millisecond) // it is on its way
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	w, took := s.suspend(other)
	s.expectFenced("cut off after a late grant", w, took, 15*time.Second)
	s.stay(leaseFor + 2*time.Second - took)
}

// cutBeforeTransfer cuts a node off that holds a lease, and has another leader answer
// for it, who has granted none.
func cutBeforeTransfer(s *stage) {
	_, follower, other := s.cast()
	s.c.net.Apart(hosts(other), hosts(s.c.others(other)...))
	k := s.c.caller(0, s.c.others(other)...)
	defer k.Close()
	if _, err := k.TransferLeader(ctx(s.t), wire.TransferLeader{Target: follower.name}); err != nil {
		s.t.Logf("transfer leadership: %v", err)
	}
	w, took := s.suspend(other)
	s.expectFenced("a new leader, and a node cut off before", w, took, 15*time.Second)
	s.stay(leaseFor + time.Second - took)
}

// fenceBetweenIndexAndRecord opens a fence while a grant is being made, for a node
// that hears everything and applies nothing.
func fenceBetweenIndexAndRecord(s *stage) {
	leader, _, other := s.cast()
	id := string(nodeID(s.c, other))
	other.order(fault.Command{Clock: &fault.Distortion{Rate: 0.9}})
	other.at(fault.ApplyBatch, fault.Sleep, 8000)
	const within = 250 * time.Millisecond
	leader.order(fault.Command{Order: &fault.Order{Point: fault.LeaseIndexed, Do: fault.Sleep, MS: within.Milliseconds()}})
	leader.order(fault.Command{Order: &fault.Order{Point: fault.LeaseGrant, Do: fault.Sleep, MS: 500}}) // so that one lease ends well after the one before
	s.stay(1500 * time.Millisecond)
	leader.await("a grant for "+other.name, func(e event) bool { return e.Name == "grant" && e.NodeID == id })
	s.stay(renewEvery + time.Duration(s.random.Int64N(int64(within/2)))) // now it has asked again
	w, took := s.suspend(other)
	s.expectFenced("in the middle of a grant", w, took, 15*time.Second)
	s.stay(leaseFor + 2*time.Second - took)
}

// stuckApply lets a node hear of a withdrawal and not apply it.
func stuckApply(s *stage) {
	_, _, other := s.cast()
	other.at(fault.ApplyBatch, fault.Sleep, 7000)
	w, took := s.suspend(other)
	s.expectFenced("a node that does not apply", w, took, 15*time.Second)
	s.stay(6*time.Second - took)
}

// replayedGrant gives a node that does not apply an old grant in place of each new one.
func replayedGrant(s *stage) {
	_, _, other := s.cast()
	s.replayTo(other)
}

// replayedAfterRestart is replayedGrant with a grant for the process before.
func replayedAfterRestart(s *stage) {
	_, _, other := s.cast()
	other.at(fault.LeaseTaken, fault.Keep, 0)
	s.stay(2500 * time.Millisecond)
	other.kill()
	other.start(s.t)
	s.c.waitSigns(other)
	s.replay(other)
}

func (s *stage) replayTo(n *node) {
	n.at(fault.LeaseTaken, fault.Keep, 0)
	s.stay(2500 * time.Millisecond)
	s.replay(n)
}

func (s *stage) replay(n *node) {
	n.at(fault.ApplyBatch, fault.Sleep, 8000)
	n.order(fault.Command{Order: &fault.Order{Point: fault.LeaseTaken, Do: fault.Replay}})
	w, took := s.suspend(n)
	s.expectFenced("old grants replayed", w, took, 15*time.Second)
	s.stay(7*time.Second - took)
}

// askedAgain asks all nodes for the status of a key before and after it is withdrawn,
// and once more when all answers from before are too old.
func askedAgain(s *stage) {
	ask := func() {
		for _, n := range s.c.nodes {
			for _, level := range []string{wire.Bounded, wire.Stale} {
				s.statusAt(n, s.key, level)
			}
		}
	}
	ask()
	w, took := s.suspend()
	s.expectFenced("asked again and again", w, took, 10*time.Second)
	ask()
	s.stay(statusBound + 500*time.Millisecond)
	ask()
}

// slowInGate keeps a signature inside the gate while its key is withdrawn.
func slowInGate(s *stage) {
	_, _, other := s.cast()
	other.order(fault.Command{Order: &fault.Order{Point: fault.SignInGate, Do: fault.Sleep, MS: 400}})
	s.stay(200 * time.Millisecond)
	w, took := s.suspend()
	s.expectFenced("somebody is inside the gate", w, took, 15*time.Second)
	s.stay(time.Second)
}

// strictSigning signs with a strict key on every node and revokes it.
func strictSigning(s *stage) {
	key := s.key + "-strict"
	s.r.expectStrict(key)
	s.createKey(key, `{"strict":true}`)
	for i, n := range s.c.nodes {
		k := s.c.clientWith(func(cfg *client.Config) {}, n)
		for range 3 {
			s.r.signOnce(n, k, key, "admin", true, 2*i)
		}
		k.Close()
	}
	w, took := s.suspendKey(key, wire.Fenced)
	s.expectFenced("a strict key", w, took, 10*time.Second)
	s.restoreKey(key)
}
