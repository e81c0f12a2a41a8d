package cluster

import (
	"bytes"
	"errors"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// startGossip starts one member on a free port.
func startGossip(t *testing.T, id lifecycle.NodeID, key []byte) (g *Gossip, addr string) {
	t.Helper()
	t.Cleanup(func() { within(t, "memberlist's last probe ends", func() bool { return !probing() }) })
	var err error
	for range 20 { // a port that is free for UDP may be taken for TCP
		l, lerr := net.ListenPacket("udp", "127.0.0.1:0")
		if lerr != nil {
			t.Fatal(lerr)
		}
		addr = l.LocalAddr().String()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		g, err = StartGossip(GossipConfig{ID: id, Cluster: "c", Bind: addr, Advertise: addr, Node: string(id) + ".example:7602", Keys: [][]byte{key}})
		if err == nil {
			return g, addr
		}
	}
	t.Fatal(err)
	return nil, ""
}

// probing reports whether some memberlist waits for the answer to a probe: it does so
// for a moment after its end.
func probing() bool {
	stacks := make([]byte, 1<<20)
	return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("memberlist.(*Memberlist).probe"))
}

func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

// TestGossip: members hear of each other, where they are, and of a leave; asking goes
// on while memberlist writes to its own records (run it with -race).
func TestGossip(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	a, _ := startGossip(t, "a", key)
	defer a.Close()
	b, addrB := startGossip(t, "b", key)
	if err := a.Join([]string{addrB}); err != nil {
		t.Fatal(err)
	}
	within(t, "a hears b", func() bool { return a.Hint("b") == "b.example:7602" })
	within(t, "b hears a", func() bool { return b.Hint("a") == "a.example:7602" })
	if got := a.Alive(); !slices.Equal(got, []lifecycle.NodeID{"a", "b"}) {
		t.Errorf("alive are %v", got)
	}
	said := make(chan error, 1)
	go func() {
		var err error
		for range 3 { // each makes a write to its record of b
			err = errors.Join(err, b.list.UpdateNode(patience))
		}
		said <- err
	}()
	for done := false; !done; {
		if got := a.Hint("b"); got != "b.example:7602" {
			t.Errorf("b is at %q", got)
		}
		select {
		case err := <-said:
			if done = true; err != nil {
				t.Error(err)
			}
		default:
		}
	}
	if got := a.Hint("nobody"); got != "" {
		t.Errorf("a knows where nobody is: %q", got)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "a notices that b left", func() bool { return a.Hint("b") == "" })
}

// TestGossipWrongKey: whoever has no key is not heard.
func TestGossipWrongKey(t *testing.T) {
	a, addrA := startGossip(t, "a", bytes.Repeat([]byte{7}, 32))
	defer a.Close()
	m, _ := startGossip(t, "m", bytes.Repeat([]byte{8}, 32))
	defer m.Close()
	if err := m.Join([]string{addrA}); err == nil {
		t.Error("joined with another key")
	}
	if got := a.Alive(); !slices.Equal(got, []lifecycle.NodeID{"a"}) {
		t.Errorf("alive are %v", got)
	}
}

// TestGossipKeyRotation: members that are at different steps of a rotation understand
// each other, and at its end the old key is gone.
func TestGossipKeyRotation(t *testing.T) {
	old, next := bytes.Repeat([]byte{7}, 32), bytes.Repeat([]byte{8}, 32)
	a, _ := startGossip(t, "a", old)
	defer a.Close()
	b, addrB := startGossip(t, "b", old)
	use := func(g *Gossip, keys ...[]byte) {
		t.Helper()
		if err := g.Use(keys); err != nil {
			t.Fatal(err)
		}
	}
	meet := func(what string) {
		t.Helper()
		if err := a.Join([]string{addrB}); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	meet("before")
	use(a, old, next)
	meet("a understands the new key")
	use(b, old, next)
	use(a, next, old)
	meet("a sends with the new key")
	use(b, next, old)
	meet("both send with the new key")
	use(a, next)
	use(b, next)
	meet("the old key is retired")
	if got := b.ring.GetKeys(); len(got) != 1 || !bytes.Equal(got[0], next) {
		t.Errorf("the ring still holds %d keys", len(got))
	}
	if err := a.Use(nil); err == nil {
		t.Error("a ring without a key")
	}
	if err := a.Use([][]byte{next, []byte("short")}); err == nil {
		t.Error("a key of a wrong length")
	}
	within(t, "b hears a", func() bool { return b.Hint("a") != "" })
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	within(t, "a notices that b left", func() bool { return a.Hint("b") == "" }) // and has no probe of b under way
}
