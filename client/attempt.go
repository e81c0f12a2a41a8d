package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// errSlow ends an attempt that took longer than its share of the time.
var errSlow = errors.New("no answer in time")

// attempt sends the request to one address. redirect is where to go instead, "" =
// nowhere.
func (t *trial) attempt(ctx context.Context, base string) (r result, redirect string) {
	cl := t.call
	limit := min(t.client.cfg.AttemptTimeout+cl.hold, time.Until(t.giveUp))
	if cl.deadline > 0 {
		limit = min(limit, cl.deadline)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errSlow) })
	done := func() { timer.Stop(); cancel(nil) }

	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }})
	req, asked, err := t.request(traced, base)
	if err != nil {
		done()
		return result{err: err}, ""
	}
	started := time.Now()
	resp, err := t.client.http.Do(req)
	if err != nil {
		defer done() // not before lost has looked at the cause
		t.uncertain = t.uncertain || sent.Load()
		return t.lost(ctx, err), ""
	}
	if cl.raw && resp.StatusCode == http.StatusOK && timer.Stop() {
		return result{base: base, answered: true, stream: &stream{resp.Body, done}}, ""
	}
	defer done()
	defer resp.Body.Close()
	return t.answer(ctx, base, resp, asked, started)
}

// lost says what to do about an attempt without an answer. A caller that has gone
// away ends the call; everything else may go better elsewhere.
func (t *trial) lost(ctx context.Context, err error) result {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errSlow) && t.call.deadline > 0:
		return result{err: ErrLate, retry: true, answered: true}
	case errors.Is(cause, errSlow):
		return result{err: errSlow, retry: true}
	case cause != nil:
		if t.call.mutation && t.uncertain {
			return result{err: &OutcomeUnknown{RequestID: t.call.requestID, Err: cause}}
		}
		return result{err: cause}
	}
	return result{err: err, retry: true}
}

func (t *trial) answer(ctx context.Context, base string, resp *http.Response, asked anchor, started time.Time) (result, string) {
	cl := t.call
	switch resp.StatusCode {
	case http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		to, err := redirectBase(base, resp)
		if err != nil {
			return result{err: err, retry: true, answered: true}, ""
		}
		if cl.public {
			return result{err: errors.New("redirected from a public listener: not followed"), retry: true, answered: true}, ""
		}
		if cl.pinned != "" {
			return result{err: wire.Errorf(wire.NotLeader, "%s is not the leader", base), answered: true}, ""
		}
		return result{}, to
	}
	if resp.StatusCode/100 != 2 {
		return t.refusal(resp, asked), ""
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxAnswerBytes+1))
	switch {
	case err != nil:
		t.uncertain = true
		return t.lost(ctx, fmt.Errorf("read the answer: %w", err)), ""
	case len(b) > wire.MaxAnswerBytes:
		t.uncertain = true
		return result{err: fmt.Errorf("the answer has more than %d bytes: ask for less with a limit", wire.MaxAnswerBytes)}, ""
	case cl.deadline > 0 && elapsed(started, time.Now()) > cl.deadline:
		return result{err: ErrLate, retry: true, answered: true}, ""
	}
	if cl.check != nil {
		if err := cl.check(b, asked); err != nil {
			return result{err: err, retry: !final(err), answered: true}, ""
		}
	} else if err := t.client.observe(resp.Header, asked, cl.read); err != nil {
		return result{err: err, retry: errors.Is(err, ErrWentBack), answered: true}, ""
	}
	if err := decodeAnswer(resp, b, t.out); err != nil {
		t.uncertain = true
		return result{err: err}, ""
	}
	if cl.answer != nil {
		cl.answer(base, resp.Header)
	}
	return result{base: base, answered: true}, ""
}

// decodeAnswer reads a success into out: JSON, or any bytes for a *[]byte. Fields
// that this client does not know are passed over, because a newer server may add some.
func decodeAnswer(resp *http.Response, b []byte, out any) error {
	switch o := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*o = b
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("read the answer of %s: %w", resp.Request.URL.Host, err)
	}
	return nil
}

// refusal reads an error object and says whether to go on with another node.
func (t *trial) refusal(resp *http.Response, asked anchor) result {
	e := wire.ReadError(resp.StatusCode, resp.Body)
	if e.RequestID == "" {
		e.RequestID = t.call.requestID
	}
	if t.call.public {
		// Nobody has signed a refusal: it moves nothing here, and another node may say
		// something else.
		return result{err: e, retry: resp.StatusCode != http.StatusBadRequest, answered: true, after: retryAfter(resp)}
	}
	if err := t.client.observe(resp.Header, asked, false); err != nil {
		return result{err: err}
	}
	switch {
	case e.Code == wire.OutcomeUnknown, e.Code == wire.Internal,
		resp.StatusCode == http.StatusBadGateway, resp.StatusCode == http.StatusGatewayTimeout:
		t.uncertain = true
	case e.Code == wire.EpochChanged:
		// Otherwise it was the caller's own position that is of another epoch.
		if e.Position != nil && e.Position.Epoch != asked.epoch {
			return result{err: &EpochChanged{Was: asked.epoch, Now: e.Position.Epoch}}
		}
	}
	// A conflict of a change was already planned again by the server; once more is the
	// caller's decision. Of a signature it says that the key changed and nothing was released.
	changing := t.call.deadline == 0
	retry := e.Retryable && !(e.Code == wire.Conflict && changing) && e.Code != wire.CheckpointStale &&
		!(t.call.pinned != "" && e.Code == wire.InstanceNotHere)
	return result{err: e, retry: retry, answered: true, after: retryAfter(resp)}
}

func retryAfter(resp *http.Response) time.Duration {
	s, err := strconv.Atoi(resp.Header.Get("Retry-After"))
	if err != nil || s < 0 {
		return 0
	}
	return time.Duration(s) * time.Second
}

// redirectBase takes only the address out of a redirect; path and query stay ours.
// It never leads from https to http.
func redirectBase(from string, resp *http.Response) (string, error) {
	u, err := url.Parse(resp.Header.Get("Location"))
	if err != nil || u.Host == "" {
		return "", wire.Errorf(wire.NotLeader, "redirected to no address")
	}
	base, err := baseURL(u.Scheme + "://" + u.Host)
	if err != nil {
		return "", err
	}
	if was, err := url.Parse(from); err != nil || was.Scheme != u.Scheme {
		return "", wire.Errorf(wire.NotLeader, "redirected from %s to %s: refused", from, base)
	}
	return base, nil
}

// elapsed is the longer of monotonic and wall time between two readings: Go's
// monotonic clock stands still while the machine sleeps, the wall clock does not.
func elapsed(from, to time.Time) time.Duration {
	return max(to.Sub(from), to.Round(0).Sub(from.Round(0)))
}

// stream is the body of a raw answer; closing it ends the request.
type stream struct {
	io.ReadCloser
	done func()
}

func (s *stream) Close() error {
	defer s.done()
	return s.ReadCloser.Close()
}
