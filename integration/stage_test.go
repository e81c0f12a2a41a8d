package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/transport/wire"
)

// The protocol's constants, as PROTOCOL has them; measured against, never asked for.
const (
	leaseFor   = 3 * time.Second         // L
	waitFor    = 3750 * time.Millisecond // W
	requestAge = 2 * time.Second         // D
	renewEvery = 500 * time.Millisecond  // between the answer to one request for a lease and the next request
)

// stage is a laboratory in which scenarios are played one after another, with callers
// that sign, read and take rights away all the time.
type stage struct {
	t      *testing.T
	c      *lab
	r      *trial
	random *rand.Rand
	key    string // of the scenarios themselves

	cutNS, healedNS int64 // of the last cutOff

	mu       sync.Mutex // owns the rest
	findings []string
	measured []string
	scenes   []scene
}

// scene is when a scenario was played, for whoever reads a violation.
type scene struct {
	name string
	at   int64
}

// scenario breaks something and looks what happens. It leaves the repair to the stage.
type scenario struct {
	name string
	long bool // not in `make test`
	play func(*stage)
}

// enter opens a stage on a cluster: a key of its own, and callers.
func (c *lab) enter(random *rand.Rand, l traffic) *stage {
	c.t.Helper()
	s := &stage{t: c.t, c: c, random: random, key: fmt.Sprintf("stage-%x", random.Uint32())}
	s.r = c.try(random, l)
	c.t.Cleanup(s.r.end) // also when a scenario ends the test
	s.createKey(s.key, "")
	for _, n := range c.nodes {
		eventually(c.t, 60*time.Second, n.name+" signs for the callers", func() string {
			if !s.r.signedBy(n.name) {
				return "not yet"
			}
			return ""
		})
	}
	return s
}

// play plays one scenario and brings the cluster back to health.
func (s *stage) play(sc scenario) {
	s.mu.Lock()
	s.scenes = append(s.scenes, scene{sc.name, mono()})
	s.mu.Unlock()
	began := time.Now()
	sc.play(s)
	s.repair()
	s.t.Logf("%-46s %5.1f s", sc.name, time.Since(began).Seconds())
}

