package integration

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

// TestKills kills each node again and again, at any moment, while callers work on
// keys; then judges everything that they were answered.
func TestKills(t *testing.T) {
	random := seeded(t)
	kills := 51
	if os.Getenv(envFull) == "full" {
		kills = 300
	}
	c := startCluster(t, 3)
	w := startWorkload(c, random)
	killed := map[string]int{}
	leaders := 0
	for i := range kills {
		n := c.nodes[i/2%len(c.nodes)]
		if i%2 == 1 { // whoever leads gets more than its share
			n = c.leader()
		}
		if c.leads(n) {
			leaders++
		}
		settleFor(random, 2*time.Second)
		n.kill()
		killed[n.name]++
		settleFor(random, 500*time.Millisecond)
		n.start(t)
		if random.IntN(3) > 0 { // else the next one may fall while this one is still coming back
			c.waitReady(n, "")
		}
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	c.leader()
	w.finish()
	t.Logf("%d kills in %s: %v, %d of them of the leader", kills, time.Since(w.start).Round(time.Second), killed, leaders)
	w.check(t)
}

// settleFor is the nemesis's own time: it decides when a fault strikes, and no
// assertion depends on it.
func settleFor(random *rand.Rand, longest time.Duration) {
	time.Sleep(time.Duration(random.Int64N(int64(longest))))
}

// TestKillAllTogether kills all three nodes in the same moment, under load, and
// starts them again.
func TestKillAllTogether(t *testing.T) {
	random := seeded(t)
	rounds := 2
	if os.Getenv(envFull) == "full" {
		rounds = 20
	}
	c := startCluster(t, 3)
	w := startWorkload(c, random)
	for range rounds {
		settleFor(random, 4*time.Second)
		var wg sync.WaitGroup
		for _, n := range c.nodes {
			wg.Go(n.kill)
		}
		wg.Wait()
		began := time.Now()
		for _, n := range c.nodes {
			n.start(t)
		}
		c.leader()
		t.Logf("a leader %s after the start", time.Since(began).Round(time.Millisecond))
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	w.finish()
	w.check(t)
}
