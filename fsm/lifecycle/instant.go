package lifecycle

import (
	"fmt"
	"strconv"
)

// Instant is wall time in milliseconds since 1970-01-01 UTC, written by whoever
// proposes a command. 0 means "never" or "not yet". Instants are data: fields,
// validity and documentation, never a proof that something has stopped.
type Instant int64

// Milliseconds is a length of time.
type Milliseconds int64

const (
	Second Milliseconds = 1000
	Minute              = 60 * Second
	Hour                = 60 * Minute
	Day                 = 24 * Hour
)

// Add moves the instant; a zero instant stays zero, "never" plus a day is never.
func (i Instant) Add(d Milliseconds) Instant {
	if i == 0 {
		return 0
	}
	return i + Instant(d)
}

// String is RFC 3339 UTC with milliseconds, or "" for zero. It is written out by
// hand because the state machine renders log leaves and may not import time.
func (i Instant) String() string {
	if i == 0 {
		return ""
	}
	ms := int64(i)
	days, rest := ms/86_400_000, ms%86_400_000
	if rest < 0 {
		days, rest = days-1, rest+86_400_000
	}
	y, m, d := civil(days)
	if y < 0 || y > 9999 {
		return fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", y, m, d, rest/3_600_000, rest/60_000%60, rest/1000%60, rest%1000)
	}
	b := make([]byte, 0, len("2006-01-02T15:04:05.000Z"))
	b = append(digits(b, int64(y), 1000), '-')
	b = append(digits(b, int64(m), 10), '-')
	b = append(digits(b, int64(d), 10), 'T')
	b = append(digits(b, rest/3_600_000, 10), ':')
	b = append(digits(b, rest/60_000%60, 10), ':')
	b = append(digits(b, rest/1000%60, 10), '.')
	return string(append(digits(b, rest%1000, 100), 'Z'))
}

// digits appends n with as many digits as unit has.
func digits(b []byte, n, unit int64) []byte {
	for ; unit > 0; unit /= 10 {
		b = append(b, byte('0'+n/unit%10))
	}
	return b
}

// civil turns days since 1970-01-01 into a Gregorian date. It counts in eras of
// 400 years that begin on 1 March, so that the leap day is the last of a year.
func civil(days int64) (year, month, day int64) {
	days += 719_468 // from 0000-03-01
	era := days / 146_097
	if days < 0 {
		era = (days - 146_096) / 146_097
	}
	doe := days - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	day = doy - (153*mp+2)/5 + 1
	month = mp + 3
	year = yoe + era*400
	if month > 12 {
		month, year = month-12, year+1
	}
	return year, month, day
}

// MarshalText writes a length of time the way policy files do: "1h", "90d", "1h30m".
func (d Milliseconds) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

var durationUnits = []struct {
	suffix string
	size   Milliseconds
}{{"d", Day}, {"h", Hour}, {"m", Minute}, {"s", Second}, {"ms", 1}}

func (d Milliseconds) String() string {
	if d == 0 {
		return "0s"
	}
	var b []byte
	left := uint64(d)
	if d < 0 {
		b, left = append(b, '-'), -left // the least number of all has no positive twin
	}
	for _, u := range durationUnits {
		if n := left / uint64(u.size); n > 0 {
			b = append(strconv.AppendUint(b, n, 10), u.suffix...)
			left %= uint64(u.size)
		}
	}
	return string(b)
}

// UnmarshalText accepts sums of whole units, largest first: "90d", "1h30m", "250ms", "0s".
func (d *Milliseconds) UnmarshalText(b []byte) error {
	s, total, last := string(b), Milliseconds(0), 0
	if s == "" {
		return fmt.Errorf("empty duration: write it like 5m, 1h30m or 90d")
	}
	for s != "" {
		digits := 0
		for digits < len(s) && s[digits] >= '0' && s[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(s[:digits], 10, 40)
		if err != nil {
			return fmt.Errorf("duration %q: write it like 5m, 1h30m or 90d", b)
		}
		s = s[digits:]
		letters := 0
		for letters < len(s) && s[letters] >= 'a' && s[letters] <= 'z' {
			letters++
		}
		unit := -1
		for i, u := range durationUnits {
			if u.suffix == s[:letters] && i >= last {
				unit = i
			}
		}
		if unit < 0 {
			return fmt.Errorf("duration %q: units are d, h, m, s and ms, largest first", b)
		}
		last, s = unit+1, s[letters:]
		total += Milliseconds(n) * durationUnits[unit].size
		if total < 0 || total > 100*366*Day {
			return fmt.Errorf("duration %q is longer than a hundred years", b)
		}
	}
	*d = total
	return nil
}
