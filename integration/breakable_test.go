package integration

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/integration/netlab"
)

// envNoNetns leaves the laboratory out where there is no root or no TUN device.
const envNoNetns = "CHANCERY_TEST_NO_NETNS"

func needNetns(t *testing.T) {
	t.Helper()
	if os.Getenv(envNoNetns) == "1" {
		t.Skip(envNoNetns + "=1")
	}
	if err := netlab.Check(); err != nil {
		t.Fatalf("the laboratory cannot be built: %v; or set %s=1, and nothing is tested under partition", err, envNoNetns)
	}
}

// startBreakable founds a cluster of the breakable build, each node on a host of its
// own, callers on another one. Nodes beyond the voters sign without a vote.
func startBreakable(t *testing.T, seed uint64, voters, others int) *lab {
	t.Helper()
	needNetns(t)
	c := &lab{t: t, dir: t.TempDir(), net: netlab.Start(seed)}
	t.Cleanup(func() {
		if err := c.net.Close(); err != nil {
			t.Error("take the network away:", err)
		}
	})
	t.Cleanup(c.end)
	outside, err := c.net.AddHost("outside")
	if err != nil {
		t.Fatal(err)
	}
	c.outside = outside
	c.found(c.layOut())
	for range voters - 1 {
		c.promote(c.join())
	}
	for range others {
		c.promoteSigner(c.join())
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	return c
}

// placeOnHost gives a node a host, where ports are free.
func (c *lab) placeOnHost(p *process, dir string) (addresses []string) {
	c.t.Helper()
	h, err := c.net.AddHost(p.name)
	if err != nil {
		c.t.Fatal(err)
	}
	p.host = h
	p.env = append(p.env, fault.EnvControl+"="+filepath.Join(dir, "control"), fault.EnvRecord+"="+filepath.Join(dir, "record"))
	for port := uint16(7600); port < 7605; port++ {
		addresses = append(addresses, netip.AddrPortFrom(h.Addr, port).String())
	}
	return addresses
}

// order sends a command to a node's process and waits until it is in effect.
func (n *node) order(command fault.Command) {
	n.c.t.Helper()
	eventually(n.c.t, 10*time.Second, n.name+" takes an order", func() string {
		if err := n.tryOrder(command, 2*time.Second); err != nil {
			return err.Error()
		}
		return ""
	})
}

// tryOrder is order for a process that may not be there.
func (n *node) tryOrder(command fault.Command, within time.Duration) error {
	conn, err := net.Dial("unix", filepath.Join(n.dir, "control"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if err := json.NewEncoder(conn).Encode(command); err != nil {
		return err
	}
	var r fault.Reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return err
	}
	if r.Error != "" {
		return errors.New(r.Error)
	}
	return nil
}

// at orders what happens at a marked point, the next time it is reached.
func (n *node) at(point, do string, ms int64) {
	n.c.t.Helper()
	n.order(fault.Command{Order: &fault.Order{Point: point, Do: do, MS: ms, Times: 1}})
}

// stopped reports whether the process has been stopped by a signal.
func (n *node) stopped() bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(n.pid()) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(after, "T")
}

// waitStopped waits until it is.
func (n *node) waitStopped(within time.Duration) {
	n.c.t.Helper()
	eventually(n.c.t, within, n.name+" stops at its point", func() string {
		if n.stopped() {
			return ""
		}
		return "it runs"
	})
}

const sigStop = syscall.SIGSTOP

// startAgain starts the node's process as before.
func (n *node) startAgain() error {
	program, err := builtBreakable()
	if err != nil {
		return err
	}
	return n.startProcess(program)
}

// goOn continues a stopped process.
func (n *node) goOn() { n.send(syscall.SIGCONT) }

// event is a line of a node's record.
type event struct {
	Name string `json:"event"`
	NS   int64  `json:"ns"` // CLOCK_MONOTONIC
	PID  int    `json:"pid"`

	Key     string `json:"key"`     // gate
	Version uint64 `json:"version"` // gate
	NodeID  string `json:"node"`    // gate, ack, grant
	Request string `json:"request_id"`
	Caller  string `json:"caller"`
	BegunNS int64  `json:"begun_ns"` // gate: before the first look; grant: before the voters were asked to confirm it
	Index   uint64 `json:"index"`    // gate: of the state that was looked at; fenced, settled: R; grant: min_index
	Term    uint64 `json:"term"`
	Point   string `json:"point"` // reached
	Do      string `json:"do"`

	node *node // whose record it is
}

// record reads what a node has recorded so far, over all its starts. A line that is being
// written, of which a reader may see the beginning, is still to come.
func (n *node) record() []event {
	n.c.t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "record"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		n.c.t.Fatal(err)
	}
	var out []event
	for line := range bytes.Lines(b[:bytes.LastIndexByte(b, '\n')+1]) {
		e := event{node: n}
		if err := json.Unmarshal(line, &e); err != nil {
			n.c.t.Fatalf("the record of %s: %v: %s", n.name, err, line)
		}
		out = append(out, e)
	}
	return out
}

// await waits for the next event that a node records and that is wanted.
func (n *node) await(what string, wanted func(event) bool) event {
	t := n.c.t
	t.Helper()
	f, err := os.Open(filepath.Join(n.dir, "record"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err == nil && end > 0 {
		_, err = f.Seek(end-1, io.SeekStart)
	}
	if err != nil {
		t.Fatal(err)
	}
	in, line := bufio.NewReader(f), []byte(nil)
	inside := end > 0 // what comes first is the end of the line before
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		part, err := in.ReadBytes('\n')
		if line = append(line, part...); err == io.EOF { // the rest is still to come
			time.Sleep(time.Millisecond)
			continue
		}
		if inside {
			inside, line = false, nil
			continue
		}
		e := event{node: n}
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("the record of %s: %v: %s", n.name, err, line)
		}
		if line = nil; wanted(e) {
			return e
		}
	}
	t.Fatalf("%s: not recorded by %s within 20 s", what, n.name)
	return event{}
}

// events are those of all nodes, also of those that were removed.
func (c *lab) events() []event {
	var out []event
	for _, n := range append(slices.Clip(c.nodes), c.retired...) {
		out = append(out, n.record()...)
	}
	return out
}

// hosts of nodes.
func hosts(nodes ...*node) (out []*netlab.Host) {
	for _, n := range nodes {
		out = append(out, n.host)
	}
	return out
}
