package client

import (
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// call is one request before it is sent, and all its attempts.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any
	raw          bool          // the answer is a stream: do not read it
	mutation     bool          // it may have happened when the answer is lost
	read         bool          // it must not answer from an older state
	requestID    string        // of a mutation or a signature
	deadline     time.Duration // 0 = none; longest from sending to having the answer
	hold         time.Duration // the server may hold the request that long
	patience     time.Duration // 0 = the whole timeout; longest search for a leader
	pinned       string        // base URL: this node and no other
	stale        bool          // an old answer will do
	answer       func(addr string, h http.Header)

	// public calls go to public listeners: without credentials, and nothing of the
	// answer counts that check has not verified.
	public bool
	bare   bool // do not send the position seen: what comes is compared with it all the same
	check  func(body []byte, asked anchor) error
}

// Option changes one call.
type Option func(*call)

// WithRequestID repeats an earlier mutation: the server answers with what became
// of it, or carries it out if it never arrived.
func WithRequestID(id string) Option { return func(c *call) { c.requestID = id } }

// Plan changes nothing and answers what would happen.
func Plan() Option { return func(c *call) { c.query.Set(wire.QueryPlan, "true") } }

// Wait lets the server hold the request until the operation has reached a level,
// but not longer than within; its answer says how far it came.
func Wait(level string, within time.Duration) Option {
	return func(c *call) {
		within = min(max(within, 0), wire.MaxHold)
		c.query.Set(wire.QueryWait, level)
		c.query.Set(wire.QueryWithin, lifecycle.Milliseconds(within.Milliseconds()).String())
		c.hold = within
	}
}

// Patience bounds how long a change looks for a leader, for callers who have another
// way to stop a key: an election takes a few seconds, a lost quorum any time.
func Patience(d time.Duration) Option { return func(c *call) { c.patience = d } }

// IfMatch makes a change of a policy or of the settings conditional on the
// revision it was read at.
func IfMatch(revision uint64) Option {
	return func(c *call) { c.header.Set("If-Match", wire.ETag(revision)) }
}

// Consistency asks for wire.Stale, wire.Bounded (the default), wire.BoundedBy(age)
// or wire.Linearizable. Public listeners have no linearizable reads.
func Consistency(level string) Option {
	return func(c *call) {
		c.header.Set(wire.HeaderConsistency, level)
		c.stale = level == wire.Stale
	}
}

// Query sets a query parameter, for filters of lists; an empty value is left out.
func Query(name, value string) Option {
	return func(c *call) {
		if value != "" {
			c.query.Set(name, value)
		}
	}
}

// Page asks for one page of a list: at most limit items (0 = the server's
// default) from cursor on.
func Page(limit int, cursor string) Option {
	return func(c *call) {
		if limit > 0 {
			c.query.Set(wire.QueryLimit, strconv.Itoa(limit))
		}
		Query(wire.QueryCursor, cursor)(c)
	}
}

// At sends the request to one node only, host:port or a base URL.
func At(addr string) Option {
	return func(c *call) {
		c.pinned = addr
		if base, err := baseURL(addr); err == nil {
			c.pinned = base
		}
	}
}

// OnAnswer shows which address answered and the headers of the answer:
// wire.HeaderReplayed, HeaderNode, HeaderAsOf and HeaderFreshness among them.
func OnAnswer(f func(addr string, h http.Header)) Option { return func(c *call) { c.answer = f } }

// NewRequestID draws a RequestID: a UUIDv7 (RFC 9562).
func NewRequestID() string { return uuid.Must(uuid.NewV7()).String() }

func newCall(method, path string, opts []Option) *call {
	c := &call{method: method, path: path, query: url.Values{}, header: http.Header{}}
	for _, o := range opts {
		o(c)
	}
	return c
}
