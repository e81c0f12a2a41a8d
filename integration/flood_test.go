package integration

import (
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestFewFiles: the leader may open 256 files. A stranger makes more connections to its
// public listener, and makes them again whenever they end. Meanwhile new clients read
// through Raft, and sign, and somebody revokes.
func TestFewFiles(t *testing.T) {
	t.Parallel()
	const files = 256
	c := &lab{t: t, dir: t.TempDir()}
	t.Cleanup(c.end)
	first := c.layOut()
	first.files = files
	c.found(first)
	for range 2 {
		c.promote(c.join())
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	c.createKey("ci", "")
	c.createKey("leaked", "")
	c.agree()
	c.lead(first)

	stop := flood(t, first.public, plainBeginning, 2*files)
	for until := time.Now().Add(6 * time.Second); time.Now().Before(until); { // two leases: whoever got in before the flood is out
		eventually(t, 30*time.Second, "a new client reads and signs", func() string {
			k := c.clientWith(func(cfg *client.Config) { cfg.Timeout = 3 * time.Second }, first)
			defer k.Close()
			if _, err := k.Status(ctx(t), client.Consistency(wire.Linearizable)); err != nil {
				return err.Error()
			}
			if _, err := k.Sign(ctx(t), "ci", wire.SignRequest{Message: []byte("x")}); err != nil {
				return err.Error()
			}
			return ""
		})
	}
	if _, err := c.admin.Revoke(ctx(t), "leaked", wire.Revoke{Reason: lifecycle.KeyCompromise}); err != nil {
		t.Errorf("revoke: %v", err)
	}
	stop()
	c.waitReady(first, "?for=sign")
	checkAgreement(t, c)
}

// TestSlowClients: strangers hold as many connections to the leader's public listener as it
// takes, and a tenth of that to its API, and never end what they begin. Everybody else goes
// on: keys are revoked, leases renewed, and the node does not grow.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	const revoked, most = 8, 1 << 30 // keys, bytes of memory
	strangers := min(10_000, mayOpen(t)/2)
	c := startCluster(t, 3)
	first := c.nodes[0]
	c.lead(first)
	c.createKey("ci", "")
	for i := range revoked {
		c.createKey(fmt.Sprint("leaked-", i), "")
	}
	c.agree()
	stopPublic, stopAPI := flood(t, first.public, plainBeginning, strangers), flood(t, first.api, tlsBeginning, strangers/10)
	eventually(t, time.Minute, "the listeners are full of strangers", func() string {
		if n := first.openFiles(); n < strangers/4 {
			return fmt.Sprint(n, " files are open")
		}
		return ""
	})
	var slowest time.Duration
	for i := range revoked {
		k := c.clientWith(func(cfg *client.Config) { cfg.Timeout = 30 * time.Second }, first)
		if _, err := k.Sign(ctx(t), "ci", wire.SignRequest{Message: []byte("x")}); err != nil {
			t.Errorf("sign: %v", err)
		}
		began := time.Now()
		op, err := k.Revoke(ctx(t), fmt.Sprint("leaked-", i), wire.Revoke{Reason: lifecycle.KeyCompromise})
		if err != nil || !op.Has(wire.Fenced) {
			t.Fatalf("revoke: %+v, %v", op, err)
		}
		slowest = max(slowest, time.Since(began))
		for _, n := range op.Nodes {
			if n.Outcome != string(lifecycle.Acked) {
				t.Errorf("the lease of %s was not in use: %s", n.Node, n.Outcome)
			}
		}
		k.Close()
	}
	t.Logf("the slowest of %d revocations took %s, with %d files open and %d MiB of memory", revoked, slowest, first.openFiles(), first.memory()>>20)
	if m := first.memory(); m > most {
		t.Errorf("the leader takes %d MiB", m>>20)
	}
	stopPublic()
	stopAPI()
	c.waitReady(first, "?for=sign")
	checkAgreement(t, c)
}

// mayOpen is how many files this process may open.
func mayOpen(t *testing.T) int {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return int(min(limit.Cur, 1<<20))
}

// openFiles is how many files the process has open.
func (p *process) openFiles() int {
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.pid()))
	if err != nil {
		return 0 // it does not run
	}
	return len(list)
}

// memory is the process's resident memory in bytes.
func (p *process) memory() (bytes int64) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid()))
	if err != nil {
		return 0 // it does not run
	}
	var all, resident int64
	if _, err := fmt.Sscan(string(b), &all, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// What strangers begin.
const (
	plainBeginning = "GET / HT"
	tlsBeginning   = "\x16\x03\x01\x02\x00\x01" // of a ClientHello
)

// flood keeps n connections to an address that begin a request and never end it.
func flood(t *testing.T, address, beginning string, n int) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{}, n)
	for range n {
		go func() {
			defer func() { done <- struct{}{} }()
			buf := make([]byte, 1)
			for {
				select {
				case <-end:
					return
				case <-time.After(200 * time.Millisecond): // a connection that was refused comes again soon
				}
				conn, err := net.DialTimeout("tcp", address, time.Second)
				if err != nil {
					continue
				}
				open := make(chan struct{})
				go func() { // ends the read
					select {
					case <-end:
					case <-open:
					}
					_ = conn.Close() // twice at most, which is harmless
				}()
				_, _ = conn.Write([]byte(beginning)) // that it was closed shows below
				_, _ = conn.Read(buf)                // until it is closed
				close(open)
			}
		}()
	}
	return func() {
		close(end)
		for range n {
			<-done
		}
	}
}
