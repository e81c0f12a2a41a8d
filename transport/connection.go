package transport

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"net/http"
	"sync"
)

// connections bounds the open connections of a server. When one too many comes,
// the one that has waited longest without a request goes; when all are busy, the
// new one does.
type connections struct {
	most int

	mu   sync.Mutex // owns everything below; never held over I/O other than Close
	open map[net.Conn]*list.Element
	idle *list.List // of net.Conn, longest idle first; a nil element in open = busy
}

func newConnections(most int) *connections {
	return &connections{most: most, open: map[net.Conn]*list.Element{}, idle: list.New()}
}

// state is the server's ConnState hook.
func (c *connections) state(conn net.Conn, s http.ConnState) {
	if victim := c.move(conn, s); victim != nil {
		_ = victim.Close() // it is being thrown out: nothing could be done about an error
	}
}

func (c *connections) move(conn net.Conn, s http.ConnState) (victim net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.open[conn]; e != nil {
		c.idle.Remove(e)
	}
	switch s {
	case http.StateClosed, http.StateHijacked:
		delete(c.open, conn)
	case http.StateActive:
		c.open[conn] = nil
	case http.StateNew, http.StateIdle:
		if s == http.StateNew && len(c.open) >= c.most {
			oldest := c.idle.Front()
			if oldest == nil {
				return conn
			}
			victim = oldest.Value.(net.Conn)
			c.idle.Remove(oldest)
			delete(c.open, victim)
		}
		c.open[conn] = c.idle.PushBack(conn)
	}
	return victim
}

// peer is what a connection remembers between its requests, so that a client
// certificate's key is hashed once.
type peer struct {
	once sync.Once
	spki string
}

type connKey struct{}

func withConn(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, new(peer))
}

// PeerSPKI is the hex SHA-256 of the SPKI of the client certificate whose key the
// handshake proved, "" when none was shown. The certificate's signature means
// nothing here: who a key belongs to stands in the state.
func PeerSPKI(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	hash := func() string {
		sum := sha256.Sum256(r.TLS.PeerCertificates[0].RawSubjectPublicKeyInfo)
		return hex.EncodeToString(sum[:])
	}
	c, ok := r.Context().Value(connKey{}).(*peer)
	if !ok {
		return hash()
	}
	c.once.Do(func() { c.spki = hash() })
	return c.spki
}
