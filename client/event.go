package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// Events lists events after position from ("1-1902", "" = the beginning), oldest
// first, as far as the cluster knows them now.
func (c *Client) Events(ctx context.Context, from string, opts ...Option) (wire.List[wire.Event], error) {
	return list[wire.Event](ctx, c, wire.PathEvents, append(opts, Query(wire.QueryFrom, from)))
}

// Watch streams events after position from ("" = from now on) until ctx ends or
// the caller stops. A broken stream is taken up again, on another node if need be,
// without losing or repeating an event. The error of the last pair says why it
// ended; it is nil only while events come.
func (c *Client) Watch(ctx context.Context, from string, opts ...Option) iter.Seq2[wire.Event, error] {
	return func(yield func(wire.Event, error) bool) {
		w := &watch{from: from}
		for {
			began := time.Now()
			more, err := c.watchOnce(ctx, w, opts, yield)
			if !more {
				return
			}
			if err != nil && !isBroken(err) {
				yield(wire.Event{}, err)
				return
			}
			if err := pace(ctx, began); err != nil {
				yield(wire.Event{}, err)
				return
			}
		}
	}
}

// watch is where a stream is to be taken up. All events of one entry share its
// id, so after a break the entry that was cut is asked for again and the events of
// it that were seen are skipped; their order never changes.
type watch struct {
	from string // as asked by the caller, until the first event
	last uint64 // entry of the last event
	seen int    // events of that entry already given to the caller
	skip int    // of them, how many to pass over now
	id   uint64 // epoch
}

func (w *watch) position() string {
	w.skip = w.seen
	if w.last == 0 {
		return w.from
	}
	return wire.EventID(w.id, w.last-1)
}

func (w *watch) take(e wire.Event) (fresh bool) {
	epoch, index, err := wire.ParseEventID(e.ID)
	if err != nil {
		return true
	}
	if index == w.last && w.skip > 0 {
		w.skip--
		return false
	}
	if index != w.last {
		w.last, w.seen, w.skip = index, 0, 0
	}
	w.id, w.seen = epoch, w.seen+1
	return true
}

// errBroken marks a stream that ended in the middle.
var errBroken = errors.New("the event stream broke off")

func isBroken(err error) bool {
	var gone *Unavailable
	return errors.Is(err, errBroken) || errors.As(err, &gone)
}

// watchOnce follows one connection. more is false when the caller has stopped.
func (c *Client) watchOnce(ctx context.Context, w *watch, opts []Option, yield func(wire.Event, error) bool) (more bool, err error) {
	cl := newCall(http.MethodGet, wire.PathEvents, opts)
	cl.raw = true
	cl.header.Set("Accept", wire.TypeEvents)
	if from := w.position(); from != "" {
		cl.query.Set(wire.QueryFrom, from)
	}
	body, err := c.do(ctx, cl, nil)
	if err != nil {
		return true, err
	}
	defer body.Close()
	err = readEvents(body, func(e wire.Event) bool {
		return !w.take(e) || yield(e, nil)
	})
	switch {
	case errors.Is(err, errStop):
		return false, nil
	case ctx.Err() != nil:
		return true, ctx.Err()
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return true, fmt.Errorf("%w: %w", errBroken, err)
}

// errStop is returned by readEvents when the caller wants no more.
var errStop = errors.New("stop")

// readEvents reads a stream of server-sent events (HTML Living Standard, section
// 9.2) whose data is one JSON event per message. Comments keep the line alive.
func readEvents(r io.Reader, each func(wire.Event) bool) error {
	s := bufio.NewScanner(r)
	s.Buffer(nil, wire.MaxAdminBytes)
	var data strings.Builder
	for s.Scan() {
		switch line := s.Text(); {
		case line == "" && data.Len() > 0:
			var e wire.Event
			if err := json.Unmarshal([]byte(data.String()), &e); err != nil {
				return fmt.Errorf("read an event: %w", err)
			}
			data.Reset()
			if !each(e) {
				return errStop
			}
		case strings.HasPrefix(line, "data:"):
			data.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "data:"), " "))
		}
	}
	return s.Err()
}
