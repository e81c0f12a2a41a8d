package integration

import (
	"net"
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

	stop := flood(t, first.public, 2*files)
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

// flood keeps n connections to an address that begin a request and never end it.
func flood(t *testing.T, address string, n int) (stop func()) {
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
				_, _ = conn.Write([]byte("GET / HT")) // that it was closed shows below
				_, _ = conn.Read(buf)                 // until it is closed
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
