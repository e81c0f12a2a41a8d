package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

const (
	maxStreams   = 1024             // open at one time
	eventBatch   = 256              // leaves looked at before the state is looked at again
	heartbeat    = 15 * time.Second // a comment keeps proxies from cutting the line
	streamWrites = 10 * time.Second // a reader slower than this is let go
)

// events answers a page, holds for the next event, or streams.
func (c *call) events() (any, error) {
	if err := c.may(access.StatusRead, ""); err != nil {
		return nil, err
	}
	if kind := c.query.Get(wire.QueryKind); kind != "" {
		if err := state.CheckEventKind(kind); err != nil {
			return nil, wire.Errorf(wire.Invalid, "%v", err)
		}
	}
	streaming := strings.Contains(c.r.Header.Get("Accept"), wire.TypeEvents)
	first, err := c.firstLeaf(streaming)
	if err != nil {
		return nil, err
	}
	if streaming {
		return nil, c.stream(first)
	}
	hold, err := c.duration(wire.QueryWait, 0)
	if err != nil {
		return nil, err
	}
	return c.poll(first, min(hold, wire.MaxHold))
}

// firstLeaf finds where to begin: the cursor, the position after which to go on, or
// the beginning (a page) or the end (a stream).
func (c *call) firstLeaf(streaming bool) (uint64, error) {
	if c.query.Get(wire.QueryCursor) != "" {
		return c.number(wire.QueryCursor, 0)
	}
	from := c.query.Get(wire.QueryFrom)
	if last := c.r.Header.Get("Last-Event-Id"); last != "" && streaming {
		from = last // what was seen on the stream counts for more than where it began
	}
	if from == "" {
		if streaming {
			return c.snap.Position().LogSize, nil
		}
		return 0, nil
	}
	epoch, index, err := wire.ParseEventID(from)
	if err != nil {
		return 0, wire.Errorf(wire.Invalid, "%v", err)
	}
	if epoch != 0 && epoch != c.snap.Position().Epoch {
		return 0, ledger.ErrEpoch
	}
	return c.snap.LeafAfter(index)
}

// wanted is the filter of a request for events: what it asks for, and what its
// caller may see.
func (c *call) wanted() func(*state.Leaf) bool {
	me := c.snap.Principal(c.caller.Principal)
	all := access.Decide(me, access.LogRead, "").Allowed
	key, kind := lifecycle.KeyID(c.query.Get(wire.QueryKey)), c.query.Get(wire.QueryKind)
	return func(l *state.Leaf) bool {
		switch {
		case key != "" && l.Key != key:
			return false
		case kind != "" && l.Kind != kind && !strings.HasPrefix(l.Kind, kind+"."):
			return false
		case all:
			return true
		}
		return l.Key != "" && access.Decide(me, access.KeyRead, l.Key).Allowed
	}
}

// eventPart is a part of the log as events.
type eventPart struct {
	items []wire.Event
	next  uint64 // leaf to go on from
	open  string // id of the entry that goes on there; "" = the part ends with an entry
}

// eventPage reads up to limit events from leaf first on.
func (c *call) eventPage(first uint64, limit, scan int) (p eventPart, err error) {
	want, last := c.wanted(), uint64(0)
	p.next = first
	err = c.snap.Leaves(first, func(n uint64, l *state.Leaf, _ []byte) bool {
		if len(p.items) == limit || n-first >= uint64(scan) {
			if l.Index == last {
				p.open = wire.EventID(c.snap.Position().Epoch, last)
			}
			return false
		}
		p.next, last = n+1, l.Index
		if want(l) {
			p.items = append(p.items, transport.Event(c.snap.View, l))
		}
		return true
	})
	return p, err
}

