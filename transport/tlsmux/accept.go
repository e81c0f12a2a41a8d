package tlsmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// serve accepts until the port is closed. Errors such as too many open files pass:
// giving up the port would turn a moment of load into an outage.
func (m *Mux) serve(port net.Listener) {
	const least, most = 5 * time.Millisecond, time.Second
	delay := least
	for {
		raw, err := port.Accept()
		if err == nil {
			delay = least
			m.admit(raw)
			continue
		}
		if errors.Is(err, net.ErrClosed) || m.context.Err() != nil {
			return
		}
		m.config.Logger.Warn("accept failed, trying again", "address", port.Addr().String(), "err", err, "delay_ms", delay.Milliseconds())
		select {
		case <-time.After(delay):
			delay = min(2*delay, most)
		case <-m.context.Done():
			return
		}
	}
}

// admit starts a handshake if there is room for one. A connection too many is
// closed rather than left waiting: its sender sees at once that it must come back,
// and a flood from one host cannot take the places of all others.
func (m *Mux) admit(raw net.Conn) {
	host, _, err := net.SplitHostPort(raw.RemoteAddr().String())
	if err != nil {
		host = raw.RemoteAddr().String()
	}
	m.mu.Lock()
	ok := !m.closed && m.handshakes < m.config.MaxHandshakes && m.perHost[host] < m.config.MaxPerHost
	if ok {
		m.handshakes++
		m.perHost[host]++
		m.work.Add(1)
	}
	m.mu.Unlock()
	if !ok {
		m.busy.Add(1)
		_ = raw.Close() // nothing was said on it yet
		return
	}
	go func() {
		defer m.work.Done()
		conn, err := m.handshake(raw)
		m.mu.Lock()
		m.handshakes--
		if m.perHost[host]--; m.perHost[host] == 0 {
			delete(m.perHost, host)
		}
		m.mu.Unlock()
		if err != nil {
			_ = raw.Close() // the handshake's error is the one that matters
			m.count(err)
			m.config.Logger.Debug("handshake failed", "remote", raw.RemoteAddr().String(), "err", err)
			return
		}
		m.deliver(conn)
	}()
}

func (m *Mux) count(err error) {
	if errors.Is(err, ErrNotMember) {
		m.notMember.Add(1)
	} else {
		m.failed.Add(1)
	}
}

func (m *Mux) handshake(raw net.Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeout(m.context, m.config.HandshakeTimeout)
	defer cancel()
	conn := tls.Server(raw, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: m.configFor})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return newConn(m, conn), nil
}

// configFor picks the rules by the protocol the client asks for. Exactly one must
// be offered: crypto/tls would take a client without ALPN as no protocol at all,
// and one with several by our order of preference, after which a peer could be
// served under rules that it did not mean.
func (m *Mux) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if len(hello.SupportedProtos) == 1 {
		if config, ok := m.server[hello.SupportedProtos[0]]; ok {
			return config, nil
		}
	}
	return nil, fmt.Errorf("%w: client offers %.5q", ErrProtocol, hello.SupportedProtos)
}

func (m *Mux) serverConfig(proto string) *tls.Config {
	config := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{proto},
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return m.currentCertificate()
		},
	}
	if needsIdentity(proto) {
		// Any certificate, because the chain proves nothing here; the handshake
		// proves possession of the key, and the key is the identity.
		config.ClientAuth = tls.RequireAnyClientCert
		config.VerifyConnection = func(state tls.ConnectionState) error {
			id := peerOf(state).NodeID
			if !m.config.Member(id) {
				return fmt.Errorf("%w: node %s", ErrNotMember, id)
			}
			return nil
		}
	}
	return config
}

func (m *Mux) currentCertificate() (*tls.Certificate, error) {
	if c := m.certificate.Load(); c != nil {
		return c, nil
	}
	return nil, ErrNoCertificate
}

// deliver registers the connection and queues it for its protocol.
func (m *Mux) deliver(c *Conn) {
	l := m.listeners[c.peer.Protocol]
	closed, evicted := m.register(c)
	m.evicted.Add(uint64(len(evicted)))
	closeAll(evicted)
	// Again, now that Recheck can see the connection: the node may have been removed
	// since the handshake asked.
	if needsIdentity(c.peer.Protocol) && !m.config.Member(c.peer.NodeID) {
		m.notMember.Add(1)
		closeAll([]*Conn{c})
		return
	}
	if closed || !l.push(c) {
		m.overflow.Add(1)
		closeAll([]*Conn{c})
		return
	}
	m.accepted.Add(1)
}

// register makes the connection known, unless the Mux is closed. Of strangers only so
// many are kept: a flood of them would take the file descriptors that Raft needs. The
// oldest goes, because a join takes a moment and whoever holds a connection does not.
func (m *Mux) register(c *Conn) (closed bool, evicted []*Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return true, nil
	}
	m.live[c] = struct{}{}
	if needsIdentity(c.peer.Protocol) {
		return false, nil
	}
	if n := len(m.strangers) + 1 - m.config.MaxStrangers; n > 0 {
		evicted = slices.Clone(m.strangers[:n])
		m.strangers = slices.Delete(m.strangers, 0, n)
	}
	m.strangers = append(m.strangers, c)
	return false, evicted
}

// forget is for a connection that closes.
func (m *Mux) forget(c *Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.live, c)
	if i := slices.Index(m.strangers, c); i >= 0 {
		m.strangers = slices.Delete(m.strangers, i, i+1)
	}
}

// listener is one protocol's half of the port.
type listener struct {
	mux     *Mux
	address atomic.Pointer[net.Addr]

	mu     sync.Mutex // orders push against Close, so that nothing is queued for ever
	queue  chan *Conn
	done   chan struct{}
	closed bool
}

func (l *listener) push(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	select {
	case l.queue <- c:
		return true
	default:
		return false
	}
}

// Accept returns a *Conn whose handshake is done.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close refuses this protocol from now on. The port and the other protocols stay.
func (l *listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	close(l.done)
	for {
		select {
		case c := <-l.queue:
			closeAll([]*Conn{c})
		default:
			return nil
		}
	}
}

// Addr is the address of the first port, or an empty one before Start.
func (l *listener) Addr() net.Addr {
	if a := l.address.Load(); a != nil {
		return *a
	}
	return &net.TCPAddr{}
}
