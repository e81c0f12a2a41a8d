package wire

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Time is a lifecycle.Instant in JSON: RFC 3339 UTC with milliseconds, and null
// for "never" or "not yet".
type Time lifecycle.Instant

const timeLayout = "2006-01-02T15:04:05.000Z"

// AsTime turns a clock reading into wire form; the zero time.Time becomes null.
func AsTime(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMilli())
}

// Time is the instant as Go knows it, zero for null.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

// Instant is the instant as the state machine knows it.
func (t Time) Instant() lifecycle.Instant { return lifecycle.Instant(t) }

// IsZero reports null; encoding/json asks it for omitzero.
func (t Time) IsZero() bool { return t == 0 }

func (t Time) String() string {
	if t == 0 {
		return ""
	}
	return t.Time().Format(timeLayout)
}

// MarshalJSON writes the instant, or null.
func (t Time) MarshalJSON() ([]byte, error) {
	if t == 0 {
		return []byte("null"), nil
	}
	b := make([]byte, 0, len(timeLayout)+2)
	b = append(b, '"')
	b = t.Time().AppendFormat(b, timeLayout)
	return append(b, '"'), nil
}

// UnmarshalJSON reads null or any RFC 3339 time; what is finer than a millisecond
// is cut off.
func (t *Time) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		*t = 0
		return nil
	}
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return fmt.Errorf("time %s: write it like \"2026-01-31T12:00:00.000Z\"", b)
	}
	v, err := ParseTime(string(b[1 : len(b)-1]))
	if err != nil {
		return err
	}
	*t = v
	return nil
}

// ParseTime reads any RFC 3339 time between the years 1970 and 9999.
func ParseTime(s string) (Time, error) {
	v, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return 0, fmt.Errorf("time %q: write it like 2026-01-31T12:00:00Z", s)
	}
	if v = v.UTC(); v.UnixMilli() <= 0 || v.Year() > 9999 {
		return 0, fmt.Errorf("time %q lies outside of 1970 to 9999", s)
	}
	return Time(v.UnixMilli()), nil
}

// Text is a string that is null in JSON when it is empty: "there is none".
type Text string

// MarshalJSON writes the string, or null.
func (t Text) MarshalJSON() ([]byte, error) {
	if t == "" {
		return []byte("null"), nil
	}
	return json.Marshal(string(t))
}

// Number counts from one; 0 is null in JSON, and null 0.
type Number uint64

// MarshalJSON writes the number, or null.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == 0 {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, uint64(n), 10), nil
}
