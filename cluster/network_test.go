package cluster

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// path says which messages a cut concerns: those of raft, or the calls of Peers; or
// of raft only those that carry entries.
type path int

const (
	raftPath path = 1 << iota
	peerPath
	entryPath
	bothPaths = raftPath | peerPath
)

// network connects the members of a lab over loopback TCP. A link is cut for whoever
// begins an exchange: who cannot call may still answer.
type network struct {
	mu     sync.Mutex
	ports  map[*member]net.Listener
	addrs  map[string]string // advertised -> listening
	callee map[string]lifecycle.NodeID
	cuts   map[[2]*member]path
	alone  map[*member]bool
	conns  map[net.Conn][2]*member // who dialled whom
	asked  map[*member]int         // questions a member has put to others

	starved atomic.Int64 // small messages that went over links which starve
}

func newNetwork() *network {
	return &network{ports: map[*member]net.Listener{}, addrs: map[string]string{}, callee: map[string]lifecycle.NodeID{},
		cuts: map[[2]*member]path{}, alone: map[*member]bool{}, conns: map[net.Conn][2]*member{}, asked: map[*member]int{}}
}

var errCut = errors.New("the link is cut")

// attach gives a member a port.
func (w *network) attach(m *member) Streams {
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		m.lab.t.Fatal(err)
	}
	w.mu.Lock()
	w.ports[m], w.addrs[m.name] = port, port.Addr().String()
	w.mu.Unlock()
	return Streams{Listener: port, Identify: w.identify, Dial: func(address string, node lifecycle.NodeID, timeout time.Duration) (net.Conn, error) {
		return w.dial(m, address, node, timeout)
	}}
}

func (w *network) detach(m *member) {
	w.mu.Lock()
	port := w.ports[m]
	delete(w.ports, m)
	delete(w.addrs, m.name)
	w.mu.Unlock()
	if port != nil {
		_ = port.Close() // the transport has closed it, when it came to that
	}
}

func (w *network) dial(from *member, address string, node lifecycle.NodeID, timeout time.Duration) (net.Conn, error) {
	to := from.lab.member(node)
	w.mu.Lock()
	target, ok := w.addrs[address]
	w.mu.Unlock()
	if to == nil || !ok || to.name != address || w.blocked(from, to, raftPath) {
		return nil, errCut
	}
	c, err := net.DialTimeout("tcp", target, timeout)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.callee[c.LocalAddr().String()] = from.id
	w.conns[c] = [2]*member{from, to}
	w.mu.Unlock()
	if w.blocked(from, to, raftPath) { // cut in between
		_ = c.Close()
		return nil, errCut
	}
	return &wire{Conn: c, network: w, from: from, to: to}, nil
}

// wire forgets itself when it is closed.
type wire struct {
	net.Conn
	network  *network
	from, to *member
}

// heartbeatBytes is more than a heartbeat has (185), and less than any entry with
// its envelope (370 and more).
const heartbeatBytes = 300

// Write sends one message; a link that starves lets only small ones through.
func (c *wire) Write(b []byte) (int, error) {
	if c.network.blocked(c.from, c.to, entryPath) {
		if len(b) > heartbeatBytes {
			_ = c.Close()
			return 0, errCut
		}
		c.network.starved.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *wire) Close() error {
	c.network.mu.Lock()
	delete(c.network.conns, c.Conn)
	c.network.mu.Unlock()
	return c.Conn.Close()
}

// identify plays the part of TLS. The dialler may not have written its name down
// yet when the other end is accepted.
func (w *network) identify(c net.Conn) lifecycle.NodeID {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		w.mu.Lock()
		id, ok := w.callee[c.RemoteAddr().String()]
		w.mu.Unlock()
		if ok {
			return id
		}
	}
	return ""
}

func (w *network) blocked(from, to *member, p path) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.alone[from] || w.alone[to] || w.cuts[[2]*member{from, to}]&p != 0
}

// cut sets what from can no longer send to the others.
func (w *network) cut(p path, from *member, to ...*member) {
	w.mu.Lock()
	for _, other := range to {
		w.cuts[[2]*member{from, other}] = p
	}
	w.mu.Unlock()
	w.enforce()
}

// split separates two groups in both directions.
func (w *network) split(some, rest []*member) {
	for _, m := range some {
		w.cut(bothPaths, m, rest...)
	}
	for _, m := range rest {
		w.cut(bothPaths, m, some...)
	}
}

// heal mends all links.
func (w *network) heal() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.cuts)
	clear(w.alone)
}

// isolate cuts a member off, or lets it back.
func (w *network) isolate(m *member, alone bool) {
	w.mu.Lock()
	if alone {
		w.alone[m] = true
	} else {
		delete(w.alone, m)
	}
	w.mu.Unlock()
	w.enforce()
}

// enforce ends connections over links that are cut.
func (w *network) enforce() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c, ends := range w.conns {
		if w.alone[ends[0]] || w.alone[ends[1]] || w.cuts[ends]&raftPath != 0 {
			_ = c.Close() // both ends see it
		}
	}
}

func (w *network) count(from *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[from]++
}

func (w *network) questions(from *member) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[from]
}

// caller is Peers by calling the other node's methods. A cut link swallows the
// question, so the caller waits as long as it would.
type caller struct{ from *member }

func (c caller) call(ctx context.Context, id lifecycle.NodeID, f func(*Node) error) error {
	c.from.lab.network.count(c.from)
	to := c.from.lab.member(id)
	if to == nil || c.from.lab.network.blocked(c.from, to, peerPath) {
		<-ctx.Done()
		return ctx.Err()
	}
	n := to.node.Load()
	if n == nil {
		return errors.New("connection refused")
	}
	if !n.Member(c.from.id) {
		return errors.New("not a member")
	}
	err := f(n)
	if c.from.lab.network.blocked(c.from, to, peerPath) { // the answer is lost
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

func (c caller) Confirm(ctx context.Context, id lifecycle.NodeID, req ConfirmReq) (resp ConfirmResp, err error) {
	err = c.call(ctx, id, func(n *Node) (err error) { resp, err = n.HandleConfirm(ctx, c.from.id, req); return err })
	return resp, err
}

func (c caller) ReadIndex(ctx context.Context, id lifecycle.NodeID, req ReadIndexReq) (resp ReadIndexResp, err error) {
	err = c.call(ctx, id, func(n *Node) (err error) { resp, err = n.HandleReadIndex(ctx, c.from.id, req); return err })
	return resp, err
}

func (c caller) Members(ctx context.Context, id lifecycle.NodeID) (members map[lifecycle.NodeID]Seed, err error) {
	err = c.call(ctx, id, func(n *Node) error { members = n.Members(); return nil })
	return members, err
}

func (c caller) Fence(ctx context.Context, id lifecycle.NodeID, req lease.FenceRequest) (ack lease.FenceAck, err error) {
	err = c.call(ctx, id, func(n *Node) (err error) { ack, err = n.HandleFence(ctx, c.from.id, req); return err })
	return ack, err
}
