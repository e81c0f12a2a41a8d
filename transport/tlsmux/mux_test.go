package tlsmux

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is an identity key with certificates for it.
type node struct {
	key  *ecdsa.PrivateKey
	id   lifecycle.NodeID
	cert *tls.Certificate
}

func newNode(t *testing.T) *node {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{key: key}
	n.certify(t, time.Hour)
	sum := sha256.Sum256(n.cert.Leaf.RawSubjectPublicKeyInfo)
	n.id = lifecycle.NodeID(hex.EncodeToString(sum[:]))
	return n
}

// certify signs its own certificate: who signed must not matter. A negative
// lifetime gives an expired one.
func (n *node) certify(t *testing.T, lifetime time.Duration) {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: serial, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(lifetime)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, n.key.Public(), n.key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	n.cert = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: n.key, Leaf: leaf}
}

// members is a committed configuration that tests change.
type members struct {
	mu  sync.Mutex
	ids map[lifecycle.NodeID]bool
}

func (m *members) has(id lifecycle.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ids[id]
}

func (m *members) set(id lifecycle.NodeID, in bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ids[id] = in
}

type cluster struct {
	mux     *Mux // the server's
	server  *node
	client  *node
	dialer  *Mux // the client's
	address string
	members *members
}

func start(t *testing.T, config Config) *cluster {
	t.Helper()
	c := &cluster{server: newNode(t), client: newNode(t), members: &members{ids: map[lifecycle.NodeID]bool{}}}
	c.members.set(c.server.id, true)
	c.members.set(c.client.id, true)
	config.Member = c.members.has
	c.mux = New(config)
	c.mux.SetCertificate(c.server.cert)
	c.dialer = New(Config{Member: c.members.has})
	c.dialer.SetCertificate(c.client.cert)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.address = port.Addr().String()
	if err := c.mux.Start(port); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.mux.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		c.dialer.Close()
	})
	return c
}

func (c *cluster) dial(t *testing.T, proto string) (*Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := c.dialer.Dial(ctx, c.address, proto, c.server.id)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, err
}

// accept takes the next connection of a protocol and greets.
func (c *cluster) accept(t *testing.T, proto string) *Conn {
	t.Helper()
	conn, err := c.mux.Listener(proto).Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	return conn.(*Conn)
}

func readHello(conn net.Conn) error {
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	buf := make([]byte, 5)
	if _, err := io.ReadFull(conn, buf); err != nil {
		return err
	}
	if string(buf) != "hello" {
		return fmt.Errorf("read %q", buf)
	}
	return nil
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
	}
}

func TestSplit(t *testing.T) {
	c := start(t, Config{})
	for _, proto := range []string{Peer, Raft} {
		conn, err := c.dial(t, proto)
		if err != nil {
			t.Fatal(err)
		}
		served := c.accept(t, proto)
		if p := served.Peer(); p.NodeID != c.client.id || p.Protocol != proto || p.Expired(time.Now()) {
			t.Errorf("%s: server sees %+v", proto, p)
		}
		if p := conn.Peer(); p.NodeID != c.server.id || p.Protocol != proto {
			t.Errorf("%s: client sees %+v", proto, p)
		}
		if err := readHello(conn); err != nil {
			t.Error(err)
		}
	}
	waitFor(t, "counters", func() bool { return c.mux.Counters() == Counters{Accepted: 2} })
}

func TestStrangerIsRefused(t *testing.T) {
	c := start(t, Config{})
	c.members.set(c.client.id, false)
	for i, proto := range []string{Raft, Peer} {
		if conn, err := c.dial(t, proto); err == nil {
			if err := readHello(conn); err == nil {
				t.Errorf("%s: a stranger was greeted", proto)
			}
		}
		waitFor(t, "refusal", func() bool { return c.mux.Counters().NotMember == uint64(i+1) })
	}
	if got := c.mux.Counters(); got.Accepted != 0 {
		t.Errorf("counters %+v", got)
	}
}

func TestNoClientCertificate(t *testing.T) {
	c := start(t, Config{})
	for i, proto := range []string{Raft, Peer} {
		conn, err := tls.Dial("tcp", c.address, &tls.Config{NextProtos: []string{proto}, InsecureSkipVerify: true})
		if err == nil {
			err = readHello(conn)
			conn.Close()
		}
		if err == nil {
			t.Errorf("%s without a certificate", proto)
		}
		waitFor(t, "refusal", func() bool { return c.mux.Counters().Failed == uint64(i+1) })
	}
}

