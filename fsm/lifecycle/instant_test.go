package lifecycle

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestInstantStringIsRFC3339 compares our calendar with package time's, which the
// state machine may not import.
func TestInstantStringIsRFC3339(t *testing.T) {
	check := func(t interface{ Errorf(string, ...any) }, ms int64) {
		if got, want := Instant(ms).String(), time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z"); got != want && ms != 0 {
			t.Errorf("Instant(%d) = %s, package time says %s", ms, got, want)
		}
	}
	for _, y := range []int{1, 4, 100, 400, 1599, 1600, 1899, 1900, 1969, 1970, 1971, 1999, 2000, 2001, 2004, 2026, 2100, 2399, 2400, 9999} {
		for _, md := range [][2]int{{1, 1}, {2, 28}, {2, 29}, {3, 1}, {12, 31}} {
			day := time.Date(y, time.Month(md[0]), md[1], 0, 0, 0, 0, time.UTC).UnixMilli()
			for _, ms := range []int64{day - 1, day, day + 1, day + 86_399_999} {
				check(t, ms)
			}
		}
	}
	first, last := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli(), time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC).UnixMilli()
	rapid.Check(t, func(t *rapid.T) { check(t, rapid.Int64Range(first, last).Draw(t, "ms")) })
	if Instant(0).String() != "" {
		t.Error("the zero instant is never, and has no text")
	}
	for _, i := range []Instant{math.MinInt64, math.MaxInt64} {
		if i.String() == "" { // a panic is what this looks for
			t.Errorf("Instant(%d) has no text", i)
		}
	}
}

func TestNeverPlusADayIsNever(t *testing.T) {
	if Instant(0).Add(Day) != 0 {
		t.Error("0 means never")
	}
	if Instant(5).Add(-2) != 3 || Instant(5).Add(Second) != 1005 {
		t.Error("Add does not add")
	}
}

func TestMillisecondsText(t *testing.T) {
	for d, want := range map[Milliseconds]string{0: "0s", 1: "1ms", 250: "250ms", Second: "1s", 90 * Second: "1m30s", Hour: "1h",
		90 * Minute: "1h30m", Day: "1d", 90 * Day: "90d", 36 * Hour: "1d12h", Day + 1: "1d1ms", -Hour: "-1h", -1 << 63: "-106751991167d7h12m55s808ms"} {
		if d.String() != want {
			t.Errorf("%d ms = %q, want %q", int64(d), d, want)
		}
	}
	for text, want := range map[string]Milliseconds{"24h": Day, "60s": Minute, "0d": 0, "0ms": 0, "1000ms": Second, "36600d": 36600 * Day} {
		var d Milliseconds
		if err := d.UnmarshalText([]byte(text)); err != nil || d != want {
			t.Errorf("%q = %d ms, %v; want %d", text, int64(d), err, int64(want))
		}
	}
	for _, text := range []string{"", "1", "h", "1x", "1H", "-1h", "+1h", "1.5h", " 1h", "1h ", "1m1h", "1h1h", "1h 1m", "1hm",
		"36601d", "99999999999999999999d", "549755813887d", "1d36600d", "١h", "1h\x00"} {
		d := Milliseconds(7)
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for %s", text, d)
		}
		if d != 7 {
			t.Errorf("%q was refused and still written", text)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		d := Milliseconds(rapid.Int64Range(0, int64(36600*Day)).Draw(t, "ms"))
		text, err := d.MarshalText()
		var back Milliseconds
		if err != nil || back.UnmarshalText(text) != nil || back != d {
			t.Fatalf("%d ms: text %q (%v) comes back as %d", int64(d), text, err, int64(back))
		}
	})
}

func FuzzMilliseconds(f *testing.F) {
	f.Add([]byte("1h30m"))
	f.Add([]byte("90d1ms"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, again Milliseconds
		if d.UnmarshalText(b) != nil {
			return
		}
		if d < 0 || d > 100*366*Day {
			t.Fatalf("%q = %d ms is out of range", b, int64(d))
		}
		if err := again.UnmarshalText([]byte(d.String())); err != nil || again != d {
			t.Fatalf("%q = %s comes back as %s (%v)", b, d, again, err)
		}
	})
}
