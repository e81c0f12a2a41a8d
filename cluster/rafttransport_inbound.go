package cluster

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// The preamble is one line, "<sender> <target>\n", of two server ids.
const (
	maxPreambleBytes = 256
	preambleTimeout  = 5 * time.Second
)

func writePreamble(c net.Conn, from, to raft.ServerID, timeout time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if _, err := io.WriteString(c, string(from)+" "+string(to)+"\n"); err != nil {
		return fmt.Errorf("write preamble: %w", err)
	}
	return c.SetWriteDeadline(time.Time{})
}

// readPreamble reads byte by byte, because what follows belongs to raft.
func readPreamble(c net.Conn) (from, to raft.ServerID, err error) {
	if err := c.SetReadDeadline(time.Now().Add(preambleTimeout)); err != nil {
		return "", "", fmt.Errorf("set deadline: %w", err)
	}
	var line []byte
	for b := make([]byte, 1); ; line = append(line, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			return "", "", fmt.Errorf("read preamble: %w", err)
		}
		if b[0] == '\n' {
			break
		}
		if len(line) == maxPreambleBytes {
			return "", "", fmt.Errorf("%w: preamble is too long", ErrSender)
		}
	}
	f, t, ok := strings.Cut(string(line), " ")
	if !ok {
		return "", "", fmt.Errorf("%w: preamble names no target", ErrSender)
	}
	return raft.ServerID(f), raft.ServerID(t), c.SetReadDeadline(time.Time{})
}

func (t *Transport) accept() {
	for {
		c, err := t.config.Listener.Accept()
		if err != nil {
			select {
			case <-t.done:
				return
			default:
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t.config.Logger.Error("accept failed", "error", err)
			continue
		}
		t.mu.Lock()
		if t.closed {
			t.mu.Unlock()
			_ = c.Close() // nothing was exchanged on it
			return
		}
		t.naming[c] = struct{}{}
		t.work.Go(func() { t.admit(c) })
		t.mu.Unlock()
	}
}

// admit finds out who speaks and hands the connection to its inbound transport.
func (t *Transport) admit(c net.Conn) {
	from, err := t.sender(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.naming, c)
	if err == nil && !t.closed && t.inboundFrom(from).push(c) {
		return
	}
	_ = c.Close() // a refused peer sees the end of the stream, and its log says who refused
	if err != nil {
		t.config.Logger.Warn("raft connection refused", "remote", c.RemoteAddr().String(), "error", err)
	}
}

func (t *Transport) sender(c net.Conn) (raft.ServerID, error) {
	from, to, err := readPreamble(c)
	if err != nil {
		return "", err
	}
	node, _, ok := SplitServerID(from)
	switch proven := t.config.Identify(c); {
	case !ok || node != proven:
		return "", fmt.Errorf("%w: node %s calls itself server %q", ErrSender, proven.Short(), from)
	case to != t.config.Local:
		return "", fmt.Errorf("%w: server %s wants server %q and this is %s: remove the old incarnation from the cluster", ErrSender, from, to, t.config.Local)
	case !t.config.Member(from):
		return "", fmt.Errorf("%w: server %s is not a member", ErrSender, from)
	}
	return from, nil
}

// inboundFrom runs under t.mu. There are as many as there are members, past
// incarnations included.
func (t *Transport) inboundFrom(from raft.ServerID) *inbound {
	in := t.inbound[from]
	if in == nil {
		in = &inbound{from: from, transport: t, queueListener: newQueueListener(t.config.Address)}
		in.network = t.network(in)
		t.inbound[from] = in
		t.work.Go(in.forward)
	}
	return in
}

// inbound receives from one server.
type inbound struct {
	*queueListener
	from      raft.ServerID
	transport *Transport
	network   *raft.NetworkTransport
}

func (in *inbound) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, errors.New("an inbound transport does not dial")
}

func (in *inbound) forward() {
	t := in.transport
	for {
		select {
		case rpc := <-in.network.Consumer():
			if err := in.check(rpc); err != nil {
				t.config.Logger.Error("raft RPC refused", "server", string(in.from), "error", err)
				rpc.Respond(nil, err)
				continue
			}
			select {
			case t.consume <- rpc:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// check is asked for every RPC: membership ends while connections live on.
func (in *inbound) check(rpc raft.RPC) error {
	command, ok := rpc.Command.(raft.WithRPCHeader)
	if !ok {
		return fmt.Errorf("%w: %T has no header", ErrSender, rpc.Command)
	}
	if id := raft.ServerID(command.GetRPCHeader().ID); id != in.from {
		return fmt.Errorf("%w: server %s speaks as %q", ErrSender, in.from, id)
	}
	if !in.transport.config.Member(in.from) {
		return fmt.Errorf("%w: server %s is not a member", ErrSender, in.from)
	}
	if request, ok := rpc.Command.(*raft.AppendEntriesRequest); ok {
		for _, entry := range request.Entries {
			if err := checkEntry(entry); err != nil {
				return fmt.Errorf("entry from server %s: %w", in.from, err)
			}
		}
	}
	return nil
}

// queueListener is a net.Listener that is fed, and remembers what it handed out,
// because raft.NetworkTransport does not close what it serves.
type queueListener struct {
	address raft.ServerAddress
	queue   chan net.Conn
	done    chan struct{}

	mu     sync.Mutex
	closed bool
	live   map[*trackedConn]struct{}
}

func newQueueListener(address raft.ServerAddress) *queueListener {
	return &queueListener{address: address, queue: make(chan net.Conn, 16), done: make(chan struct{}), live: map[*trackedConn]struct{}{}}
}

type trackedConn struct {
	net.Conn
	l *queueListener
}

func (c *trackedConn) Close() error {
	c.l.mu.Lock()
	delete(c.l.live, c)
	c.l.mu.Unlock()
	return c.Conn.Close()
}

// push queues a connection, or reports that it must be closed.
func (l *queueListener) push(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	tracked := &trackedConn{c, l}
	select {
	case l.queue <- tracked:
		l.live[tracked] = struct{}{}
		return true
	default:
		return false
	}
}

func (l *queueListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; connections are closed by closeConns.
func (l *queueListener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.done)
	}
	return nil
}

func (l *queueListener) closeConns() {
	l.mu.Lock()
	conns := make([]*trackedConn, 0, len(l.live))
	for c := range l.live {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the other end dials again or gives up
	}
}

func (l *queueListener) Addr() net.Addr { return plainAddr(l.address) }

// plainAddr is an advertised address, which may be a name.
type plainAddr string

func (a plainAddr) Network() string { return "tcp" }
func (a plainAddr) String() string  { return string(a) }
