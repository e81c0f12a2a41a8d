package api

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// readBody reads the whole body within the route's limits.
func (c *call) readBody() error {
	if c.route.limit == 0 {
		if c.r.ContentLength > 0 {
			return wire.Errorf(wire.Malformed, "%s %s takes no body", c.r.Method, c.r.URL.Path)
		}
		return nil
	}
	if c.r.ContentLength > c.route.limit {
		return c.tooLarge()
	}
	if c.r.ContentLength == 0 {
		return nil
	}
	if err := jsonContent(c.r); err != nil {
		return err
	}
	b, err := readUpTo(c.r.Body, c.r.ContentLength, c.route.limit)
	switch {
	case err != nil:
		return c.badBody(err)
	case int64(len(b)) > c.route.limit:
		return c.tooLarge()
	}
	// The listener's bound on the body ends with it: the request may be held longer. A
	// ResponseWriter without deadlines is a test's.
	if err := http.NewResponseController(c.w).SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return c.badBody(err)
	}
	c.body = b
	return nil
}

// badBody is about a body that ended early or came too slowly.
func (c *call) badBody(err error) error {
	if e := transport.Failure(err); e.Code != wire.Internal {
		return e
	}
	return wire.Errorf(wire.Malformed, "the body broke off")
}

func (c *call) tooLarge() error {
	e := wire.Errorf(wire.TooLarge, "the body has more than %d bytes", c.route.limit)
	if c.route.kind == sign {
		return e.WithHint("hash it and send the digest")
	}
	return e
}

func readUpTo(r io.Reader, size, limit int64) ([]byte, error) {
	if size < 0 {
		return io.ReadAll(io.LimitReader(r, limit+1))
	}
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}

func jsonContent(r *http.Request) error {
	v := r.Header["Content-Type"]
	if len(v) == 1 {
		if v[0] == wire.TypeJSON {
			return nil
		}
		if t, _, err := mime.ParseMediaType(v[0]); err == nil && t == wire.TypeJSON {
			return nil
		}
	}
	return wire.Errorf(wire.UnsupportedMedia, "the body must be %s, not %.60q", wire.TypeJSON, v)
}

// decode reads the body into v, strictly.
func (c *call) decode(v any) error {
	return wire.Decode(bytes.NewReader(c.body), c.route.limit, v)
}
