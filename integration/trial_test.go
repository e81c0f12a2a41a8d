package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/chancery-project/chancery/client"
)

// trial is one time span in a laboratory: callers that sign, read and take rights
// away on all nodes, and what they were answered. All times are mono.
type trial struct {
	c      *lab
	nodes  []*node // when it began
	ctx    context.Context
	cancel context.CancelFunc
	began  int64     // mono: what nodes recorded before belongs to others
	since  time.Time // wall clock then
	wg     sync.WaitGroup

	mu          sync.Mutex // owns the rest
	current     []string   // the key of each slot, "" = between two
	withdrawals []*withdrawal
	accepted    []acceptance
	answers     []answer
	history     []porcupine.Operation // of lifecycle operations and linearizable reads
	surprises   []string              // answers that nothing explains
	refused     map[string]int        // by code or reason: what callers were told when it did not work
	callers     int
	strict      map[string]bool // keys with a strict policy
}

// traffic says how much goes on in a trial. Zero values leave that kind out.
type traffic struct {
	slots  int // keys in use at once; each has one caller that takes rights away
	every  time.Duration
	think  time.Duration // longest pause of signers and readers
	policy string        // of the keys, JSON; "" = the default
	kinds  []string      // of withdrawals, by weight; nil = all
}

var usual = traffic{slots: 2, every: 150 * time.Millisecond, think: 30 * time.Millisecond}

// try starts the callers.
func (c *lab) try(random *rand.Rand, l traffic) *trial {
	ctx, cancel := context.WithCancel(context.Background())
	r := &trial{c: c, nodes: slices.Clone(c.nodes), ctx: ctx, cancel: cancel, began: mono(), since: time.Now(), current: make([]string, l.slots), refused: map[string]int{}, strict: map[string]bool{}}
	seed := func() *rand.Rand { return rand.New(rand.NewPCG(random.Uint64(), 0)) }
	for slot := range l.slots {
		own := seed()
		r.wg.Go(func() { r.withdraw(slot, l, own) })
	}
	for _, n := range c.nodes {
		quick, raw, a, b, d := c.caller(clientDeadline, n), c.caller(patient, n), seed(), seed(), seed()
		r.wg.Go(func() { r.sign(n, quick, true, l.think, a) })
		r.wg.Go(func() { r.sign(n, raw, false, 4*l.think, b) })
		r.wg.Go(func() { r.askStatus(n, l.think, d) })
	}
	reads := seed()
	r.wg.Go(func() { r.readOn(l.think, reads) })
	return r
}

const (
	clientDeadline = 0                // the SDK's own, D of the protocol
	patient        = 30 * time.Second // a caller that believes whatever arrives, as raw HTTP does
)

// caller is a client that gives up early on a node that hangs.
func (c *lab) caller(deadline time.Duration, nodes ...*node) *client.Client {
	return c.clientWith(func(cfg *client.Config) { cfg.SignDeadline, cfg.Timeout = deadline, 4*time.Second }, nodes...)
}

// end lets every caller finish what it has begun.
func (r *trial) end() {
	r.cancel()
	r.wg.Wait()
}

// key is one that is in use, "" when none is.
func (r *trial) key(random *rand.Rand) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current[random.IntN(len(r.current))]
}

func (r *trial) use(slot int, key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current[slot] = key
}

// signedBy reports whether a caller has got a signature of that node.
func (r *trial) signedBy(node string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.accepted, func(a acceptance) bool { return a.node == node })
}

// expectStrict wants every signature of a key in the log.
func (r *trial) expectStrict(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.strict[key] = true
}

// told notes why something did not work.
func (r *trial) told(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[what+": "+kindOf(err)]++
}

func (r *trial) wonder(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.surprises = append(r.surprises, fmt.Sprintf(format, args...))
}

// add appends one operation to the history that has to be linearizable.
func (r *trial) add(op keyOp, a keyAnswer, call, back int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.addLocked(op, a, call, back)
}

func (r *trial) addLocked(op keyOp, a keyAnswer, call, back int64) {
	if a.unknown {
		back = 1 << 62 // it may still happen
	}
	r.callers++
	r.history = append(r.history, porcupine.Operation{ClientId: r.callers % 100, Input: op, Call: call, Output: a, Return: back})
}

// barriers is how many withdrawals were answered as fenced or more.
func (r *trial) barriers() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.withdrawals {
		if w.fencedNS != 0 {
			n++
		}
	}
	return n
}

// report is one line about a trial, for people.
func (r *trial) report(t *testing.T) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	kinds := map[string]int{}
	for _, w := range r.withdrawals {
		state := w.reached
		if state == "" {
			state = "not committed"
		}
		kinds[w.what+" "+state]++
	}
	strict := 0
	for _, a := range r.accepted {
		if a.strict {
			strict++
		}
	}
	t.Logf("%d withdrawals %v; %d signatures accepted, %d of them strict; %d answers; refused: %v", len(r.withdrawals), kinds, len(r.accepted), strict, len(r.answers), r.refused)
}
