package cluster

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/tlsmux"
)

const testCluster = "00112233445566778899aabbccddeeff"

// directory is the committed configuration and the address book of a test.
type directory struct {
	mu        sync.Mutex
	addresses map[raft.ServerID]string
}

func (d *directory) set(id raft.ServerID, address string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addresses[id] = address
}

func (d *directory) remove(id raft.ServerID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.addresses, id)
}

func (d *directory) resolve(id raft.ServerID) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a, ok := d.addresses[id]
	return a, ok
}

func (d *directory) member(id raft.ServerID) bool { _, ok := d.resolve(id); return ok }

func (d *directory) node(id lifecycle.NodeID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.addresses {
		if strings.HasPrefix(string(s), string(id)+".") {
			return true
		}
	}
	return false
}

// station is a node as far as these layers go.
type station struct {
	id        raft.ServerID
	address   string
	mux       *tlsmux.Mux
	transport *Transport
}

func certify(t *testing.T, key *identity.Key) *tls.Certificate {
	t.Helper()
	ca, err := identity.NewAuthority(testCluster, key.NodeID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var leaf *x509.Certificate
	if leaf, err = ca.IssueNode(key.Public(), nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	cert, err := key.TLS(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func newStation(t *testing.T, d *directory, incarnation string) *station {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &station{id: raft.ServerID(string(key.NodeID()) + "." + incarnation), address: port.Addr().String()}
	d.set(s.id, s.address)
	s.mux = tlsmux.New(tlsmux.Config{Member: d.node})
	s.mux.SetCertificate(certify(t, key))
	if err := s.mux.Start(port); err != nil {
		t.Fatal(err)
	}
	s.transport = StartTransport(TransportConfig{
		Local:    s.id,
		Address:  raft.ServerAddress(s.address),
		Listener: s.mux.Listener(tlsmux.Raft),
		Identify: func(c net.Conn) lifecycle.NodeID { return c.(*tlsmux.Conn).Peer().NodeID },
		Dial: func(address string, node lifecycle.NodeID, timeout time.Duration) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			return s.mux.Dial(ctx, address, tlsmux.Raft, node)
		},
		Resolve: d.resolve,
		Member:  d.member,
	})
	t.Cleanup(func() {
		if err := s.transport.Close(); err != nil {
			t.Errorf("close transport: %v", err)
		}
		s.mux.Close()
	})
	return s
}

func newDirectory() *directory { return &directory{addresses: map[raft.ServerID]string{}} }

// answer replies to each RPC that gets through and counts them.
func (s *station) answer(t *testing.T) (count func() int) {
	var mu sync.Mutex
	n := 0
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for {
			select {
			case rpc := <-s.transport.Consumer():
				mu.Lock()
				n++
				mu.Unlock()
				rpc.Respond(&raft.AppendEntriesResponse{Success: true}, nil)
			case <-stop:
				return
			}
		}
	}()
	return func() int { mu.Lock(); defer mu.Unlock(); return n }
}

func (s *station) header() raft.RPCHeader {
	return raft.RPCHeader{ProtocolVersion: 3, ID: []byte(s.id), Addr: []byte(s.address)}
}

func TestTransportKeepsOptionalInterfaces(t *testing.T) {
	s := newStation(t, newDirectory(), "aa")
	var transport raft.Transport = s.transport
	if _, ok := transport.(raft.WithPreVote); !ok {
		t.Error("pre-vote is lost")
	}
	if _, ok := transport.(raft.WithClose); !ok {
		t.Error("Close is lost")
	}
	if _, ok := transport.(raft.WithPeers); ok {
		t.Error("a network transport has no Connect; raft's tests would use it")
	}
	if transport.LocalAddr() != raft.ServerAddress(s.address) || string(transport.EncodePeer(s.id, "x")) != s.address {
		t.Errorf("addresses %q %q", transport.LocalAddr(), transport.EncodePeer(s.id, "x"))
	}
}

// TestHeartbeatGoesThroughConsumer: with raft's own SetHeartbeatHandler in effect
// the handler would be called instead.
func TestHeartbeatGoesThroughConsumer(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	b.transport.SetHeartbeatHandler(func(rpc raft.RPC) { t.Error("fast path taken"); rpc.Respond(nil, nil) })
	count := b.answer(t)
	request := &raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1, Leader: []byte(a.address)}
	var response raft.AppendEntriesResponse
	if err := a.transport.AppendEntries(b.id, "", request, &response); err != nil || !response.Success {
		t.Fatalf("heartbeat: %v", err)
	}
	if count() != 1 {
		t.Error("the heartbeat did not reach the consumer")
	}
}

func TestTransportRefusesRPC(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	count := b.answer(t)
	send := func(change func(*raft.AppendEntriesRequest)) error {
		entry := &raft.Log{Index: 1, Term: 1, Data: []byte("x"), AppendedAt: time.Now()}
		seal(entry)
		request := &raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1, Entries: []*raft.Log{entry}}
		change(request)
		return a.transport.AppendEntries(b.id, "", request, new(raft.AppendEntriesResponse))
	}
	if err := send(func(*raft.AppendEntriesRequest) {}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*raft.AppendEntriesRequest)
		want   error
	}{
		"digest absent": {func(r *raft.AppendEntriesRequest) { r.Entries[0].Extensions = nil }, ErrNoDigest},
		"data altered":  {func(r *raft.AppendEntriesRequest) { r.Entries[0].Data = []byte("y") }, ErrEntryDigest},
		"other sender":  {func(r *raft.AppendEntriesRequest) { r.ID = []byte(b.id) }, ErrSender},
		"no sender":     {func(r *raft.AppendEntriesRequest) { r.ID = nil }, ErrSender},
	} {
		if err := send(c.change); err == nil || !strings.Contains(err.Error(), c.want.Error()) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	d.remove(a.id) // the connection is in the pool still
	if err := send(func(*raft.AppendEntriesRequest) {}); err == nil || !strings.Contains(err.Error(), ErrSender.Error()) {
		t.Errorf("removed server: %v", err)
	}
	if count() != 1 {
		t.Errorf("%d RPCs got through, want 1", count())
	}
}

