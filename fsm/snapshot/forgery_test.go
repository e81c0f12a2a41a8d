package snapshot

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestAlteredStateIsNotWritten changes rows behind the state machine's back.
func TestAlteredStateIsNotWritten(t *testing.T) {
	first := func(m memory, t state.Table) string { return slices.Sorted(maps.Keys(m[t]))[0] }
	for name, c := range map[string]struct {
		alter func(m memory)
		what  string // of the Mismatch, "" for another error
	}{
		"row changed":    {func(m memory) { m[state.TableKeys][first(m, state.TableKeys)][9] ^= 1 }, "state digest"},
		"row removed":    {func(m memory) { delete(m[state.TableOperations], first(m, state.TableOperations)) }, "state digest"},
		"row added":      {func(m memory) { m.Put(state.TableTokens, "x", []byte{1}) }, "state digest"},
		"row moved":      {func(m memory) { m[state.TableSecrets] = m[state.TablePrincipals]; delete(m, state.TablePrincipals) }, "state digest"},
		"leaf changed":   {func(m memory) { m[state.TableLog][first(m, state.TableLog)][30] ^= 1 }, "log root"},
		"leaf removed":   {func(m memory) { delete(m[state.TableLog], first(m, state.TableLog)) }, ""},
		"last leaf gone": {func(m memory) { delete(m[state.TableLog], slices.Max(slices.Collect(maps.Keys(m[state.TableLog])))) }, "log size"},
		"hash changed":   {func(m memory) { m[state.TableLogHashes][first(m, state.TableLogHashes)][0] ^= 1 }, "stored log hashes"},
		"hash removed":   {func(m memory) { delete(m[state.TableLogHashes], first(m, state.TableLogHashes)) }, ""},
		"hash cut": {func(m memory) {
			k := first(m, state.TableLogHashes)
			m[state.TableLogHashes][k] = m[state.TableLogHashes][k][:31]
		}, ""},
		"meta row gone":   {func(m memory) { delete(m, state.TableMeta) }, ""},
		"second meta row": {func(m memory) { m.Put(state.TableMeta, "z", m[state.TableMeta]["meta"]) }, ""},
		"key too long":    {func(m memory) { m.Put(state.TableTokens, strings.Repeat("k", maxKeyBytes+1), nil) }, ""},
		"row too long":    {func(m memory) { m.Put(state.TableTokens, "k", make([]byte, maxRowBytes+1)) }, ""},
	} {
		rows := run(t, fsmtest.Script(3), 2)
		c.alter(rows)
		var buf bytes.Buffer
		_, err := Write(&buf, rows)
		var m *Mismatch
		if err == nil {
			t.Errorf("%s: written all the same", name)
		} else if c.what != "" && (!errors.As(err, &m) || m.What != c.what || m.Computed == m.Stored) {
			t.Errorf("%s: %v", name, err)
		}
		if _, _, err := read(buf.Bytes()); err == nil {
			t.Errorf("%s: what was written before the error reads as whole", name)
		}
	}
}

// TestForgeries have a right SHA-256 at the end, and yet are refused.
func TestForgeries(t *testing.T) {
	for name, alter := range map[string]func(m memory, h *Header){
		"digest of the header":  func(_ memory, h *Header) { h.Digest[0] ^= 1 },
		"index of the header":   func(_ memory, h *Header) { h.Index++ },
		"cluster of the header": func(_ memory, h *Header) { h.ClusterID = strings.Repeat("f", 32) },
		"clock of the header":   func(_ memory, h *Header) { h.Clock++ },
		"a row":                 func(m memory, _ *Header) { m[state.TableKeys][string(fsmtest.KeyName(1))][9] ^= 1 },
		"a leaf":                func(m memory, _ *Header) { m[state.TableLog]["\x00\x00\x00\x00\x00\x00\x00\x01"][30] ^= 1 },
		"an undecodable cluster": func(m memory, _ *Header) {
			m[state.TableCluster]["cluster"] = []byte{0xff}
		},
	} {
		rows := run(t, fsmtest.Script(2), 1)
		h, err := describe(rows)
		if err != nil {
			t.Fatal(err)
		}
		alter(rows, &h)
		if _, _, err := read(forge(rows, h)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s forged: %v", name, err)
		}
	}
}

