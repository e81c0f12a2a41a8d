package tlsmux

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"net"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// PeerInfo is who is at the other end of a connection, as the handshake proved it.
type PeerInfo struct {
	Protocol string
	NodeID   lifecycle.NodeID // "" where the protocol needs no identity
	// Validity of the certificate that was shown. Not enforced here.
	NotBefore, NotAfter time.Time
}

// Expired reports whether the peer's certificate is outside its validity. Ask it
// at the time of use: a connection outlives the day on which it was made.
func (p PeerInfo) Expired(now time.Time) bool {
	return now.Before(p.NotBefore) || now.After(p.NotAfter)
}

func peerOf(state tls.ConnectionState) PeerInfo {
	p := PeerInfo{Protocol: state.NegotiatedProtocol}
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
		p.NodeID = lifecycle.NodeID(hex.EncodeToString(sum[:]))
		p.NotBefore, p.NotAfter = leaf.NotBefore, leaf.NotAfter
	}
	return p
}

// Conn is a connection after its handshake. It embeds *tls.Conn without being
// one: net/http then speaks plain HTTP/1.1 over it, with keep-alive, and does not
// look for the HTTP/2 that our ALPN names do not mean.
type Conn struct {
	*tls.Conn
	peer PeerInfo
	mux  *Mux // nil for a dialled connection
	once sync.Once
}

func newConn(m *Mux, conn *tls.Conn) *Conn {
	return &Conn{Conn: conn, peer: peerOf(conn.ConnectionState()), mux: m}
}

// Peer is who is at the other end.
func (c *Conn) Peer() PeerInfo { return c.peer }

// Close closes the connection; it may be called more than once.
func (c *Conn) Close() error {
	c.once.Do(func() {
		if c.mux != nil {
			c.mux.forget(c)
		}
	})
	return c.Conn.Close()
}

type contextKey struct{}

// ConnContext is for http.Server.ConnContext: it makes the peer of a Conn
// available to handlers through PeerFrom.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	if conn, ok := c.(*Conn); ok {
		return context.WithValue(ctx, contextKey{}, conn.peer)
	}
	return ctx
}

// PeerFrom returns the peer that ConnContext stored. ok is false when the request
// did not come through this package: refuse it.
func PeerFrom(ctx context.Context) (p PeerInfo, ok bool) {
	p, ok = ctx.Value(contextKey{}).(PeerInfo)
	return p, ok
}
