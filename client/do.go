package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// deadRounds are those without a node that waiting may help, before giving up.
const deadRounds = 4

// do carries a call out: it tries node after node, round after round, until one
// answers for good, the time is up, or nobody is there.
func (c *Client) do(ctx context.Context, cl *call, out any) (io.ReadCloser, error) {
	var body []byte
	if cl.body != nil {
		var err error
		if body, err = json.Marshal(cl.body); err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
	}
	if (cl.mutation || cl.deadline > 0) && cl.requestID == "" {
		cl.requestID = NewRequestID()
	}
	began := time.Now()
	t := &trial{client: c, call: cl, body: body, out: out, giveUp: began.Add(c.cfg.Timeout + cl.hold)}
	var pauses pauses
	for dead := 0; ; {
		var round []result
		answered := false
		for _, base := range c.order(cl) {
			r := t.try(ctx, base)
			if r.err == nil {
				c.prefer(base, r.base)
				return r.stream, nil
			}
			if !r.retry {
				return nil, t.verdict(r.err)
			}
			answered = answered || r.answered && hopeful(r.err)
			round = append(round, r)
		}
		if dead++; answered {
			dead = 0
		}
		leaderless := cl.patience > 0 && time.Since(began) > cl.patience && wire.CodeOf(t.refused) == wire.NotLeader
		if leaderless || dead == deadRounds || !t.sleep(ctx, pauses.next(round)) {
			return nil, t.exhausted(ctx)
		}
	}
}

// hopeful reports whether waiting may help: a node that lacks the instance, or whose
// token refused the PIN, says the same thing in a second.
func hopeful(err error) bool {
	code := wire.CodeOf(err)
	return code != wire.InstanceNotHere && code != wire.KeystoreLocked
}

// order lists the base URLs in the order to try them.
func (c *Client) order(cl *call) []string {
	if cl.pinned != "" {
		return []string{cl.pinned}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	list := slices.Clone(c.nodes)
	if cl.mutation && c.leader != "" {
		list = slices.DeleteFunc(list, func(s string) bool { return s == c.leader })
		list = slices.Insert(list, 0, c.leader)
	}
	return list
}

// prefer moves the node that answered to the front, and remembers the leader when
// the answer came by a redirect to it.
func (c *Client) prefer(asked, answered string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if asked != answered {
		c.leader = answered
	}
	if i := slices.Index(c.nodes, asked); i > 0 {
		copy(c.nodes[1:i+1], c.nodes[:i])
		c.nodes[0] = asked
	}
}

func (c *Client) forgetLeader(base string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == base {
		c.leader = ""
	}
}

// trial is one call on its way through the nodes.
type trial struct {
	client    *Client
	call      *call
	body      []byte
	out       any
	giveUp    time.Time
	tried     []string
	last      error
	refused   error // the last that a node answered: it says more than a line that is dead
	uncertain bool  // some attempt may have been carried out
}

// result of one attempt.
type result struct {
	err      error
	retry    bool          // another node, or this one later, may do it
	answered bool          // the node is alive
	after    time.Duration // it asked for that much patience
	base     string        // who answered: asked, or where it redirected to
	stream   io.ReadCloser // raw calls
}

// try asks one node, and the leader it may point to.
func (t *trial) try(ctx context.Context, base string) result {
	r, to := t.attempt(ctx, base)
	if to != "" {
		if r, to = t.attempt(ctx, to); to != "" {
			r = result{err: wire.Errorf(wire.NotLeader, "redirected twice: the leader is changing"), retry: true}
		}
		r.answered = true // base did: a leader that is gone will be followed by another
	}
	if r.err != nil {
		t.last = r.err
		if wire.CodeOf(r.err) != "" {
			t.refused = r.err
		}
		t.client.forgetLeader(base)
		t.tried = append(t.tried, strings.TrimPrefix(strings.TrimPrefix(base, "https://"), "http://")+": "+reason(r.err))
		t.client.log.DebugContext(ctx, "attempt failed", "node", base, "request_id", t.call.requestID, "retry", r.retry, "err", r.err)
	}
	return r
}

// verdict is the error of a call that ends with a refusal. When an earlier attempt
// may have been carried out, a refusal that could not have met that one settles
// nothing.
func (t *trial) verdict(err error) error {
	if err == context.DeadlineExceeded { // the caller's time is up, and nothing was sent
		return &Unavailable{Tried: lastOf(t.tried), Err: err}
	}
	switch wire.CodeOf(err) {
	case wire.Unauthenticated, wire.Denied, wire.StaleRequestID, wire.Internal, "":
		if t.uncertain && t.call.mutation {
			return &OutcomeUnknown{RequestID: t.call.requestID, Err: err}
		}
	}
	return err
}

// exhausted is the error of a call that no node answered for good.
func (t *trial) exhausted(ctx context.Context) error {
	err := t.last
	if t.refused != nil {
		err = t.refused
	}
	if ctx.Err() != nil {
		err = errors.Join(ctx.Err(), err)
	}
	if t.uncertain && t.call.mutation {
		return &OutcomeUnknown{RequestID: t.call.requestID, Err: err}
	}
	return &Unavailable{Tried: lastOf(t.tried), Err: err}
}

const maxTried = 8 // of the attempts, the last few tell enough

// lastOf is the end of a list of attempts, each outcome once.
func lastOf(tried []string) (out []string) {
	for i := len(tried) - 1; i >= 0 && len(out) < maxTried; i-- {
		if !slices.Contains(out, tried[i]) {
			out = append(out, tried[i])
		}
	}
	slices.Reverse(out)
	return out
}

// sleep waits a little less or more than pause, so that callers do not come back
// all at once. It reports false when the time is up.
func (t *trial) sleep(ctx context.Context, pause time.Duration) bool {
	pause = pause/2 + rand.N(pause)
	if time.Now().Add(pause).After(t.giveUp) {
		return false
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (t *trial) request(ctx context.Context, base string) (*http.Request, anchor, error) {
	cl, c := t.call, t.client
	u := base + cl.path
	if len(cl.query) > 0 {
		u += "?" + cl.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, cl.method, u, bytes.NewReader(t.body))
	if err != nil {
		return nil, anchor{}, fmt.Errorf("make the request: %w", err)
	}
	for k, v := range cl.header {
		req.Header[k] = v
	}
	if t.body != nil {
		req.Header.Set("Content-Type", wire.TypeJSON)
	} else {
		req.Body = http.NoBody
	}
	if cl.requestID != "" {
		req.Header.Set(wire.HeaderRequestID, cl.requestID)
	}
	token := ""
	if !cl.public {
		if token, err = c.token.read(); err != nil {
			return nil, anchor{}, err
		}
	}
	if token != "" {
		req.Header.Set("Authorization", wire.BearerScheme+token)
	}
	var asked anchor
	if !cl.stale {
		c.mu.Lock()
		asked = c.anchor
		c.mu.Unlock()
		if !cl.bare {
			asked.stamp(req.Header)
		}
	}
	return req, asked, nil
}

// reason is the short form of an error for a list of attempts.
func reason(err error) string {
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused.Message
	}
	s := err.Error()
	if i := strings.LastIndex(s, `": `); i >= 0 { // net/http repeats method and URL
		s = s[i+3:]
	}
	if strings.HasSuffix(s, context.DeadlineExceeded.Error()) {
		return errSlow.Error()
	}
	return s
}