// forge writes whatever it is given, with a right trailer.
func forge(rows memory, h Header) []byte {
	var buf bytes.Buffer
	w := newWriter(&buf)
	w.bytes(h.encode())
	for _, t := range state.Tables {
		w.table(rows, t)
	}
	w.bytes([]byte{markClose})
	w.bytes(w.sum.Sum(nil))
	w.w.Flush()
	return buf.Bytes()
}

func TestNewer(t *testing.T) {
	rows := run(t, fsmtest.Script(1), 1)
	b := write(t, rows)
	b[9]++
	if _, _, err := read(b); !errors.Is(err, ErrNewer) {
		t.Errorf("newer container: %v", err)
	}
	h, err := describe(rows)
	if err != nil {
		t.Fatal(err)
	}
	h.Format = command.MaxFormat + 1
	if _, _, err := read(forge(rows, h)); !errors.Is(err, ErrNewer) {
		t.Errorf("newer format: %v", err)
	}
}

// TestForgedLengthsCostNothing asks for memory that no bytes stand behind.
func TestForgedLengthsCostNothing(t *testing.T) {
	h := Header{}
	var buf bytes.Buffer
	buf.Write(h.encode())
	buf.WriteString("T\x04meta")
	buf.WriteString("R\x00\x00\x00\x01\x00\x40\x00\x00x") // a row of 4 MiB, at the limit
	b := buf.Bytes()
	if n := testing.AllocsPerRun(1, func() {
		if _, _, err := read(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut row: %v", err)
		}
	}); n > 200 {
		t.Errorf("%v allocations", n)
	}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Rows(nil); !errors.Is(err, ErrDamaged) || cap(r.buf) > 256<<10 {
		t.Errorf("buffer of %d bytes, %v", cap(r.buf), err)
	}
	buf.Reset()
	buf.Write(h.encode())
	buf.WriteString("T\x04metaR\xff\xff\xff\xff\xff\xff\xff\xff")
	if _, _, err := read(buf.Bytes()); !errors.Is(err, ErrDamaged) {
		t.Errorf("row past the limit: %v", err)
	}
}

// TestOrder puts rows and tables where they do not belong.
func TestOrder(t *testing.T) {
	for name, body := range map[string]string{
		"unknown table":    "T\x05bogusE\x00\x00\x00\x00\x00\x00\x00\x00",
		"empty table":      "T\x04keysE\x00\x00\x00\x00\x00\x00\x00\x00",
		"wrong count":      "T\x04keysR\x00\x00\x00\x01\x00\x00\x00\x00aE\x00\x00\x00\x00\x00\x00\x00\x02",
		"empty key":        "T\x04keysR\x00\x00\x00\x00\x00\x00\x00\x00E\x00\x00\x00\x00\x00\x00\x00\x01",
		"same key twice":   "T\x04keysR\x00\x00\x00\x01\x00\x00\x00\x00aR\x00\x00\x00\x01\x00\x00\x00\x00aE\x00\x00\x00\x00\x00\x00\x00\x02",
		"tables reversed":  "T\x04keysR\x00\x00\x00\x01\x00\x00\x00\x00aE\x00\x00\x00\x00\x00\x00\x00\x01T\x05nodes",
		"table twice":      "T\x04keysR\x00\x00\x00\x01\x00\x00\x00\x00aE\x00\x00\x00\x00\x00\x00\x00\x01T\x04keys",
		"no mark":          "X",
		"no mark in table": "T\x04keysX",
	} {
		b := append((&Header{}).encode(), body...)
		if _, _, err := read(b); !errors.Is(err, ErrDamaged) || strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
