package cluster

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TransportConfig wires a Transport to the listener and dialer of the node port.
type TransportConfig struct {
	Local   raft.ServerID      // <node id>.<incarnation>
	Address raft.ServerAddress // what this node advertises, host:port

	// Listener delivers authenticated connections; Identify names the node at the
	// other end of one, as its TLS key proves it.
	Listener net.Listener
	Identify func(net.Conn) lifecycle.NodeID
	// Dial connects to a node and fails if another node answers.
	Dial func(address string, node lifecycle.NodeID, timeout time.Duration) (net.Conn, error)
	// Resolve tells where a server is now; ok is false when nobody knows.
	Resolve func(raft.ServerID) (address string, ok bool)
	// Member reports whether a server may speak Raft to this node: those of the
	// committed configuration, and for a node that joins, those it was told of.
	Member func(raft.ServerID) bool

	Timeout time.Duration // of one RPC's I/O: 10 s when 0
	Logger  hclog.Logger
}

// Transport is raft.NetworkTransport with four differences.
//
// The heartbeat fast path is off: it lets heartbeats overtake the main loop, and
// committed logs were seen to diverge with it (hashicorp/raft #695).
//
// A pipeline that ends takes its sender along, see pipeline.
//
// Each sender is tied to its TLS identity: a connection begins by naming the server
// that speaks and the server that is meant. The first must be a member and belong to
// the node whose key made the handshake, and every RPC on it must carry that id; the
// second must be this very incarnation, so that a node which lost its log never
// answers for the voter that it was. To know which connection an RPC came from,
// there is one inbound NetworkTransport per sender; the embedded one only dials.
//
// An entry without a valid digest is refused before Raft sees it.
//
// It embeds the pointer and not the interface: raft looks for WithPreVote and
// WithClose by type assertion, and loses pre-vote without a word when it is hidden.
type Transport struct {
	*raft.NetworkTransport
	config  TransportConfig
	consume chan raft.RPC
	done    chan struct{}
	work    sync.WaitGroup

	mu        sync.Mutex // owns what follows
	closed    bool
	inbound   map[raft.ServerID]*inbound
	naming    map[net.Conn]struct{}  // connections that have not named their sender yet
	pipelines map[*pipeline]struct{} // to followers
}

var (
	_ raft.Transport   = (*Transport)(nil)
	_ raft.WithPreVote = (*Transport)(nil)
	_ raft.WithClose   = (*Transport)(nil)
)

// ErrSender is returned to a peer whose RPC does not fit its connection.
var ErrSender = errors.New("raft sender refused")

// StartTransport begins to accept.
func StartTransport(config TransportConfig) *Transport {
	if config.Timeout == 0 {
		config.Timeout = 10 * time.Second
	}
	if config.Logger == nil {
		config.Logger = hclog.NewNullLogger()
	}
	t := &Transport{
		config:    config,
		consume:   make(chan raft.RPC),
		done:      make(chan struct{}),
		inbound:   map[raft.ServerID]*inbound{},
		naming:    map[net.Conn]struct{}{},
		pipelines: map[*pipeline]struct{}{},
	}
	t.NetworkTransport = t.network(&outbound{queueListener: newQueueListener(config.Address), transport: t})
	t.work.Go(t.accept)
	return t
}

func (t *Transport) network(stream raft.StreamLayer) *raft.NetworkTransport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		ServerAddressProvider:   resolver{t},
		Logger:                  t.config.Logger,
		Stream:                  stream,
		MaxPool:                 3,
		MaxRPCsInFlight:         inFlight,
		Timeout:                 t.config.Timeout,
		MsgpackUseNewTimeFormat: true,
	})
}

// SetHeartbeatHandler does nothing: heartbeats go through Consumer like every RPC.
func (t *Transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Consumer delivers the RPCs of all senders.
func (t *Transport) Consumer() <-chan raft.RPC { return t.consume }

// EncodePeer gives the plain address, without the server id that resolver adds.
func (t *Transport) EncodePeer(id raft.ServerID, fallback raft.ServerAddress) []byte {
	if address, ok := t.config.Resolve(id); ok {
		return []byte(address)
	}
	return []byte(fallback)
}

// CloseStreams ends all connections; both sides dial again.
func (t *Transport) CloseStreams() {
	t.NetworkTransport.CloseStreams()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, in := range t.inbound {
		in.network.CloseStreams()
		in.closeConns()
	}
	t.closePipelines()
}

// closePipelines runs under t.mu. Their connections are in no pool.
func (t *Transport) closePipelines() {
	for p := range t.pipelines {
		_ = p.Close() // raft dials again
	}
}

// Close stops accepting, ends all connections and waits for the goroutines.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	close(t.done)
	t.NetworkTransport.CloseStreams() // Close alone leaves the pool open
	errs := []error{t.config.Listener.Close(), t.NetworkTransport.Close()}
	for _, in := range t.inbound {
		errs = append(errs, in.network.Close())
		in.closeConns()
	}
	t.closePipelines()
	for c := range t.naming {
		_ = c.Close() // nothing was exchanged on it
	}
	t.mu.Unlock()
	t.work.Wait()
	return errors.Join(errs...)
}

// SplitServerID cuts <node id>.<incarnation>; ok is false for anything else.
func SplitServerID(id raft.ServerID) (node lifecycle.NodeID, incarnation string, ok bool) {
	n, incarnation, ok := strings.Cut(string(id), ".")
	node = lifecycle.NodeID(n)
	return node, incarnation, ok && incarnation != "" && lifecycle.CheckNodeID(node) == nil
}

// resolver hands raft addresses of the form <server id>@<host:port>, because
// StreamLayer.Dial is given nothing else and must know whom to expect.
type resolver struct{ t *Transport }

func (r resolver) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	address, ok := r.t.config.Resolve(id)
	if !ok {
		return "", fmt.Errorf("no address is known for server %s", id)
	}
	return raft.ServerAddress(string(id) + "@" + address), nil
}

// outbound is the stream layer of the embedded transport: it dials and never accepts.
type outbound struct {
	*queueListener
	transport *Transport
}

func (o *outbound) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, address, ok := strings.Cut(string(target), "@")
	node, _, valid := SplitServerID(raft.ServerID(id))
	if !ok || !valid {
		return nil, fmt.Errorf("dial %q: the server id is unknown, so its identity could not be checked", target)
	}
	c, err := o.transport.config.Dial(address, node, timeout)
	if err != nil {
		return nil, fmt.Errorf("dial server %s: %w", id, err)
	}
	if err := writePreamble(c, o.transport.config.Local, raft.ServerID(id), timeout); err != nil {
		_ = c.Close() // already failing with a better error
		return nil, err
	}
	return c, nil
}
