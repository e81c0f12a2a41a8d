// Package tlsmux splits one TCP port into protocols by ALPN over TLS 1.3, and says
// who is at the other end.
//
// Threat model: anyone can connect. What an unauthenticated peer can hold is
// bounded: handshakes at once, in all and per remote host, the time each may take,
// the connections waiting to be accepted, and those without an identity that are
// open. For raft and peer a node IS the
// SHA-256 of its certificate's SPKI and must be a member of the committed
// configuration; who signed the certificate and until when does not matter for
// that, so an expired certificate never breaks Raft. Its dates are handed on, and
// the layers above refuse what an expired node may not do. The join protocol has no
// client identity at all. There is no resumption, so membership is looked at on
// every connection.
//
// Concurrency: a Mux may be used from any goroutine. mu owns the table of live
// connections and handshakes; nothing blocks under it.
package tlsmux

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Protocols, as ALPN names them. The number is part of the name: an incompatible
// successor is another protocol on the same port.
const (
	Raft = "chancery-raft/1" // raft RPC, between members
	Peer = "chancery-peer/1" // typed node verbs over HTTP/1.1, between members
	Join = "chancery-join/1" // HTTP/1.1 for a node that is not yet a member
)

var protocols = []string{Raft, Peer, Join}

// needsIdentity tells which protocols are for members only.
func needsIdentity(proto string) bool { return proto != Join }

// Sentinels, wrapped with the addresses and ids concerned.
var (
	// ErrProtocol is returned when the two ends do not agree on one protocol.
	ErrProtocol = errors.New("no common protocol")
	// ErrNotMember is returned when the other end is not in the committed configuration.
	ErrNotMember = errors.New("not a member of the cluster")
	// ErrIdentity is returned by Dial when another node answers at the address.
	ErrIdentity = errors.New("another node answers at this address")
	// ErrNoCertificate is returned before SetCertificate was called.
	ErrNoCertificate = errors.New("this node has no certificate yet")
)

// Config of a Mux. Zero limits take the defaults.
type Config struct {
	// Member reports whether a node is in the committed configuration. It is called
	// in every handshake and must not block.
	Member func(lifecycle.NodeID) bool
	Logger *slog.Logger

	HandshakeTimeout time.Duration // 5 s
	MaxHandshakes    int           // 256, at once
	MaxPerHost       int           // 64, handshakes at once from one remote IP address
	QueueLength      int           // 64, connections of one protocol waiting for Accept
	MaxStrangers     int           // 256, open at once of the protocol without an identity
}

// Counters since the start of the process.
type Counters struct {
	Accepted  uint64 // handed to a listener
	Busy      uint64 // closed unread: too many handshakes under way
	Failed    uint64 // handshake failed: garbage, timeout, wrong protocol
	NotMember uint64 // handshake refused: identity unknown to the cluster
	Overflow  uint64 // closed after the handshake: nobody accepted fast enough
	Evicted   uint64 // closed while open: the oldest stranger, for a new one
}

// Mux is one TLS port.
type Mux struct {
	config      Config
	certificate atomic.Pointer[tls.Certificate]
	server      map[string]*tls.Config // by protocol, immutable
	listeners   map[string]*listener   // by protocol, immutable
	context     context.Context        // ends handshakes
	cancel      context.CancelFunc
	work        sync.WaitGroup

	accepted, busy, failed, notMember, overflow, evicted atomic.Uint64

	mu         sync.Mutex
	closed     bool
	ports      []net.Listener
	live       map[*Conn]struct{}
	strangers  []*Conn // those of live without an identity, oldest first
	handshakes int
	perHost    map[string]int
}

// New makes a Mux. It serves nothing before Start and SetCertificate.
func New(config Config) *Mux {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	setDefault(&config.HandshakeTimeout, 5*time.Second)
	setDefault(&config.MaxHandshakes, 256)
	setDefault(&config.MaxPerHost, 64)
	setDefault(&config.QueueLength, 64)
	setDefault(&config.MaxStrangers, 256)
	m := &Mux{
		config:    config,
		server:    map[string]*tls.Config{},
		listeners: map[string]*listener{},
		live:      map[*Conn]struct{}{},
		perHost:   map[string]int{},
	}
	m.context, m.cancel = context.WithCancel(context.Background())
	for _, proto := range protocols {
		m.server[proto] = m.serverConfig(proto)
		m.listeners[proto] = &listener{mux: m, queue: make(chan *Conn, config.QueueLength), done: make(chan struct{})}
	}
	return m
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// SetCertificate installs the certificate that this node shows from now on, as
// server and as client. Connections that exist keep theirs.
func (m *Mux) SetCertificate(c *tls.Certificate) { m.certificate.Store(c) }

// Listener hands out the connections of one protocol. It panics on a name that is
// not one of this package's constants.
func (m *Mux) Listener(proto string) net.Listener {
	l, ok := m.listeners[proto]
	if !ok {
		panic("tlsmux: unknown protocol " + proto)
	}
	return l
}

// Start serves a port until Close, which closes it.
func (m *Mux) Start(port net.Listener) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.Join(fmt.Errorf("serve %s: %w", port.Addr(), net.ErrClosed), port.Close())
	}
	m.ports = append(m.ports, port)
	for _, l := range m.listeners {
		l.address.CompareAndSwap(nil, ptr(port.Addr()))
	}
	m.work.Go(func() { m.serve(port) })
	return nil
}

func ptr[T any](v T) *T { return &v }

// Counters reads all counters.
func (m *Mux) Counters() Counters {
	return Counters{m.accepted.Load(), m.busy.Load(), m.failed.Load(), m.notMember.Load(), m.overflow.Load(), m.evicted.Load()}
}

// Recheck closes every connection whose node is no longer a member. Call it when
// the committed configuration has lost a node.
func (m *Mux) Recheck() {
	m.mu.Lock()
	var gone []*Conn
	for c := range m.live {
		if needsIdentity(c.peer.Protocol) && !m.config.Member(c.peer.NodeID) {
			gone = append(gone, c)
		}
	}
	m.mu.Unlock()
	closeAll(gone)
}

// Close stops the ports, ends all handshakes and closes every connection that was
// handed out. It waits for the Mux's goroutines.
func (m *Mux) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	ports := m.ports
	live := make([]*Conn, 0, len(m.live))
	for c := range m.live {
		live = append(live, c)
	}
	m.mu.Unlock()

	m.cancel()
	var errs []error
	for _, p := range ports {
		if err := p.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, l := range m.listeners {
		_ = l.Close() // never fails
	}
	closeAll(live)
	m.work.Wait()
	return errors.Join(errs...)
}

func closeAll(conns []*Conn) {
	for _, c := range conns {
		_ = c.NetConn().Close() // abrupt on purpose: no alert to a peer that may not read
		_ = c.Close()           // takes it out of the table; the socket is closed already
	}
}
