package api

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// call is one request on its way through the API. It belongs to its goroutine.
type call struct {
	*API
	w     http.ResponseWriter
	r     *http.Request
	route *route
	began time.Time

	receivedAt time.Duration // by the signer's clock: signatures are late by it; kind sign only

	query     url.Values
	body      []byte
	caller    authority.Caller
	snap      ledger.Snapshot // reads: what the answer is computed from
	requestID string

	status   int             // of the answer; 0 = 200
	streamed bool            // the handler has written the answer itself
	level    authority.Level // changes: the level to wait for
	hold     time.Duration   // and how long
}

// raw is an answer that is rendered already.
type raw struct {
	contentType string // "" = JSON
	body, tail  []byte // shared and not written to; tail follows body
}

// serve is the way of every request: bounds, identity, the route's function, answer.
func (a *API) serve(rt *route) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c := &call{API: a, w: w, r: r, route: rt, began: time.Now()}
		defer c.recover()
		if rt.kind == sign && a.Signer != nil {
			c.receivedAt = a.Signer.Elapsed()
		}
		out, err := c.run()
		if errors.Is(err, ledger.ErrNotLeader) {
			err = c.forward(err)
		}
		switch {
		case err != nil:
			c.fail(err)
		case !c.streamed:
			c.answer(out)
		}
		c.done()
	}
}

func (c *call) run() (any, error) {
	if err := transport.CheckHeader(c.r); err != nil {
		return nil, err
	}
	address := transport.AddressOf(c.r.RemoteAddr)
	if err := c.addresses.Take(address); err != nil {
		return nil, err
	}
	if err := c.parseQuery(); err != nil {
		return nil, err
	}
	if err := c.readBody(); err != nil {
		return nil, err
	}
	if c.route.kind == open || c.route.kind == entry {
		if c.route.kind == entry {
			if err := c.failures.Take(address); err != nil {
				return nil, err
			}
			if err := c.requireLeader(); err != nil {
				return nil, err
			}
		}
		return c.route.handle(c)
	}
	if err := c.identify(address); err != nil {
		return nil, err
	}
	return c.route.handle(c)
}

// identify finds the caller, in the state that the answer will be computed from.
func (c *call) identify(address string) (err error) {
	cred := authority.Credential{Remote: c.r.RemoteAddr}
	if cred.Token, err = bearer(c.r); err != nil {
		return err
	}
	if cred.Token == "" {
		if cred.CertSPKI = transport.PeerSPKI(c.r); cred.CertSPKI != "" {
			if err := c.checkValidity(); err != nil {
				return err
			}
		}
	}
	if cred == (authority.Credential{Remote: cred.Remote}) {
		return fmt.Errorf("%w: send a client certificate or a bearer token", authority.ErrUnauthenticated)
	}
	if err := c.openState(); err != nil {
		return err
	}
	c.caller, err = authority.Authenticate(c.snap.View, cred, c.Clock())
	if err != nil {
		if errors.Is(err, authority.ErrUnauthenticated) {
			// Only failures are slowed down: whoever shares the address and has a good
			// credential is served.
			if slow := c.failures.Take(address); slow != nil {
				return slow
			}
		}
		return err
	}
	return c.principals.Take(c.caller.Principal)
}

// openState pins the View for the request: as fresh as asked for a read, the newest
// one for everything that looks again by itself.
func (c *call) openState() (err error) {
	switch c.route.kind {
	case change:
		if err := c.prepareChange(); err != nil {
			return err
		}
	case read:
		f, err := transport.ParseFreshness(c.r.Header, true)
		if err != nil {
			return err
		}
		c.snap, err = c.reader.Read(c.r.Context(), f)
		if errors.Is(err, ledger.ErrStale) && c.route.anyAge && len(c.r.Header[wire.HeaderConsistency]) == 0 {
			f.Level = ledger.Stale // and marked so
			c.snap, err = c.reader.Read(c.r.Context(), f)
		}
		return err
	case sign:
		f, err := transport.ParseFreshness(c.r.Header, true)
		if err != nil {
			return err
		}
		if c.snap.View = c.Service.View(); f.MinIndex > c.snap.Position().Index || f.MinEpoch != 0 {
			f.Level = ledger.Stale // the signer asks for freshness itself
			c.snap, err = c.reader.Read(c.r.Context(), f)
		}
		return err
	}
	c.snap.View = c.Service.View()
	return nil
}