// TestTransportRefusesConnection speaks the preamble by hand with a real key.
func TestTransportRefusesConnection(t *testing.T) {
	d := newDirectory()
	a, b := newStation(t, d, "aa"), newStation(t, d, "bb")
	count := b.answer(t)
	nodeB, _, _ := SplitServerID(b.id)
	oldB, oldA := raft.ServerID(string(nodeB)+".b0"), raft.ServerID(strings.TrimSuffix(string(a.id), "aa")+"a0")
	for name, preamble := range map[string]string{
		"as another node":        fmt.Sprintf("%s %s\n", b.id, b.id),
		"for an old incarnation": fmt.Sprintf("%s %s\n", a.id, oldB),
		"from an old one":        fmt.Sprintf("%s %s\n", oldA, b.id),
		"without target":         fmt.Sprintf("%s\n", a.id),
		"without incarnation":    fmt.Sprintf("%.64s %s\n", a.id, b.id),
		"endless":                strings.Repeat("x", 4096),
		"empty":                  "\n",
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := a.mux.Dial(ctx, b.address, tlsmux.Raft, nodeB)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(c)
		w.WriteString(preamble)
		w.WriteByte(0) // AppendEntries
		enc := codec.NewEncoder(w, &codec.MsgpackHandle{})
		_ = enc.Encode(&raft.AppendEntriesRequest{RPCHeader: a.header(), Term: 1}) // the server may have closed already
		_ = w.Flush()                                                              // likewise
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: answered or left open (%d, %v)", name, n, err)
		}
		c.Close()
	}
	if count() != 0 {
		t.Errorf("%d RPCs got through", count())
	}
	d.set("stranger", b.address)
	if err := a.transport.AppendEntries("stranger", "", &raft.AppendEntriesRequest{RPCHeader: a.header()}, new(raft.AppendEntriesResponse)); err == nil {
		t.Error("dialled a server whose identity cannot be checked")
	}
	d.set(oldB, a.address) // the address book is wrong: a answers for b
	if err := a.transport.AppendEntries(oldB, "", &raft.AppendEntriesRequest{RPCHeader: a.header()}, new(raft.AppendEntriesResponse)); err == nil || !strings.Contains(err.Error(), "another node") {
		t.Errorf("wrong node at the address: %v", err)
	}
}

// tape is the smallest FSM.
type tape struct {
	mu   sync.Mutex
	data []string
}

func (f *tape) Apply(l *raft.Log) any {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := checkEntry(l); err != nil {
		panic(err) // applied without digest: the leader's own copy included
	}
	f.data = append(f.data, string(l.Data))
	return nil
}
func (f *tape) Snapshot() (raft.FSMSnapshot, error) { return nil, errors.New("not in this test") }
func (f *tape) Restore(io.ReadCloser) error         { return errors.New("not in this test") }
func (f *tape) len() int                            { f.mu.Lock(); defer f.mu.Unlock(); return len(f.data) }

// TestRaftOverTransport runs three real servers on these layers: an election with
// pre-vote, writes, and then every stored entry of every server has its digest.
func TestRaftOverTransport(t *testing.T) {
	d := newDirectory()
	var stations []*station
	var configuration raft.Configuration
	for i := range 3 {
		s := newStation(t, d, fmt.Sprintf("a%d", i))
		stations = append(stations, s)
		configuration.Servers = append(configuration.Servers, raft.Server{ID: s.id, Address: raft.ServerAddress(s.address)})
	}
	var rafts []*raft.Raft
	var stores []*LogStore
	var tapes []*tape
	for _, s := range stations {
		store, stop := openStore(t, filepath.Join(t.TempDir(), "log.db"))
		t.Cleanup(func() {
			if len(stop.reasons) != 0 {
				t.Errorf("store stopped: %v", stop.reasons)
			}
		})
		config := raft.DefaultConfig()
		config.LocalID = s.id
		config.HeartbeatTimeout, config.ElectionTimeout, config.LeaderLeaseTimeout = time.Second, time.Second, time.Second
		config.Logger = hclog.NewNullLogger()
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(config, store, store, snapshots, s.transport, configuration); err != nil {
			t.Fatal(err)
		}
		fsm := &tape{}
		r, err := raft.NewRaft(config, fsm, store, store, snapshots, s.transport)
		if err != nil {
			t.Fatal(err)
		}
		rafts, stores, tapes = append(rafts, r), append(stores, store), append(tapes, fsm)
	}
	leader := func() (l *raft.Raft) {
		for _, r := range rafts {
			if r.State() == raft.Leader {
				l = r
			}
		}
		return l
	}
	until(t, "a leader", func() bool { return leader() != nil })
	const writes = 50
	for i := range writes {
		if err := leader().Apply(fmt.Appendf(nil, "write %d", i), 5*time.Second).Error(); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all servers to apply", func() bool {
		return tapes[0].len() == writes && tapes[1].len() == writes && tapes[2].len() == writes
	})
	for _, r := range rafts {
		if err := r.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
	}
	for i, store := range stores {
		if n, err := store.Scan(0); err != nil || n < writes+2 {
			t.Errorf("server %d: %d entries, %v", i, n, err)
		}
		if strings.Join(tapes[i].data, ",") != strings.Join(tapes[0].data, ",") {
			t.Errorf("server %d applied something else", i)
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}