func TestJoinNeedsNoIdentity(t *testing.T) {
	c := start(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	pin := errors.New("wrong pin")
	if _, err := DialJoin(ctx, c.address, func([]*x509.Certificate) error { return pin }); !errors.Is(err, pin) {
		t.Fatalf("pin ignored: %v", err)
	}
	conn, err := DialJoin(ctx, c.address, func(chain []*x509.Certificate) error {
		if len(chain) != 1 || !chain[0].Equal(c.server.cert.Leaf) {
			return pin
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := c.accept(t, Join).Peer(); p.NodeID != "" || p.Protocol != Join {
		t.Errorf("join peer %+v", p)
	}
	if err := readHello(conn); err != nil {
		t.Error(err)
	}
}

// TestFloodOfStrangers: whoever has no identity holds a bounded number of connections,
// and the newest, so that a joiner gets through a flood of those that only sit there.
func TestFloodOfStrangers(t *testing.T) {
	c := start(t, Config{MaxStrangers: 2})
	join := func() *Conn {
		conn, err := DialJoin(t.Context(), c.address, func([]*x509.Certificate) error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		c.accept(t, Join)
		return conn
	}
	member, err := c.dial(t, Raft)
	if err != nil {
		t.Fatal(err)
	}
	c.accept(t, Raft)
	first := join()
	for range 4 {
		join()
	}
	last := join()
	if err := readHello(last); err != nil {
		t.Errorf("the newest: %v", err)
	}
	if err := readHello(member); err != nil {
		t.Errorf("a member: %v", err)
	}
	if err := first.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, first); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the oldest of six is still open, and two are allowed")
	}
	if n := c.mux.Counters().Evicted; n != 4 {
		t.Errorf("%d were let go, want 4", n)
	}
}

func TestExpiredCertificateIsMarkedNotRefused(t *testing.T) {
	c := start(t, Config{})
	c.client.certify(t, -time.Hour)
	c.dialer.SetCertificate(c.client.cert)
	c.server.certify(t, -time.Hour)
	c.mux.SetCertificate(c.server.cert)
	conn, err := c.dial(t, Raft)
	if err != nil {
		t.Fatalf("raft with expired certificates: %v", err)
	}
	if p := c.accept(t, Raft).Peer(); !p.Expired(time.Now()) || p.NodeID != c.client.id {
		t.Errorf("server sees %+v", p)
	}
	if !conn.Peer().Expired(time.Now()) {
		t.Error("client does not see that the server's certificate expired")
	}
}

func TestWrongServer(t *testing.T) {
	c := start(t, Config{})
	other := newNode(t)
	_, err := c.dialer.Dial(context.Background(), c.address, Raft, other.id)
	if !errors.Is(err, ErrIdentity) {
		t.Fatalf("another node was taken for the one we want: %v", err)
	}
}

func TestProtocolMustBeNamedOnce(t *testing.T) {
	c := start(t, Config{})
	for i, protos := range [][]string{nil, {"h2"}, {"http/1.1"}, {Join, Raft}, {Join, "h2"}, {"chancery-raft/2"}} {
		conn, err := tls.Dial("tcp", c.address, &tls.Config{NextProtos: protos, InsecureSkipVerify: true, Certificates: []tls.Certificate{*c.client.cert}})
		if err == nil {
			conn.Close()
			t.Errorf("ALPN %q was served as %q", protos, conn.ConnectionState().NegotiatedProtocol)
		}
		waitFor(t, "refusal", func() bool { return c.mux.Counters().Failed == uint64(i+1) })
	}
	_, err := tls.Dial("tcp", c.address, &tls.Config{NextProtos: []string{Join}, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Error("TLS 1.2 was served")
	}
}

func TestGarbage(t *testing.T) {
	c := start(t, Config{})
	for i, bytes := range []string{"GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff" + string(make([]byte, 70000)), "\x00", string(make([]byte, 4096))} {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(bytes)) // the server may close before it has read all of it
		conn.(*net.TCPConn).CloseWrite()
		waitFor(t, "garbage to be refused", func() bool { return c.mux.Counters().Failed == uint64(i+1) })
		conn.Close()
	}
	if _, err := c.dial(t, Raft); err != nil {
		t.Fatalf("after garbage: %v", err)
	}
}

// TestSlowLoris holds every place of one host with silent connections. A client
// from another host is served meanwhile, and the places come back by timeout.
func TestSlowLoris(t *testing.T) {
	c := start(t, Config{MaxPerHost: 4, MaxHandshakes: 8, HandshakeTimeout: 500 * time.Millisecond})
	var silent []net.Conn
	for range 6 {
		conn, err := net.Dial("tcp", c.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	waitFor(t, "connections beyond the limit to be closed", func() bool { return c.mux.Counters().Busy == 2 })

	raw, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	other := tls.Client(raw, &tls.Config{NextProtos: []string{Raft}, InsecureSkipVerify: true, Certificates: []tls.Certificate{*c.client.cert}})
	defer other.Close()
	if err := other.Handshake(); err != nil {
		t.Fatalf("starved by another host: %v", err)
	}
	waitFor(t, "silent handshakes to time out", func() bool { return c.mux.Counters().Failed == 4 })
	for _, conn := range silent {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("silent connection was not closed: %v", err)
		}
	}
	if _, err := c.dial(t, Raft); err != nil {
		t.Fatalf("after the flood: %v", err)
	}
}

func TestQueueOverflow(t *testing.T) {
	c := start(t, Config{QueueLength: 2})
	for range 5 {
		if _, err := c.dial(t, Peer); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "overflow", func() bool { got := c.mux.Counters(); return got.Accepted == 2 && got.Overflow == 3 })
	if conn, err := c.dial(t, Raft); err != nil { // another protocol has its own queue
		t.Fatal(err)
	} else {
		c.accept(t, Raft)
		if err := readHello(conn); err != nil {
			t.Error(err)
		}
	}
}

func TestCertificateReload(t *testing.T) {
	c := start(t, Config{})
	c.mux.SetCertificate(nil)
	if _, err := c.dial(t, Raft); err == nil {
		t.Fatal("served without a certificate")
	}
	for range 2 {
		c.server.certify(t, time.Hour)
		c.mux.SetCertificate(c.server.cert)
		conn, err := c.dial(t, Raft)
		if err != nil {
			t.Fatal(err)
		}
		if !conn.ConnectionState().PeerCertificates[0].Equal(c.server.cert.Leaf) {
			t.Error("the old certificate is still shown")
		}
		if c.accept(t, Raft).ConnectionState().DidResume {
			t.Error("resumed: membership was not looked at")
		}
	}
}

func TestRecheck(t *testing.T) {
	c := start(t, Config{})
	conn, err := c.dial(t, Raft)
	if err != nil {
		t.Fatal(err)
	}
	c.accept(t, Raft)
	if err := readHello(conn); err != nil {
		t.Fatal(err)
	}
	c.mux.Recheck() // still a member: nothing happens
	second, err := c.dial(t, Raft)
	if err != nil {
		t.Fatal(err)
	}
	c.accept(t, Raft)
	c.members.set(c.client.id, false)
	c.mux.Recheck()
	for _, conn := range []net.Conn{conn, second} {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadAll(conn); errors.Is(err, context.DeadlineExceeded) {
			t.Error("connection of a removed node stays open")
		}
	}
	if n := c.mux.liveCount(); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

func (m *Mux) liveCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.live)
}

// TestHTTP runs net/http over peer connections: one connection for many requests,
// the identity at hand.
func TestHTTP(t *testing.T) {
	c := start(t, Config{})
	server := &http.Server{
		ConnContext: ConnContext,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, ok := PeerFrom(r.Context())
			fmt.Fprintf(w, "%s %v %s", p.NodeID, ok, r.Proto)
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(c.mux.Listener(Peer)) }()
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		return c.dialer.Dial(ctx, address, Peer, c.server.id)
	}}
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get("https://" + c.address + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprintf("%s true HTTP/1.1", c.client.id); string(body) != want {
			t.Errorf("got %q, want %q", body, want)
		}
	}
	if got := c.mux.Counters().Accepted; got != 1 {
		t.Errorf("%d connections for 3 requests", got)
	}
	transport.CloseIdleConnections()
	server.Close()
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	if _, ok := PeerFrom(context.Background()); ok {
		t.Error("a peer out of nothing")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	c := start(t, Config{})
	served, err := c.dial(t, Raft)
	if err != nil {
		t.Fatal(err)
	}
	c.accept(t, Raft)
	readHello(served)
	queued, err := c.dial(t, Peer)
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Dial("tcp", c.address)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	waiting := make(chan error, 1)
	go func() { _, err := c.mux.Listener(Join).Accept(); waiting <- err }()
	waitFor(t, "peer to be queued", func() bool { return c.mux.Counters().Accepted == 2 })

	if err := c.mux.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v", err)
	}
	for _, conn := range []net.Conn{served, queued, silent} {
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		var timeout net.Error
		if _, err := io.ReadAll(conn); errors.As(err, &timeout) && timeout.Timeout() {
			t.Error("a connection outlives the Mux")
		}
	}
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.mux.Start(port); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

// TestConcurrent is for the race detector: dialling, reloading, removing and
// closing at once.
func TestConcurrent(t *testing.T) {
	c := start(t, Config{})
	go func() {
		for {
			conn, err := c.mux.Listener(Raft).Accept()
			if err != nil {
				return
			}
			go func() { conn.Write([]byte("hello")); io.Copy(io.Discard, conn); conn.Close() }()
		}
	}()
	var dialers sync.WaitGroup
	for range 4 {
		dialers.Go(func() {
			for range 10 {
				if conn, err := c.dial(t, Raft); err == nil {
					readHello(conn)
					conn.Close()
				}
			}
		})
	}
	dialers.Go(func() {
		for i := range 40 {
			c.mux.SetCertificate(c.server.cert)
			c.members.set(c.client.id, i%4 != 0)
			c.mux.Recheck()
		}
	})
	dialers.Wait()
	c.members.set(c.client.id, true)
	conn, err := c.dial(t, Raft)
	if err != nil {
		t.Fatal(err)
	}
	if err := readHello(conn); err != nil {
		t.Error(err)
	}
}