// repair makes everything whole: the network, orders, clocks, processes; and waits
// until all nodes sign.
func (s *stage) repair() {
	s.t.Helper()
	s.c.net.Heal()
	for _, n := range s.c.nodes {
		eventually(s.t, 20*time.Second, n.name+" forgets its orders", func() string {
			n.goOn() // an order that it finds only now may stop it once more
			s.revive(n)
			if err := n.tryOrder(fault.Command{Clear: true, Clock: &fault.Distortion{Rate: 1}}, time.Second); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	for _, n := range s.c.nodes {
		s.c.waitSigns(n)
	}
	s.restore()
}

// waitSigns waits until a node may sign again; patiently, because an election may
// have to end first.
func (c *lab) waitSigns(n *node) {
	c.t.Helper()
	eventually(c.t, 60*time.Second, n.name+" may sign again", func() string {
		if !n.alive() {
			if err := n.startAgain(); err != nil { // it gave up: what it could not do has ended meanwhile
				return err.Error()
			}
		}
		return c.probe(n, "?for=sign")
	})
}

// find reports what should not be.
func (s *stage) find(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.findings = append(s.findings, fmt.Sprintf(format, args...))
}

// measure notes a number for the summary.
func (s *stage) measure(what string, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measured = append(s.measured, fmt.Sprintf("%s: %s", what, d.Round(time.Millisecond)))
}

// close ends the callers and returns everything that was found, by the scenarios and
// by the judges.
func (s *stage) close() []string {
	s.t.Helper()
	s.r.end()
	s.r.resolve(s.t)
	s.r.report(s.t)
	s.t.Logf("%d barriers came to their end; measured: %s", s.r.barriers(), strings.Join(s.measured, "; "))
	return append(s.findings, s.r.findings(s.t)...)
}

// leader and a follower with a vote and a node without one: the cast of most plays.
func (s *stage) cast() (leader, follower, other *node) {
	s.t.Helper()
	leader = s.c.leader()
	for _, n := range s.c.others(leader) {
		if n.voter {
			follower = n
		} else {
			other = n
		}
	}
	return leader, follower, other
}

// nonvoters are the nodes without a vote.
func (s *stage) nonvoters() (out []*node) {
	for _, n := range s.c.nodes {
		if !n.voter {
			out = append(out, n)
		}
	}
	return out
}

// suspend takes the stage's key away, asking all nodes but some, and waits for it to
// be fenced.
func (s *stage) suspend(not ...*node) (*withdrawal, time.Duration) {
	return s.suspendKey(s.key, wire.Fenced, not...)
}

// createKey makes a key for a scenario, which waits until it signs.
func (s *stage) createKey(key, policy string) {
	call := mono()
	s.c.createKey(key, policy)
	s.r.add(keyOp{key: key, verb: "create"}, keyAnswer{}, call, mono())
}

func (s *stage) suspendKey(key, level string, not ...*node) (*withdrawal, time.Duration) {
	k := s.c.clientWith(func(cfg *client.Config) { cfg.Timeout, cfg.AttemptTimeout = 15*time.Second, 2*time.Second }, s.c.others(not...)...)
	defer k.Close()
	return s.suspendBy(k, key, level)
}

// suspendBy is suspendKey by a client that the scenario chooses.
func (s *stage) suspendBy(k *client.Client, key, level string) (*withdrawal, time.Duration) {
	w := &withdrawal{what: "suspend", key: key}
	began := time.Now()
	err := s.r.take(w, level, func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
		return k.Suspend(ctx, key, wire.VersionVerb{Version: 1}, o...)
	})
	if !s.r.changed(keyOp{key: key, verb: "suspend", version: 1}, w.call, err, 0) {
		s.t.Logf("suspend %s: %v", key, err)
	}
	return w, time.Since(began)
}

// restore gives the stage's key back, if it is away.
func (s *stage) restore() { s.restoreKey(s.key) }

func (s *stage) restoreKey(key string) {
	s.t.Helper()
	eventually(s.t, 30*time.Second, key+" is resumed", func() string {
		call := mono()
		op, err := s.c.admin.Resume(context.Background(), key, wire.VersionVerb{Version: 1})
		s.r.changed(keyOp{key: key, verb: "resume", version: 1}, call, err, 0)
		switch {
		case wire.CodeOf(err) == wire.IllegalTransition:
			return ""
		case err != nil:
			return err.Error()
		}
		if op.Committed != nil {
			s.r.regained(key, op.Committed.Index)
		}
		return ""
	})
}

// regained ends the suspensions of a key that are open.
func (r *trial) regained(key string, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.withdrawals {
		if w.what == "suspend" && w.key == key && w.regained == 0 && w.index < index {
			w.regained = index
		}
	}
}

// expectFenced finds fault with a barrier that did not end, and measures one that did.
// atMost is generous: how fast it should be is measured by the benchmark.
func (s *stage) expectFenced(what string, w *withdrawal, took, atMost time.Duration) {
	s.measure("fenced, "+what, took)
	if w.fencedNS == 0 {
		s.find("%s: not fenced after %s, only %q", what, took.Round(time.Millisecond), w.reached)
	} else if took > atMost {
		s.find("%s: fenced after %s", what, took.Round(time.Millisecond))
	}
}

// lastGate is when a node last passed its gate, 0 = never.
func lastGate(n *node) (ns int64) {
	for _, e := range n.record() {
		if e.Name == "gate" && e.BegunNS > ns {
			ns = e.BegunNS
		}
	}
	return ns
}

// expectSilence finds fault with nodes that passed their gates later than a lease
// after they were cut off at cutNS.
func (s *stage) expectSilence(what string, cutNS int64, nodes ...*node) {
	for _, n := range nodes {
		last := lastGate(n)
		after := time.Duration(last - cutNS)
		if last > cutNS {
			s.measure(fmt.Sprintf("%s: %s signed on for", what, n.name), after)
		}
		if after > leaseFor+250*time.Millisecond {
			s.find("%s: %s passed its gate %s after it was cut off", what, n.name, after)
		}
	}
}

// stay lets time pass while something is broken: the length is the scenario.
func (s *stage) stay(d time.Duration) { time.Sleep(d) }

// status of a key as one node's public listener tells it, "" when it does not answer.
func (s *stage) statusAt(n *node, key, level string) string {
	before := len(s.r.answers)
	s.r.askOnce(s.c.web(), n, key, level)
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	if len(s.r.answers) == before {
		return ""
	}
	for i := len(s.r.answers) - 1; i >= 0; i-- {
		if a := s.r.answers[i]; a.node == n.name && a.key == key && a.level == level {
			return a.status
		}
	}
	return ""
}

// full reports whether the long scenarios are to be played.
func full() bool { return os.Getenv(envFull) == "full" }
