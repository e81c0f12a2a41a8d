package client

import (
	"net/http"
	"strconv"

	"github.com/chancery-project/chancery/transport/wire"
)

// anchor is the highest position seen. Epoch 0 = nothing seen yet.
type anchor struct{ epoch, index uint64 }

// Seen is the highest position any answer named, as epoch and index.
func (c *Client) Seen() (epoch, index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.anchor.epoch, c.anchor.index
}

// Anchor makes later reads see at least this position: one that another process
// got back from its own write, say.
func (c *Client) Anchor(epoch, index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.anchor.epoch == 0 || c.anchor.epoch == epoch && index > c.anchor.index {
		c.anchor = anchor{epoch, index}
	}
}

// ReAnchor forgets what was seen. Call it after *EpochChanged, when a person or a
// program has looked at what the restored cluster knows.
func (c *Client) ReAnchor() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.anchor = anchor{}
}

func (a anchor) stamp(h http.Header) {
	if a.epoch != 0 {
		h.Set(wire.HeaderMinEpoch, strconv.FormatUint(a.epoch, 10))
		h.Set(wire.HeaderMinIndex, strconv.FormatUint(a.index, 10))
	}
}

// observe takes the position of an answer in. asked is the anchor as it was sent;
// only reads must not be older than it.
func (c *Client) observe(h http.Header, asked anchor, read bool) error {
	epoch, errE := strconv.ParseUint(h.Get(wire.HeaderEpoch), 10, 64)
	index, errI := strconv.ParseUint(h.Get(wire.HeaderIndex), 10, 64)
	if errE != nil || errI != nil || epoch == 0 {
		return nil // no position: an error before any state was read
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.anchor.epoch == 0:
		c.anchor = anchor{epoch, index}
	case c.anchor.epoch != epoch:
		return &EpochChanged{Was: c.anchor.epoch, Now: epoch}
	case read && asked.epoch == epoch && index < asked.index:
		return ErrWentBack
	case index > c.anchor.index:
		c.anchor.index = index
	}
	return nil
}
