package tlsmux

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Dial connects to a member. The node at the address must be want, whatever its
// certificate says and until when; else the error wraps ErrIdentity. With TLS 1.3
// the server's verdict on this node's own certificate arrives with the first read.
func (m *Mux) Dial(ctx context.Context, address, proto string, want lifecycle.NodeID) (*Conn, error) {
	return dial(ctx, address, &tls.Config{
		NextProtos: []string{proto},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return m.currentCertificate()
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := peerOf(state).NodeID; got != want {
				return fmt.Errorf("%w: node %s answers for node %s: check its advertised address", ErrIdentity, got.Short(), want.Short())
			}
			return nil
		},
	})
}

// DialJoin connects to a cluster that this node does not belong to yet. verify is
// given the server's chain and must pin it, by the CA in the join token.
func DialJoin(ctx context.Context, address string, verify func(chain []*x509.Certificate) error) (*Conn, error) {
	return dial(ctx, address, &tls.Config{
		NextProtos: []string{Join},
		VerifyConnection: func(state tls.ConnectionState) error {
			return verify(state.PeerCertificates)
		},
	})
}

func dial(ctx context.Context, address string, config *tls.Config) (*Conn, error) {
	config.MinVersion = tls.VersionTLS13
	// Chain and host name say nothing here; VerifyConnection checks the key or pin.
	config.InsecureSkipVerify = true //nolint:gosec // see above
	proto := config.NextProtos[0]
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, config)
	err = conn.HandshakeContext(ctx)
	if got := conn.ConnectionState().NegotiatedProtocol; err == nil && got != proto {
		err = fmt.Errorf("%w: asked for %s, server speaks %q", ErrProtocol, proto, got)
	}
	if err != nil {
		_ = raw.Close() // the handshake's error is the one that matters
		return nil, fmt.Errorf("connect to %s (%s): %w", address, proto, err)
	}
	return newConn(nil, conn), nil
}
