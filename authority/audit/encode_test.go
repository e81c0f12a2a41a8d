package audit

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

var instant = time.Date(2026, 3, 1, 2, 41, 7, 123456789, time.UTC)

// fullRecord has every field set.
func fullRecord() Record {
	return Record{
		At: instant.Truncate(time.Millisecond), Node: "n1", Kind: SignIntent, Principal: "chancery://c1/principal/alice",
		Verb: "sign", Key: "ci-artifacts", Version: 3, KID: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",
		RequestID: "0195512a-7c10-7b5e-9f0e-2d1f6f0f4a11", Remote: "[fe80::1%eth0]:4711", Allowed: true,
		Code: "key_revoked", Detail: "said \"no\"\\\n", Digest: strings.Repeat("0a", 32), Index: 1902,
	}
}

// TestLineGolden holds the file format. These bytes are never regenerated: a
// journal written today must verify for as long as it is kept.
func TestLineGolden(t *testing.T) {
	r := fullRecord()
	line, hash := appendLine(nil, 12, &zeroHash, appendBody(nil, &r, r.Node))
	const want = `{"seq":12,"prev":"0000000000000000000000000000000000000000000000000000000000000000",` +
		`"at":"2026-03-01T02:41:07.123Z","node":"n1","kind":"sign.intent","principal":"chancery://c1/principal/alice",` +
		`"verb":"sign","key":"ci-artifacts","version":3,"kid":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs",` +
		`"request_id":"0195512a-7c10-7b5e-9f0e-2d1f6f0f4a11","remote":"[fe80::1%eth0]:4711","allowed":true,` +
		`"code":"key_revoked","detail":"said \"no\"\\\u000a",` +
		`"digest":"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a","index":1902,` +
		`"hash":"fabeb14865917816d23245d93a5911d3206a49a8a565d5d276a813bc677716b0"}` + "\n"
	if string(line) != want {
		t.Errorf("line\n%swant\n%s", line, want)
	}
	e, _, err := parseLine(line[:len(line)-1], nil)
	if err != nil {
		t.Fatal(err)
	}
	if e.Seq != 12 || e.Hash != string(hash[:]) || !reflect.DeepEqual(e.Record, r) {
		t.Errorf("parsed %+v", e)
	}
	if !json.Valid(line) {
		t.Error("the line is not JSON")
	}
}

func TestSparseLineOmitsEmptyMembers(t *testing.T) {
	r := Record{At: instant, Kind: Stop}
	got := string(appendBody(nil, &r, "n1"))
	if want := `,"at":"2026-03-01T02:41:07.123Z","node":"n1","kind":"stop","allowed":false`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
}

// TestStringsHaveOneEncoding compares with encoding/json as an independent
// reader, and checks that nothing a terminal would obey is left in a line.
func TestStringsHaveOneEncoding(t *testing.T) {
	for in, want := range map[string]string{
		"plain":               `"plain"`,
		"quote\" back\\":      `"quote\" back\\"`,
		"\x00\t\n\x1b[31m":    `"\u0000\u0009\u000a\u001b[31m"`,
		"\x7f\u0085":          `"\u007f\u0085"`,
		"bidi \u202e evil":    `"bidi \u202e evil"`,
		"line\u2028sep\ufeff": `"line\u2028sep\ufeff"`,
		"Zoë 鍵 🔑":             `"Zoë 鍵 🔑"`,
		"bad \xff utf8":       "\"bad \ufffd utf8\"",
		"real \ufffd":         "\"real \ufffd\"",
	} {
		got := string(appendString(nil, in))
		if got != want {
			t.Errorf("%q encoded as %s, want %s", in, got, want)
		}
		var back string
		if err := json.Unmarshal([]byte(got), &back); err != nil || back != strings.ToValidUTF8(in, "\ufffd") {
			t.Errorf("%s read back as %q, %v", got, back, err)
		}
	}
}

func TestBounds(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, r := range map[string]Record{
		"principal":    {Principal: long(maxPrincipalBytes + 1)},
		"verb":         {Verb: long(maxVerbBytes + 1)},
		"key":          {Key: long(maxKeyBytes + 1)},
		"kid":          {KID: long(maxKIDBytes + 1)},
		"request_id":   {RequestID: long(maxRequestIDBytes + 1)},
		"remote":       {Remote: long(maxRemoteBytes + 1)},
		"code":         {Code: long(maxCodeBytes + 1)},
		"digest":       {Digest: strings.Repeat("a", maxDigestBytes+1)},
		"digest hex":   {Digest: "XY"},
		"digest upper": {Digest: "AB"},
		"not utf8":     {Principal: "\xff"},
		"far year":     {At: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"before unix":  {At: time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)},
		"no kind":      {Kind: "-"},
		"kind case":    {Kind: "Decision"},
		"kind long":    {Kind: Kind(long(maxKindBytes + 1))},
	} {
		if r.Kind == "" {
			r.Kind = Decision
		}
		if r.At.IsZero() {
			r.At = instant
		}
		if err := r.check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
	}
	if err := (&Record{At: instant}).check(); !errors.Is(err, ErrInvalid) {
		t.Errorf("a record without a kind: %v", err)
	}
}

