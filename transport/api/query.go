package api

import (
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// parseQuery reads the query strictly: a parameter the route does not know is a
// mistake that would otherwise go unnoticed, such as ?pln=true.
func (c *call) parseQuery() error {
	if c.r.URL.RawQuery == "" {
		return nil
	}
	q, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return wire.Errorf(wire.Invalid, "the query cannot be read: %v", err)
	}
	for name, values := range q {
		switch {
		case !slices.Contains(c.route.query, name):
			return wire.Errorf(wire.Invalid, "unknown query parameter %.40q: %s takes %v", name, c.route.pattern, c.route.query)
		case len(values) > 1:
			return wire.Errorf(wire.Invalid, "query parameter %s is given %d times", name, len(values))
		}
	}
	c.query = q
	return nil
}

// flag reads true or false; absent is false.
func (c *call) flag(name string) (bool, error) {
	switch c.query.Get(name) {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	}
	return false, wire.Errorf(wire.Invalid, "%s is true or false, not %.20q", name, c.query.Get(name))
}

// number reads a whole number; absent is def.
func (c *call) number(name string, def uint64) (uint64, error) {
	s := c.query.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, wire.Errorf(wire.Invalid, "%s is a whole number, not %.40q", name, s)
	}
	return n, nil
}

// duration reads a length of time such as 30s; absent is def.
func (c *call) duration(name string, def time.Duration) (time.Duration, error) {
	s := c.query.Get(name)
	if s == "" {
		return def, nil
	}
	var d lifecycle.Milliseconds
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, wire.Errorf(wire.Invalid, "%s: %v", name, err)
	}
	return time.Duration(d) * time.Millisecond, nil
}

// instant reads an RFC 3339 time; absent is zero.
func (c *call) instant(name string) (time.Time, error) {
	s := c.query.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	t, err := wire.ParseTime(s)
	if err != nil {
		return time.Time{}, wire.Errorf(wire.Invalid, "%s: %v", name, err)
	}
	return t.Time(), nil
}

// limit reads the size of a page.
func (c *call) limit() (int, error) {
	n, err := c.number(wire.QueryLimit, wire.DefaultLimit)
	if err != nil {
		return 0, err
	}
	if n == 0 || n > wire.MaxListLimit {
		return 0, wire.Errorf(wire.Invalid, "%s: 1 to %d items make a page", wire.QueryLimit, wire.MaxListLimit)
	}
	return int(n), nil
}
