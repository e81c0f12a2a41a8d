package snapshot

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// memory is a Backend of maps.
type memory map[state.Table]map[string][]byte

func (m memory) Get(t state.Table, key string) []byte { return m[t][key] }

func (m memory) Ascend(t state.Table, from string, fn func(key string, row []byte) bool) {
	for _, k := range slices.Sorted(maps.Keys(m[t])) {
		if k >= from && !fn(k, m[t][k]) {
			return
		}
	}
}

func (m memory) Put(t state.Table, key string, row []byte) {
	if m[t] == nil {
		m[t] = map[string][]byte{}
	}
	m[t][key] = bytes.Clone(row)
}

func (m memory) Delete(t state.Table, key string) { delete(m[t], key) }

// run applies a script in batches of size n.
func run(t testing.TB, script [][]byte, n int) memory {
	t.Helper()
	m, b := state.NewMachine(), memory{}
	for i, e := range script {
		if o := m.Apply(b, uint64(i+1), 0, e); !o.OK() {
			t.Fatal(o.Err())
		}
		if (i+1)%n == 0 || i == len(script)-1 {
			m.Seal(b)
		}
	}
	return b
}

func write(t testing.TB, r state.Reader) []byte {
	t.Helper()
	var buf bytes.Buffer
	if _, err := Write(&buf, r); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// read reads a snapshot into memory.
func read(b []byte) (memory, Header, error) {
	m := memory{}
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, Header{}, err
	}
	err = r.Rows(func(t state.Table, key string, row []byte) error {
		m.Put(t, key, row)
		return nil
	})
	return m, r.Header, err
}

func TestRoundTrip(t *testing.T) {
	rows := run(t, fsmtest.Script(9), 3)
	b := write(t, rows)
	back, h, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.Index != 10 || h.Epoch != 1 || h.Format != 1 || h.ClusterID != fsmtest.ClusterID || h.LogSize == 0 {
		t.Fatalf("header %+v", h)
	}
	for _, table := range state.Tables {
		if !maps.EqualFunc(rows[table], back[table], bytes.Equal) {
			t.Fatalf("table %s differs", table)
		}
	}
	m, err := state.LoadMachine(back)
	if err != nil {
		t.Fatal(err)
	}
	if meta := m.Root().Meta; meta.Position() != h.Position() || meta.Digest() != h.Digest {
		t.Fatalf("loaded at %+v", meta.Position())
	}
}

// TestEqualPositionsEqualBytes takes the same log in batches of different sizes, as
// different nodes do.
func TestEqualPositionsEqualBytes(t *testing.T) {
	script := fsmtest.Script(12)
	want := write(t, run(t, script, 1))
	for _, n := range []int{2, 5, 13} {
		if got := write(t, run(t, script, n)); !bytes.Equal(got, want) {
			t.Fatalf("in batches of %d the snapshot is another", n)
		}
	}
}

func TestEmptyState(t *testing.T) {
	_, h, err := read(write(t, memory{}))
	if err != nil || h.Index != 0 || h.ClusterID != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	// A node that saw nothing but Raft's configuration has a position and no rows.
	m, b := state.NewMachine(), memory{}
	m.Skip(3)
	m.Seal(b)
	if _, h, err = read(write(t, b)); err != nil || h.Index != 3 {
		t.Fatalf("%+v, %v", h, err)
	}
}

// TestEveryBitCounts flips each bit of the smallest state, one bit in each byte of
// one with all sorts of rows, and cuts at each byte.
func TestEveryBitCounts(t *testing.T) {
	m, small := state.NewMachine(), memory{}
	m.Skip(3)
	m.Seal(small)
	for name, c := range map[string]struct {
		b    []byte
		bits func(i int) []int
	}{
		"no rows": {write(t, small), func(int) []int { return []int{0, 1, 2, 3, 4, 5, 6, 7} }},
		"rows":    {write(t, run(t, fsmtest.Script(1), 1)), func(i int) []int { return []int{i % 8} }},
	} {
		b := c.b
		for i := range b {
			for _, bit := range c.bits(i) {
				b[i] ^= 1 << bit
				if _, _, err := read(b); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewer) {
					t.Fatalf("%s: bit %d of byte %d of %d: %v", name, bit, i, len(b), err)
				}
				b[i] ^= 1 << bit
			}
			if _, _, err := read(b[:i]); !errors.Is(err, ErrDamaged) {
				t.Fatalf("%s: cut to %d of %d bytes: %v", name, i, len(b), err)
			}
		}
		if _, _, err := read(append(b, 0)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: one byte too many: %v", name, err)
		}
	}
}

