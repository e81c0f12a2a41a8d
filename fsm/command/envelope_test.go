package command

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func typeName(v any) string { return fmt.Sprintf("%T", v) }

func encode(t testing.TB, c *Command) []byte {
	t.Helper()
	b, err := c.Encode()
	if err != nil {
		t.Fatalf("encode %s: %v", c.Body.Kind(), err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for _, body := range examples() {
		c := exampleCommand(body)
		b := encode(t, c)
		got, err := Decode(b)
		if err != nil {
			t.Errorf("decode %s: %v", body.Kind(), err)
			continue
		}
		if !reflect.DeepEqual(got, c) {
			t.Errorf("%s came back as %+v", body.Kind(), got.Body)
		}
		if got.Digest != sha256.Sum256(b) {
			t.Errorf("%s: digest %x is not the entry's", body.Kind(), got.Digest)
		}
	}
}

// readGolden takes the hex out of a golden file; '#' begins a comment.
func readGolden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".golden"))
	if err != nil {
		t.Fatalf("%v: a new kind needs a golden, written once and then left alone", err)
	}
	var digits strings.Builder
	for _, line := range strings.Split(string(text), "\n") {
		line, _, _ = strings.Cut(line, "#")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatalf("%s.golden: %v", name, err)
	}
	return b
}

// TestGoldens holds the bytes on disk of every cluster that exists. When it fails,
// the change is wrong, not the golden: nothing regenerates them.
func TestGoldens(t *testing.T) {
	for _, body := range examples() {
		want := readGolden(t, body.Kind().String())
		if got := encode(t, exampleCommand(body)); !bytes.Equal(got, want) {
			t.Errorf("%s is now written as\n%x\ngolden:\n%x", body.Kind(), got, want)
		}
		c, err := Decode(want)
		if err != nil {
			t.Errorf("%s.golden does not decode: %v", body.Kind(), err)
		} else if !reflect.DeepEqual(c.Body, body) {
			t.Errorf("%s.golden now means %+v", body.Kind(), c.Body)
		}
	}
	files, err := filepath.Glob("testdata/*.golden")
	if err != nil || len(files) != len(examples()) {
		t.Errorf("%d goldens for %d kinds (%v): a golden is never deleted", len(files), len(examples()), err)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	for _, body := range examples() {
		b := encode(t, exampleCommand(body))
		for i := range b {
			for bit := range 8 {
				b[i] ^= 1 << bit
				if _, err := Decode(b); err == nil {
					t.Errorf("%s: bit %d of byte %d is flipped and nobody notices", body.Kind(), bit, i)
				} else if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownKind) {
					t.Errorf("%s: byte %d: %v is neither corruption nor an unknown kind", body.Kind(), i, err)
				}
				b[i] ^= 1 << bit
			}
		}
	}
}

func TestEveryTruncationIsSeen(t *testing.T) {
	b := encode(t, exampleCommand(&PublishVersion{Key: "ci", Version: 2}))
	for n := range b {
		if _, err := Decode(b[:n]); !errors.Is(err, ErrCorrupt) {
			t.Errorf("the first %d of %d bytes: %v", n, len(b), err)
		}
	}
	if _, err := Decode(append(b, 0)); !errors.Is(err, ErrCorrupt) {
		t.Errorf("one byte too many: %v", err)
	}
}

// seal puts a body into an envelope whose checksum is right.
func seal(kind Kind, body []byte) []byte {
	b := []byte(magic + "\x01")
	b = binary.BigEndian.AppendUint16(b, uint16(kind))
	sum := checksum(b, body)
	return append(append(b, sum[:]...), body...)
}

func TestUnknownKindStopsTheNode(t *testing.T) {
	for _, kind := range []Kind{0, 8, 54, 65535} {
		if _, err := Decode(seal(kind, []byte{0x82, 0xa0, 0xa0})); !errors.Is(err, ErrUnknownKind) {
			t.Errorf("kind %d: %v, want ErrUnknownKind", kind, err)
		}
	}
	b := encode(t, exampleCommand(&MarkCheckpoint{}))
	b[4] = 2
	if _, err := Decode(b); !errors.Is(err, ErrUnknownKind) {
		t.Errorf("envelope version 2: %v, want ErrUnknownKind", err)
	}
}

func fromHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestOnlyDeterministicCBOR: two ways to write one command would be two digests of
// one command, or, read by two binaries, two commands of one entry.
func TestOnlyDeterministicCBOR(t *testing.T) {
	const header = "a3 01 01 02 61 61 03 60" // {1: 1, 2: "a", 3: ""}
	const key = "a2 01 62 63 69 02 01"       // {1: "ci", 2: 1}
	if _, err := Decode(seal(KindPublishVersion, fromHex(t, "82"+header+key))); err != nil {
		t.Fatalf("the plain form is refused: %v", err)
	}
	for name, body := range map[string]string{
		"empty":                      "",
		"not an array":               "a0",
		"one element":                "81" + header,
		"three elements":             "83" + header + key + "00",
		"trailing byte":              "82" + header + key + "00",
		"indefinite array":           "9f" + header + key + "ff",
		"indefinite header":          "82 bf 01 01 02 61 61 03 60 ff" + key,
		"indefinite command":         "82" + header + "bf 01 62 63 69 02 01 ff",
		"indefinite text":            "82" + header + "a2 01 7f 62 63 69 ff 02 01",
		"keys in the wrong order":    "82" + header + "a2 02 01 01 62 63 69",
		"header in the wrong order":  "82 a3 02 61 61 01 01 03 60" + key,
		"duplicate key":              "82" + header + "a3 01 62 63 69 01 62 63 69 02 01",
		"duplicate key, other value": "82" + header + "a2 01 62 63 69 01 62 63 6a",
		"unknown field":              "82" + header + "a3 01 62 63 69 02 01 18 63 01",
		"unknown header field":       "82 a4 01 01 02 61 61 03 60 18 63 01" + key,
		"one-byte integer as two":    "82" + header + "a2 01 62 63 69 02 18 01",
		"integer in 64 bits":         "82" + header + "a2 01 62 63 69 02 1b 0000000000000001",
		"text length in two bytes":   "82" + header + "a2 01 78 02 63 69 02 01",
		"map length in two bytes":    "82" + header + "b8 02 01 62 63 69 02 01",
		"float for an integer":       "82" + header + "a2 01 62 63 69 02 f9 3c00",
		"bignum":                     "82" + header + "a2 01 62 63 69 02 c2 41 01",
		"tag":                        "82" + header + "a2 01 62 63 69 02 c1 01",
		"text key":                   "82" + header + "a2 61 31 62 63 69 02 01",
		"missing field":              "82" + header + "a1 01 62 63 69",
		"null for text":              "82" + header + "a2 01 f6 02 01",
		"undefined":                  "82" + header + "a2 01 62 63 69 02 f7",
		"negative for unsigned":      "82" + header + "a2 01 62 63 69 02 20",
		"text that is not UTF-8":     "82" + header + "a2 01 62 ff 69 02 01",
		"bytes for text":             "82" + header + "a2 01 42 63 69 02 01",
		"omitted default written":    "82 a4 01 01 02 61 61 03 60 04 60" + key,
		"empty list for no list":     "82 a4 01 01 02 61 61 03 60 06 80" + key,
		"header is null":             "82 f6" + key,
		"command is null":            "82" + header + "f6",
		"command is a list":          "82" + header + "82 62 63 69 01",
		"deep nesting":               "82" + header + strings.Repeat("81", 40) + "00",
		"huge announced list":        "82" + header + "9b ffffffffffffffff",
		"huge announced text":        "82" + header + "7b 7fffffffffffffff",
		"list over the limit":        "82" + header + "99 1001" + strings.Repeat("00", 4097),
	} {
		if c, err := Decode(seal(KindPublishVersion, fromHex(t, body))); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %+v, %v; want ErrCorrupt", name, c, err)
		}
	}
}

// TestEncodeRefusesWhatNobodyCouldRead: such an entry, once committed, would stop
// every node at once and for good.
func TestEncodeRefusesWhatNobodyCouldRead(t *testing.T) {
	many := make([]RowRef, MaxListItems+1)
	for name, c := range map[string]*Command{
		"actor not UTF-8":       {Header: Header{At: 1, Actor: "a\xff"}, Body: &MarkCheckpoint{}},
		"ref not UTF-8":         {Header: Header{At: 1, Actor: "a", Reads: []RowRef{{Table: "versions", Key: "\x80"}}}, Body: &MarkCheckpoint{}},
		"comment not UTF-8":     {Header: Header{At: 1, Actor: "a"}, Body: &SuspendVersion{Key: "ci", Version: 1, Comment: "\xc3"}},
		"list over the limit":   {Header: Header{At: 1, Actor: "a", Reads: many}, Body: &MarkCheckpoint{}},
		"entry over the limit":  {Header: Header{At: 1, Actor: "a"}, Body: &SuspendVersion{Key: "ci", Comment: strings.Repeat("x", MaxEntryBytes)}},
		"kind without a number": {Header: Header{At: 1, Actor: "a"}, Body: unregistered{}},
	} {
		if b, err := c.Encode(); err == nil {
			_, derr := Decode(b)
			t.Errorf("%s: encoded, although decoding says %v", name, derr)
		}
	}
}

type unregistered struct{}

func (unregistered) Kind() Kind   { return 65535 }
func (unregistered) Check() error { return nil }

func TestEntryOfExactlyTheLimit(t *testing.T) {
	c := &Command{Header: Header{At: 1, Actor: "a"}, Body: &SuspendVersion{Key: "ci", Version: 1}}
	room := func() int {
		c.Body = &SuspendVersion{Key: "ci", Version: 1, Comment: strings.Repeat("x", 1<<16)}
		return MaxEntryBytes - len(encode(t, c)) + 1<<16
	}()
	c.Body = &SuspendVersion{Key: "ci", Version: 1, Comment: strings.Repeat("x", room)}
	b := encode(t, c)
	if len(b) != MaxEntryBytes {
		t.Fatalf("%d bytes, want %d", len(b), MaxEntryBytes)
	}
	got, err := Decode(b)
	if err != nil {
		t.Fatalf("decode: %v", err)
	}
	if err := got.Check(); err == nil {
		t.Error("a comment of a megabyte passes Check")
	}
	c.Body = &SuspendVersion{Key: "ci", Version: 1, Comment: strings.Repeat("x", room+1)}
	if _, err := c.Encode(); err == nil {
		t.Error("one byte more is encoded too")
	}
}
