package api

import (
	"bytes"
	"io"
	"net/http"
	"strings"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// headerForwarded stops a request from going round while leadership moves: a node
// that gets one and does not lead refuses it. It vouches for nothing.
const headerForwarded = "Chancery-Forwarded"

// forward sends a request to the leader: a bearer token travels with it and is
// looked up again there. A client certificate cannot travel, so its owner is told
// where to go. notLeader is the answer when there is nowhere to go.
func (c *call) forward(notLeader error) error {
	leader := c.leader()
	switch {
	case leader == nil:
		return notLeader
	case len(c.r.Header[headerForwarded]) > 0:
		return wire.Errorf(wire.NotLeader, "the request was forwarded here, and this node does not lead: nothing was done").WithHint("try again in a moment")
	}
	token, err := bearer(c.r)
	if err != nil {
		return err
	}
	if token == "" && transport.PeerSPKI(c.r) != "" || c.ForwardTransport == nil {
		return c.redirect(leader)
	}
	if token == "" && c.route.kind != entry {
		return notLeader
	}
	return c.relay(leader)
}

// leader is the node to go to, nil when none is known or it is this one, which then
// is not ready yet.
func (c *call) leader() *lifecycle.Node {
	l := c.Service.Ledger().Leadership()
	if l.Self || l.Leader == "" {
		return nil
	}
	n := c.Service.View().Node(l.Leader)
	if n == nil || n.Addrs.API == "" {
		return nil
	}
	return n
}

func (c *call) redirect(leader *lifecycle.Node) error {
	c.streamed, c.status = true, http.StatusTemporaryRedirect
	h := c.w.Header()
	transport.JSON(h)
	h["Location"] = []string{"https://" + leader.Addrs.API + c.r.URL.RequestURI()}
	if c.requestID != "" {
		h[wire.HeaderRequestID] = []string{c.requestID}
	}
	c.w.WriteHeader(c.status)
	return nil
}

// hopHeaders belong to one connection (RFC 9110 section 7.6.1).
var hopHeaders = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

func (c *call) relay(leader *lifecycle.Node) error {
	req, err := http.NewRequestWithContext(c.r.Context(), c.r.Method, "https://"+leader.Addrs.API+c.r.URL.RequestURI(), bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	req.Header = c.r.Header.Clone()
	for _, name := range hopHeaders {
		req.Header.Del(name)
	}
	req.Header[headerForwarded] = []string{c.Node}
	resp, err := c.ForwardTransport.RoundTrip(req)
	if err != nil {
		c.Logger.Warn("forward a request", "node", leader.Name, "request_id", c.requestID, "err", err)
		if c.route.kind == change {
			// It may have arrived before the connection broke.
			return ledger.ErrIndeterminate
		}
		return wire.Errorf(wire.NotLeader, "the leader %s cannot be reached from this node", leader.Name).WithHint("try again in a moment, or another node")
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	body, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxAnswerBytes))
	if err != nil {
		if c.route.kind == change {
			return ledger.ErrIndeterminate
		}
		return wire.Errorf(wire.NotLeader, "the leader %s broke off its answer", leader.Name)
	}
	h := c.w.Header()
	for name, v := range resp.Header {
		if strings.HasPrefix(name, "Chancery-") || name == "Content-Type" || name == "Cache-Control" || name == "Retry-After" || name == "Etag" || name == "Www-Authenticate" {
			h[name] = v
		}
	}
	c.streamed, c.status = true, resp.StatusCode
	c.w.WriteHeader(resp.StatusCode)
	_, _ = c.w.Write(body) // the caller has gone: nobody is left to tell
	return nil
}
