//go:build linux && cgo

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/chancery-project/chancery/cmd/dev"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	pollEvery = 5 * time.Millisecond
	failLimit = time.Minute
)

// fail measures memory at rest, recovery from the loss of a leader, and a start
// with a long log.
func (b *bench) fail() error {
	c, err := b.start()
	if err != nil {
		return err
	}
	if err := b.rest(c); err != nil {
		return err
	}
	if _, err := c.client.Key(b.ctx, writeKey(0)); err != nil {
		if err := c.writeKeys(b, fillers); err != nil {
			return err
		}
	}
	if err := b.killLeaders(c); err != nil {
		return err
	}
	return b.restart(c)
}

// rest waits until the servers have nothing to do, and looks at their memory.
func (b *bench) rest(c *cluster) error {
	const rest = 5 * time.Second
	time.Sleep(rest)
	var used [nodes]time.Duration
	for i := range used {
		used[i] = b.cpuOfNode(i + 1)
	}
	time.Sleep(rest)
	for i := range used {
		b.say("n%d at rest: %.1f %% of a core", i+1, 100*(b.cpuOfNode(i+1)-used[i]).Seconds()/rest.Seconds())
	}
	var most, anonymous float64
	for node := 1; node <= nodes; node++ {
		pid, err := c.pid(node)
		if err != nil {
			return err
		}
		all, anon, err := residentMiB(pid)
		if err != nil {
			return err
		}
		if all > most {
			most, anonymous = all, anon
		}
	}
	b.table.atMost("resident memory of an idle node (the largest)", most, 120, "MiB",
		fmt.Sprintf("%.0f MiB of it anonymous, the rest pages of files; after the groups before, or fresh with -only fail", anonymous))
	return nil
}

// killLeaders kills one leader after the other and takes the time until a write is
// accepted by somebody.
func (b *bench) killLeaders(c *cluster) error {
	var took []float64
	for i := range b.kills {
		lead, err := c.leader(b.ctx)
		if err != nil || lead == 0 {
			return fmt.Errorf("find the leader: %d, %w", lead, err)
		}
		start := time.Now()
		if err := dev.Control(c.dir, "kill", strconv.Itoa(lead)); err != nil {
			return err
		}
		if err := c.writeUntilAccepted(lead, start.Add(failLimit)); err != nil {
			return err
		}
		took = append(took, time.Since(start).Seconds())
		b.say("kill %d: n%d, %.2f s", i+1, lead, took[i])
		if err := dev.Control(c.dir, "start", strconv.Itoa(lead)); err != nil {
			return err
		}
		if err := c.waitReady(lead, time.Now().Add(failLimit)); err != nil {
			return err
		}
	}
	worst := 0.0
	for _, t := range took {
		worst = max(worst, t)
	}
	b.table.atMost(fmt.Sprintf("leader killed, writes accepted again: median of %d", b.kills), median(took), 3, "s", fmt.Sprintf("worst %.2f s", worst))
	return nil
}

// writeUntilAccepted tries the nodes that live, one after the other. It makes keys of
// new names, so that a lost answer does not stand in the way.
func (c *cluster) writeUntilAccepted(dead int, limit time.Time) error {
	var last error
	for attempt := 0; time.Now().Before(limit); time.Sleep(pollEvery) {
		for node := 1; node <= nodes; node++ {
			if node == dead {
				continue
			}
			one, err := c.api(node).dial()
			if err != nil {
				last = err
				continue
			}
			attempt++
			key := fmt.Sprintf(`{"name":"kill-%d-%d","purpose":"artifact","alg":"ES256","owner":"bench@example.com","business_reason":"measure"}`, limit.UnixMilli(), attempt)
			err = one.do(c.api(node).request("POST", wire.PathKeys, key))
			_ = one.conn.Close() // whatever was in flight is answered or lost
			if err == nil {
				return nil
			}
			last = err
		}
	}
	return fmt.Errorf("no write was accepted: %w", last)
}

// waitReady polls the readiness probe of a node.
func (c *cluster) waitReady(node int, limit time.Time) error {
	url := "http://" + c.configs[node-1].Advertise.Public + wire.PathReady + "?for=sign"
	for ; time.Now().Before(limit); time.Sleep(pollEvery) {
		resp, err := http.Get(url)
		if err != nil {
			continue
		}
		_ = resp.Body.Close() // only the status counts
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("n%d is not ready again", node)
}

const fillers = 64

// restart fills the log, kills a follower and takes the time until it is ready to
// sign, and until it answers at all.
func (b *bench) restart(c *cluster) error {
	lead, err := c.leader(b.ctx)
	if err != nil {
		return err
	}
	next := c.changes(lead, 0)
	revisions, err := c.revisions(b, fillers)
	if err != nil {
		return err
	}
	l, err := newLoad(c.api(lead), fillers, func(caller, turn int) []byte { return next(caller, turn+revisions[caller]) })
	if err != nil {
		return err
	}
	defer l.close()
	index := uint64(0)
	for index < uint64(b.entries) {
		if _, _, err := l.run(2 * time.Second); err != nil {
			return fmt.Errorf("fill the log: %w", err)
		}
		var at struct {
			Position wire.Position `json:"position"`
		}
		if err := json.Unmarshal(l.callers[0].body, &at); err != nil {
			return fmt.Errorf("read a position: %w", err)
		}
		index = at.Position.Index
		b.say("log at %d", index)
	}
	node := lead%nodes + 1
	name := strconv.Itoa(node)
	if err := dev.Control(c.dir, "kill", name); err != nil {
		return err
	}
	start := time.Now()
	if err := dev.Control(c.dir, "start", name); err != nil {
		return err
	}
	if err := c.waitReady(node, time.Now().Add(failLimit)); err != nil {
		return err
	}
	size := int64(0)
	if info, err := os.Stat(filepath.Join(c.configs[node-1].DataDir, "raft", "log.db")); err == nil {
		size = info.Size()
	}
	b.table.atMost(fmt.Sprintf("start of a killed node with %d entries", index), time.Since(start).Seconds(), 5, "s", fmt.Sprintf("ready to sign; raft log %d MiB", size>>20))
	return nil
}

// revisions of the keys' policies, as they are now.
func (c *cluster) revisions(b *bench, n int) ([]int, error) {
	out := make([]int, n)
	for i := range out {
		k, err := c.client.Key(b.ctx, writeKey(i))
		if err != nil {
			return nil, fmt.Errorf("look at key %d: %w", i, err)
		}
		out[i] = int(k.PolicyVersion)
	}
	return out, nil
}