// TestWorstRecordFitsALine fills every field with what costs most.
func TestWorstRecordFitsALine(t *testing.T) {
	worst := func(n int) string { return strings.Repeat("\x01", n) }
	r := Record{
		At: instant, Kind: Kind(strings.Repeat("k", maxKindBytes)), Principal: worst(maxPrincipalBytes), Verb: worst(maxVerbBytes),
		Key: worst(maxKeyBytes), Version: math.MaxUint64, KID: worst(maxKIDBytes), RequestID: worst(maxRequestIDBytes),
		Remote: worst(maxRemoteBytes), Code: worst(maxCodeBytes), Detail: worst(maxDetailBytes),
		Digest: strings.Repeat("a", maxDigestBytes), Index: math.MaxUint64,
	}
	r.fit()
	if err := r.check(); err != nil {
		t.Fatal(err)
	}
	line, _ := appendLine(nil, math.MaxUint64, &zeroHash, appendBody(nil, &r, worst(maxNodeBytes)))
	if len(line) > maxLineBytes {
		t.Errorf("the longest line has %d bytes, more than %d", len(line), maxLineBytes)
	}
	if _, _, err := parseLine(line[:len(line)-1], nil); err != nil {
		t.Error(err)
	}
}

func TestDetailIsRepairedAndCut(t *testing.T) {
	for _, in := range []string{
		strings.Repeat("x", maxDetailBytes+1), strings.Repeat("鍵", maxDetailBytes), strings.Repeat("\xff", 3*maxDetailBytes),
		strings.Repeat("a\xff", maxDetailBytes),
	} {
		r := Record{At: instant, Kind: Outcome, Detail: in}
		r.fit()
		if err := r.check(); err != nil {
			t.Error(err)
		}
		once := r.Detail
		if r.fit(); r.Detail != once {
			t.Error("fitting twice changes the detail")
		}
	}
}

func TestParseRefusesOtherForms(t *testing.T) {
	r := fullRecord()
	whole, _ := appendLine(nil, 1, &zeroHash, appendBody(nil, &r, "n1"))
	line := string(whole[:len(whole)-1])
	for name, bad := range map[string]string{
		"empty":         "",
		"space":         strings.Replace(line, `"seq":1`, `"seq": 1`, 1),
		"leading zero":  strings.Replace(line, `"seq":1`, `"seq":01`, 1),
		"seq zero":      strings.Replace(line, `"seq":1`, `"seq":0`, 1),
		"seq overflow":  strings.Replace(line, `"seq":1`, `"seq":99999999999999999999`, 1),
		"negative":      strings.Replace(line, `"index":1902`, `"index":-1`, 1),
		"unknown field": strings.Replace(line, `,"index"`, `,"extra":1,"index"`, 1),
		"other order":   strings.Replace(line, `"verb":"sign","key":"ci-artifacts"`, `"key":"ci-artifacts","verb":"sign"`, 1),
		"twice":         strings.Replace(line, `,"verb":"sign"`, `,"verb":"sign","verb":"sign"`, 1),
		"other escape":  strings.Replace(line, `\u000a`, `\n`, 1),
		"upper hex":     strings.Replace(line, `\u000a`, `\u000A`, 1),
		"raw newline":   strings.Replace(line, `\u000a`, "\n", 1),
		"short prev":    strings.Replace(line, `"prev":"0`, `"prev":"`, 1),
		"hash":          strings.Replace(line, `"hash":"`, `"hash":"0`, 1),
		"trailing":      line + " ",
		"cut":           line[:len(line)-1],
		"no hash":       line[:strings.Index(line, `,"hash"`)] + "}",
		"micros":        strings.Replace(line, `.123Z`, `.123456Z`, 1),
		"zone":          strings.Replace(line, `.123Z`, `.123+00:00`, 1),
	} {
		if bad == line {
			t.Fatalf("%s: the case changes nothing", name)
		}
		if _, _, err := parseLine([]byte(bad), nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestEncodingDoesNotAllocate(t *testing.T) {
	r := fullRecord()
	body, line := make([]byte, 0, 1024), make([]byte, 0, 2048)
	prev := zeroHash
	n := testing.AllocsPerRun(100, func() {
		r.fit()
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		body = appendBody(body[:0], &r, "n1")
		line, prev = appendLine(line[:0], 7, &prev, body)
	})
	if n != 0 {
		t.Errorf("encoding a record allocates %v times", n)
	}
}

// TestEveryKindCanBeWritten: a kind that the format refuses would only show when the
// first such record is needed.
func TestEveryKindCanBeWritten(t *testing.T) {
	for _, k := range []Kind{Decision, Outcome, BreakGlass, SignIntent, SignReleased, SignRefused, Start, Stop, Recovered} {
		if err := (&Record{At: instant, Kind: k}).check(); err != nil {
			t.Errorf("%s: %v", k, err)
		}
	}
}
