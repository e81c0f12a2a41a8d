package state_test

import (
	"bytes"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// confirmed is the record of a mark that these voters agree on.
func confirmed(m state.Mark, voters ...lifecycle.NodeID) *command.RecordCheckpoint {
	return &command.RecordCheckpoint{MarkIndex: m.Index, LogSize: m.LogSize, Root: bytes.Clone(m.Root), Digest: bytes.Clone(m.Digest), Voters: voters}
}

func TestMarkAndRecord(t *testing.T) {
	w := newWorld(t).active(1)
	if m := w.l.View().Mark(); m.Index != 0 {
		t.Errorf("a mark nobody asked for: %+v", m)
	}
	o := w.ok(&command.MarkCheckpoint{})
	m, pos := w.l.View().Mark(), w.l.View().Position()
	if m.Index != o.Index || m.LogSize != pos.LogSize || !bytes.Equal(m.Root, pos.LogRoot[:]) || len(m.Digest) != 32 {
		t.Errorf("mark %+v at %+v", m, pos)
	}
	w.ok(&command.RevokePrincipal{Name: w.extra()}) // the state moves on between mark and record
	w.ok(confirmed(m, w.nodes[0]))
	if c := w.l.View().Confirmed(); c.Index != m.Index || !bytes.Equal(c.Digest, m.Digest) {
		t.Errorf("confirmed %+v, the mark was %+v", c, m)
	}
}

// extra adds a principal and names it.
func (w *world) extra() string {
	w.Helper()
	w.ok(person("extra"))
	return "extra"
}

// TestDivergence: the node whose mark is not the majority's stops, and says how it differs.
func TestDivergence(t *testing.T) {
	for what, change := range map[string]func(*command.RecordCheckpoint){
		"log size":     func(c *command.RecordCheckpoint) { c.LogSize++ },
		"log root":     func(c *command.RecordCheckpoint) { c.Root[31] ^= 1 },
		"state digest": func(c *command.RecordCheckpoint) { c.Digest[0] ^= 0x80 },
	} {
		t.Run(what, func(t *testing.T) {
			l := ledgertest.New(t)
			ledgertest.Genesis(t, l)
			l.Must(t, &command.MarkCheckpoint{})
			c := confirmed(l.View().Mark(), l.NodeID())
			change(c)
			defer func() {
				d, ok := recover().(*state.Divergence)
				if !ok || d.What != what || d.Mine == d.Ours || d.Index != c.MarkIndex || d.Error() == "" {
					t.Errorf("got %v, want a divergence in the %s", d, what)
				}
			}()
			l.Do(t, c)
		})
	}
}

// TestAnAlteredRowIsFound: the digest is over the rows as they were written, so a
// replica with one altered row carries it on and differs from the others' marks.
func TestAnAlteredRowIsFound(t *testing.T) {
	l := ledgertest.New(t)
	ids := ledgertest.Genesis(t, l)
	l.Must(t, newKey(ci, ids[0]))
	l.Must(t, &command.MarkCheckpoint{})
	good := scan(l.Rows())
	altered := ledgertest.Restore(l.Rows())
	row := bytes.Clone(altered.Get(state.TableKeys, string(ci)))
	altered.Put(state.TableKeys, string(ci), bytes.Replace(row, []byte("platform"), []byte("Platform"), 1))
	if scan(altered) == good {
		t.Error("a scan does not see the altered row")
	}
	altered.Put(state.TableKeys, string(ci), row)
	if scan(altered) != good {
		t.Error("the row was put back and the scan differs")
	}
}

func TestRecordOfAnotherMarkIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.ok(&command.MarkCheckpoint{})
	first := w.l.View().Mark()
	w.ok(&command.MarkCheckpoint{})
	c := confirmed(first, w.nodes[0])
	c.Digest[0] ^= 1
	w.ok(c) // a later mark has taken its place; that one will be compared
	if got := w.l.View().Confirmed(); got.Index != 0 {
		t.Errorf("confirmed %+v", got)
	}
}

func TestRecordNeedsAMajority(t *testing.T) {
	w := newWorld(t)
	voters(w)
	w.ok(&command.MarkCheckpoint{})
	m := w.l.View().Mark()
	w.no(state.Invalid, confirmed(m, w.nodes[0]))
	w.no(state.Invalid, confirmed(m, w.nodes[0], w.nodes[0]))
	w.no(state.Invalid, confirmed(m, w.nodes[0], ledgertest.NodeID("stranger")))
	zero := confirmed(m, w.nodes[0], w.nodes[1])
	zero.MarkIndex = 0
	w.no(state.Invalid, zero)
	w.ok(confirmed(m, w.nodes[0], w.nodes[1]))
}

// TestMarksAreTheSameWhateverTheBatches: a mark inside a batch sees the rows and
// the log up to itself.
func TestMarksAreTheSameWhateverTheBatches(t *testing.T) {
	entries := [][]byte{}
	l := ledgertest.New(t)
	add := func(b command.Body) {
		e, err := l.Command(b).Encode()
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	add(genesis())
	add(newKey(ci, l.NodeID()))
	add(&command.MarkCheckpoint{})
	add(bind(ci, 1, l.NodeID()))
	var want state.Mark
	for batch := 1; batch <= len(entries); batch++ {
		m, b := state.NewMachine(), ledgertest.NewMemory()
		for i, e := range entries {
			m.Apply(b, uint64(i+1), 0, e)
			if (i+1)%batch == 0 {
				m.Seal(b)
			}
		}
		got := m.Seal(b).Meta.Mark
		if batch == 1 {
			want = got
		} else if got.LogSize != want.LogSize || !bytes.Equal(got.Root, want.Root) || !bytes.Equal(got.Digest, want.Digest) {
			t.Errorf("batches of %d: mark %+v, want %+v", batch, got, want)
		}
	}
}