// TestGolden reads the container as the first version wrote it, and writes it again.
// Never regenerate it once there are snapshots of released versions: each is read by
// every later version. (The expansion of rows changed once before that.)
func TestGolden(t *testing.T) {
	b, err := os.ReadFile("testdata/v1.snap")
	if err != nil {
		t.Fatal(err)
	}
	rows, h, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.Index != 3 || h.ClusterID != fsmtest.ClusterID {
		t.Fatalf("header %+v", h)
	}
	if again := write(t, rows); !bytes.Equal(again, b) {
		t.Fatal("the container is written differently now: raise Version")
	}
}

// TestErrorsKeepTheirNature: a failing disk or consumer is no damaged snapshot.
func TestErrorsKeepTheirNature(t *testing.T) {
	b := write(t, run(t, fsmtest.Script(1), 1))
	full := errors.New("disk full")
	r, err := NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Rows(func(state.Table, string, []byte) error { return full }); !errors.Is(err, full) || errors.Is(err, ErrDamaged) {
		t.Errorf("consumer: %v", err)
	}
	broken := &brokenReader{b: b[:len(b)/2], err: full}
	if r, err = NewReader(broken); err == nil {
		err = r.Rows(func(state.Table, string, []byte) error { return nil })
	}
	if !errors.Is(err, full) || errors.Is(err, ErrDamaged) {
		t.Errorf("source: %v", err)
	}
	for n := 0; n < len(b); n += 501 {
		if _, err := Write(&fullWriter{left: n, err: full}, run(t, fsmtest.Script(1), 1)); !errors.Is(err, full) {
			t.Fatalf("sink full after %d bytes: %v", n, err)
		}
	}
}

type brokenReader struct {
	b   []byte
	err error
}

func (r *brokenReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, r.err
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

type fullWriter struct {
	left int
	err  error
}

func (w *fullWriter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, w.err
	}
	w.left -= len(p)
	return len(p), nil
}

func TestInspect(t *testing.T) {
	b := write(t, run(t, fsmtest.Script(4), 2))
	info, err := Inspect(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[state.Table]uint64{}
	for _, ti := range info.Tables {
		rows[ti.Table] = ti.Rows
	}
	if info.Header.Index != 5 || rows[state.TableKeys] != 4 || rows[state.TableInstances] != 4 || rows[state.TableOperations] != 5 || rows[state.TableMeta] != 1 {
		t.Fatalf("%+v", info)
	}
	names := func(k lifecycle.Key) lifecycle.KeyID { return k.ID }
	if len(info.Keys) != 4 || names(info.Keys[3]) != fsmtest.KeyName(4) {
		t.Fatalf("keys %v", info.Keys)
	}
	if _, err := Inspect(bytes.NewReader(b[:len(b)-1])); !errors.Is(err, ErrDamaged) {
		t.Fatalf("cut: %v", err)
	}
}

// FuzzRead: no panic, and whatever is accepted is written again to the same bytes.
func FuzzRead(f *testing.F) {
	b := write(f, run(f, fsmtest.Script(1), 1))
	f.Add(b)
	f.Add(b[:100])
	f.Add(write(f, memory{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, _, err := read(b)
		if err != nil {
			return
		}
		if again := write(t, rows); !bytes.Equal(again, b) {
			t.Fatalf("%d bytes were read, %d are written", len(b), len(again))
		}
	})
}