func (c *call) poll(first uint64, hold time.Duration) (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	deadline := time.NewTimer(hold)
	defer deadline.Stop()
	for {
		part, err := c.eventPage(first, limit, maxHistoryScan)
		if err != nil {
			return nil, err
		}
		more := part.next < c.snap.Position().LogSize
		if len(part.items) > 0 || more || hold == 0 || !c.nextState(deadline.C) {
			cursor := wire.Text("")
			if more {
				cursor = wire.Text(strconv.FormatUint(part.next, 10))
			}
			return listOf(c, part.items, cursor), nil
		}
		first = part.next
	}
}

// nextState waits for a newer state and pins it; false = the time is up.
func (c *call) nextState(until <-chan time.Time) bool {
	c.counters.Held.Inc()
	defer c.counters.Held.Dec()
	l := c.Service.Ledger()
	select {
	case <-l.Changed(c.snap.Position().Index):
		c.snap.View = l.View()
		return true
	case <-until:
	case <-c.r.Context().Done():
	case <-c.stopping:
	}
	return false
}

// streams counts the open event streams of the process.
type streams struct{ open atomic.Int64 }

// stream sends events as they come (server-sent events). Only the last event of an
// entry carries the id line, so that a reader that comes back with Last-Event-ID
// never misses the rest of an entry.
func (c *call) stream(first uint64) error {
	if c.streams.open.Add(1) > maxStreams {
		c.streams.open.Add(-1)
		return ledger.ErrBusy
	}
	defer c.streams.open.Add(-1)
	control := http.NewResponseController(c.w)
	h := c.w.Header()
	transport.JSON(h)
	h["Content-Type"] = []string{wire.TypeEvents}
	c.stamper.View(h, c.snap.Position())
	c.streamed, c.status = true, http.StatusOK
	c.w.WriteHeader(http.StatusOK)
	out := &eventWriter{w: c.w, control: control}
	if err := out.send([]byte(": chancery events\n\n")); err != nil {
		return nil //nolint:nilerr // the reader has gone
	}
	for {
		part, err := c.eventPage(first, eventBatch, eventBatch)
		if err != nil {
			return fmt.Errorf("read the lifecycle log: %w", err)
		}
		if err := out.events(part); err != nil {
			return nil //nolint:nilerr // the reader has gone
		}
		if first = part.next; first < c.snap.Position().LogSize {
			continue
		}
		beat := time.NewTimer(heartbeat)
		newer := c.nextState(beat.C)
		beat.Stop()
		if !newer {
			if c.ended() || out.send([]byte(":\n\n")) != nil {
				return nil
			}
		}
		if !c.stillAllowed() {
			return nil
		}
	}
}

func (c *call) ended() bool {
	select {
	case <-c.stopping:
		return true
	case <-c.r.Context().Done():
		return true
	default:
		return false
	}
}

// stillAllowed looks at the caller again: a stream outlives many decisions.
func (c *call) stillAllowed() bool {
	c.snap.View = c.Service.View()
	if c.caller.TokenID != "" {
		t := c.snap.Token(c.caller.TokenID)
		if t == nil || t.RevokedAt != 0 || c.now() >= t.ExpiresAt {
			return false
		}
	} else if c.checkValidity() != nil {
		return false
	}
	return c.may(access.StatusRead, "") == nil
}

// eventWriter writes to a reader that may be slow, or gone.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	buf     bytes.Buffer
}

func (e *eventWriter) events(p eventPart) error {
	if len(p.items) == 0 {
		return nil
	}
	e.buf.Reset()
	for i, ev := range p.items {
		data, err := json.Marshal(ev)
		if err != nil {
			return err
		}
		after := p.open
		if i+1 < len(p.items) {
			after = p.items[i+1].ID
		}
		if after != ev.ID {
			fmt.Fprintf(&e.buf, "id: %s\n", ev.ID)
		}
		fmt.Fprintf(&e.buf, "event: %s\ndata: %s\n\n", ev.Kind, data)
	}
	return e.send(e.buf.Bytes())
}

func (e *eventWriter) send(b []byte) error {
	err := e.control.SetWriteDeadline(time.Now().Add(streamWrites))
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := e.w.Write(b); err != nil {
		return err
	}
	return e.control.Flush()
}
