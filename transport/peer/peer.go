// Package peer carries typed verbs between nodes: JSON over HTTP/1.1 on the node
// port, under the peer protocol of tlsmux.
//
// Threat model: the caller is a member whose key the handshake verified, and may
// still be stolen. The package hands the verified node id to every handler and
// takes it from nowhere else; a verb is a Go type with limits, never command
// bytes. It does not know what the verbs mean: cluster and authority bring them.
//
// Concurrency: register all verbs before Serve. Calls may come from any goroutine.
package peer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/tlsmux"
)

const (
	maxBodyBytes = 256 << 10 // a bundle of CA certificates is the largest answer
	pathPrefix   = "/peer/v1/"
)

// From is who calls, as the TLS handshake proved it.
type From struct {
	Node    lifecycle.NodeID
	Remote  string
	Expired bool // its certificate is outside its validity
}

// Server serves verbs.
type Server struct {
	mux *http.ServeMux
	log *slog.Logger
	srv *http.Server
}

// NewServer makes a server without verbs.
func NewServer(log *slog.Logger) *Server {
	s := &Server{mux: http.NewServeMux(), log: log}
	s.srv = &http.Server{Handler: s.mux, ConnContext: tlsmux.ConnContext, MaxHeaderBytes: 8 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	return s
}

// Handle registers a verb.
func Handle[Req, Resp any](s *Server, verb string, fn func(ctx context.Context, from From, req Req) (Resp, error)) {
	s.mux.HandleFunc("POST "+pathPrefix+verb, func(w http.ResponseWriter, r *http.Request) {
		p, ok := tlsmux.PeerFrom(r.Context())
		if !ok || p.NodeID == "" {
			writeError(w, fmt.Errorf("%w: no node identity", errDenied))
			return
		}
		var req Req
		if err := decode(r.Body, &req); err != nil {
			writeError(w, err)
			return
		}
		resp, err := fn(r.Context(), From{Node: p.NodeID, Remote: r.RemoteAddr, Expired: p.Expired(time.Now())}, req)
		if err != nil {
			writeError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(resp); err != nil {
			s.log.Debug("answer a peer", "verb", verb, "node", p.NodeID, "err", err)
		}
	})
}

func decode(r io.Reader, v any) error {
	b, err := io.ReadAll(io.LimitReader(r, maxBodyBytes+1))
	if err != nil {
		return fmt.Errorf("read a peer message: %w", err)
	}
	if len(b) > maxBodyBytes {
		return fmt.Errorf("peer message is larger than %d bytes", maxBodyBytes)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode a peer message: %w", err)
	}
	if d.More() {
		return errors.New("decode a peer message: something follows it")
	}
	return nil
}

// Serve answers on the listener until Close.
func (s *Server) Serve(l net.Listener) error {
	if err := s.srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve peers: %w", err)
	}
	return nil
}

// Close ends all connections.
func (s *Server) Close() error { return s.srv.Close() }

// Client calls verbs of other nodes over connections it keeps.
type Client struct{ http *http.Client }

// NewClient dials through mux; address finds where a node is.
func NewClient(mux *tlsmux.Mux, address func(lifecycle.NodeID) (string, error)) *Client {
	dial := func(ctx context.Context, _, host string) (net.Conn, error) {
		id, _, err := net.SplitHostPort(host)
		if err != nil {
			return nil, fmt.Errorf("dial a peer: %w", err)
		}
		addr, err := address(lifecycle.NodeID(id))
		if err != nil {
			return nil, fmt.Errorf("dial a peer: %w", err)
		}
		return mux.Dial(ctx, addr, tlsmux.Peer, lifecycle.NodeID(id))
	}
	return &Client{&http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 8, IdleConnTimeout: 50 * time.Second,
		MaxResponseHeaderBytes: 8 << 10, DisableCompression: true}}}
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Call asks node for a verb. The error is an *Error when the node refused, and
// wraps the ledger's sentinel where there is one.
func Call[Req, Resp any](ctx context.Context, c *Client, node lifecycle.NodeID, verb string, req Req) (resp Resp, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return resp, fmt.Errorf("encode %s: %w", verb, err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+string(node)+pathPrefix+verb, bytes.NewReader(body))
	if err != nil {
		return resp, fmt.Errorf("call %s: %w", verb, err)
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := c.http.Do(r)
	if err != nil {
		return resp, fmt.Errorf("call %s of node %s: %w", verb, node.Short(), err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		var e Error
		if err := decode(answer.Body, &e); err != nil {
			return resp, fmt.Errorf("call %s of node %s: status %d", verb, node.Short(), answer.StatusCode)
		}
		e.Node, e.Verb = node, verb
		return resp, &e
	}
	return resp, decode(answer.Body, &resp)
}

// errDenied is for callers without an identity.
var errDenied = errors.New("denied")

// sentinels keep their meaning across the wire; everything else is its text.
var sentinels = map[string]error{
	"not_leader": ledger.ErrNotLeader, "stale": ledger.ErrStale, "behind": ledger.ErrBehind, "epoch": ledger.ErrEpoch, "busy": ledger.ErrBusy,
	"clock": ledger.ErrClock, "unknown_outcome": ledger.ErrIndeterminate, "stopping": ledger.ErrStopped, "denied": errDenied,
}

// Error is a refusal by another node.
type Error struct {
	Code    string           `json:"code"`
	Message string           `json:"message"`
	Node    lifecycle.NodeID `json:"-"`
	Verb    string           `json:"-"`
}

func (e *Error) Error() string {
	return fmt.Sprintf("node %s refuses %s: %s", e.Node.Short(), e.Verb, e.Message)
}

// Unwrap gives the ledger's sentinel, nil when the refusal has none.
func (e *Error) Unwrap() error { return sentinels[e.Code] }

func writeError(w http.ResponseWriter, err error) {
	e := Error{Code: "refused", Message: err.Error()}
	for code, s := range sentinels {
		if errors.Is(err, s) {
			e.Code = code
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusConflict)
	if err := json.NewEncoder(w).Encode(e); err != nil {
		return // the peer has gone
	}
}