// prepareChange reads what every change carries. It runs on the leader only.
func (c *call) prepareChange() error {
	if err := c.takeRequestID(); err != nil {
		return err
	}
	if err := c.takeWait(); err != nil {
		return err
	}
	return c.requireLeader()
}

func (c *call) requireLeader() error {
	if l := c.Service.Ledger().Leadership(); !l.Self || !l.Ready {
		return ledger.ErrNotLeader
	}
	return nil
}

// takeRequestID takes the caller's id or makes one, which is then the same on
// whatever node carries the request out.
func (c *call) takeRequestID() error {
	v := c.r.Header[wire.HeaderRequestID]
	switch {
	case len(v) > 1:
		return wire.Errorf(wire.Invalid, "%s is given twice", wire.HeaderRequestID)
	case len(v) == 1:
		if _, err := command.RequestTime(v[0]); err != nil {
			return wire.Errorf(wire.Invalid, "%v", err)
		}
		c.requestID = v[0]
		return nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("draw a request id: %w", err)
	}
	c.requestID = id.String()
	c.r.Header[wire.HeaderRequestID] = []string{c.requestID}
	return nil
}

// takeWait reads ?wait= and ?within=, before anything is done. Whoever names no level
// gets the route's own, and is held only as long as a client that does not expect to
// be held has patience for.
func (c *call) takeWait() (err error) {
	c.level = authority.Level(c.query.Get(wire.QueryWait))
	hold := wire.DefaultHold
	if c.level == "" {
		c.level, hold = c.route.level, wire.ImplicitHold
	}
	if c.hold, err = c.duration(wire.QueryWithin, hold); err != nil {
		return err
	}
	c.hold = min(c.hold, wire.MaxHold)
	if c.level == "" || slices.Contains(c.route.levels, c.level) {
		return nil
	}
	return wire.Errorf(wire.Invalid, "wait: %.40q is not a level of this request, which are %v: nothing was done", c.level, c.route.levels)
}

// request is what the service wants to know about a change. body is the decoded
// value, so that two spellings of one JSON are one request.
func (c *call) request(body any) (authority.Request, error) {
	canonical, err := json.Marshal(body)
	if err != nil {
		return authority.Request{}, fmt.Errorf("encode the request: %w", err)
	}
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.r.Method), []byte(c.r.URL.Path), canonical} {
		_, _ = h.Write(append(part, 0)) // a hash takes everything
	}
	why := c.query.Get(wire.QueryBreak)
	if why != "" {
		_, _ = h.Write([]byte(wire.QueryBreak + "=" + why)) // likewise
	}
	plan, err := c.flag(wire.QueryPlan)
	return authority.Request{Caller: c.caller, RequestID: c.requestID, Digest: [32]byte(h.Sum(nil)), DryRun: plan, BreakGlass: why}, err
}

// may checks a read against the caller's roles.
func (c *call) may(verb access.Verb, key lifecycle.KeyID) error {
	return c.Service.Check(c.r.Context(), c.snap.View, c.caller, verb, key)
}

// bearer takes the token out of the Authorization header.
func bearer(r *http.Request) (string, error) {
	v := r.Header["Authorization"]
	switch {
	case len(v) == 0:
		return "", nil
	case len(v) > 1:
		return "", fmt.Errorf("%w: two Authorization headers", authority.ErrUnauthenticated)
	case len(v[0]) <= len(wire.BearerScheme) || v[0][:len(wire.BearerScheme)] != wire.BearerScheme:
		return "", fmt.Errorf("%w: the Authorization header must be \"Bearer %s...\"", authority.ErrUnauthenticated, wire.TokenPrefix)
	}
	return v[0][len(wire.BearerScheme):], nil
}

// checkValidity refuses a client certificate outside its time. Who signed it is not
// looked at: its key is registered with the principal, or it is nobody's.
func (c *call) checkValidity() error {
	cert, now := c.r.TLS.PeerCertificates[0], c.Clock()
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("%w: the client certificate expired at %s", authority.ErrUnauthenticated, wire.AsTime(cert.NotAfter))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("%w: the client certificate is valid from %s", authority.ErrUnauthenticated, wire.AsTime(cert.NotBefore))
	}
	return nil
}

// answer writes a success.
func (c *call) answer(out any) {
	h := c.w.Header()
	body, ok := out.(raw)
	if !ok {
		b, err := json.Marshal(out)
		if err != nil {
			c.fail(fmt.Errorf("encode the answer: %w", err))
			return
		}
		body.body = append(b, '\n')
	}
	transport.JSON(h)
	if body.contentType != "" {
		h["Content-Type"] = []string{body.contentType}
	}
	if c.snap.View != nil {
		if c.route.kind == read {
			c.stamper.Snapshot(h, c.snap)
		} else {
			c.stamper.View(h, c.snap.Position())
		}
	}
	if c.requestID != "" {
		h[wire.HeaderRequestID] = []string{c.requestID}
	}
	if c.status == 0 {
		c.status = http.StatusOK
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body.body) + len(body.tail))}
	c.w.WriteHeader(c.status)
	_, _ = c.w.Write(body.body) // the caller has gone: nobody is left to tell
	if body.tail != nil {
		_, _ = c.w.Write(body.tail) // likewise
	}
}

// fail writes an error; what is ours goes to the log, not to the caller.
func (c *call) fail(err error) {
	e := transport.Failure(err)
	e.RequestID = c.requestID
	if e.Code == wire.Internal {
		c.Logger.Error("answer a request", "route", c.route.name, "request_id", c.requestID, "err", err)
	}
	if e.Code == wire.NotLeader && c.route.level == authority.Fenced && c.leader() == nil {
		c.withoutLeader(e)
	}
	p := c.Service.View().Position()
	if e.Index == 0 {
		e.Index = p.Index
	}
	if e.Code == wire.EpochChanged {
		at := transport.Position(p)
		e.Position = &at
	}
	c.status = e.HTTPStatus()
	if c.streamed {
		return // the status line is gone; the stream just ends
	}
	c.stamper.Refusal(c.r.Context(), c.w.Header(), c.Service.Ledger())
	transport.WriteError(c.w, e)
}

// recover turns a panic into a 500 that says nothing, and goes on serving.
func (c *call) recover() {
	p := recover()
	switch {
	case p == nil:
		return
	case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares it like this
		panic(p)
	}
	c.Logger.Error("a request panicked", "route", c.route.name, "request_id", c.requestID, "err", fmt.Sprint(p), "stack", string(debug.Stack()))
	c.fail(errors.New("panic"))
	c.done()
}

// done counts the request and, at debug, logs it.
func (c *call) done() {
	took := time.Since(c.began)
	if c.status == 0 {
		c.status = http.StatusOK
	}
	c.route.metrics.Observe(c.status, took)
	if ctx := context.Background(); c.Logger.Enabled(ctx, slog.LevelDebug) {
		c.Logger.LogAttrs(ctx, slog.LevelDebug, "request", slog.String("route", c.route.name), slog.Int("status", c.status),
			slog.String("principal", c.caller.Principal), slog.String("remote", c.r.RemoteAddr),
			slog.String("request_id", c.requestID), slog.Duration("took", took))
	}
}
