package state_test

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/state"
)

// replica applies the log with batches of its own and restarts when it likes.
type replica struct {
	m *state.Machine
	b *ledgertest.Memory
}

func newReplica() *replica { return &replica{state.NewMachine(), ledgertest.NewMemory()} }

// restart throws away what is in memory and loads the rows again.
func (r *replica) restart(t *rapid.T) {
	r.m.Seal(r.b)
	b := ledgertest.Restore(r.b.Snapshot())
	m, err := state.LoadMachine(b)
	if err != nil {
		t.Fatalf("restart: %v", err)
	}
	r.m, r.b = m, b
}

func (r *replica) view() *state.View {
	rows := r.b
	return state.NewView(r.m.Root(), func(read func(state.Reader) error) error { return read(rows) })
}

// trio is three replicas of one log. The first seals after each entry; the others
// seal, and restart, when the driver's dice say so.
type trio []*replica

// apply brings the next entry to all of them, who must agree on what came of it.
func (rs trio) apply(t *rapid.T, d *driver, cmd *command.Command) (first state.Outcome) {
	entry, err := cmd.Encode()
	if err != nil {
		t.Fatalf("encode %s: %v", cmd.Body.Kind(), err)
	}
	index := rs[0].m.Index() + 1
	for i, r := range rs {
		o := r.m.Apply(r.b, index, 0, entry)
		if i == 0 {
			first = o
		} else if fmt.Sprint(o) != fmt.Sprint(first) {
			t.Fatalf("%s: replica %d says %+v, replica 0 %+v", cmd.Body.Kind(), i, o, first)
		}
		switch {
		case i == 0 || d.flip(3):
			r.m.Seal(r.b)
		case d.flip(12):
			r.restart(t)
		}
	}
	return first
}

// agree compares everything they hold, after one more restart.
func (rs trio) agree(t *rapid.T) {
	rs[1].restart(t)
	want := rs[0].m.Seal(rs[0].b)
	for i, r := range rs {
		got := r.m.Seal(r.b)
		if got.Meta.Position() != want.Meta.Position() || got.Meta.Digest() != want.Meta.Digest() || got.Meta.Clock != want.Meta.Clock {
			t.Fatalf("replica %d is at %+v, replica 0 at %+v", i, got.Meta.Position(), want.Meta.Position())
		}
		if a, b := dump(r.b), dump(rs[0].b); a != b {
			t.Fatalf("replica %d has other rows:\n%s", i, diff(b, a))
		}
		if scan(r.b) != (sums{got.Meta.Rows, got.Meta.Derived}) {
			t.Fatalf("replica %d: the incremental digest is not the scan's", i)
		}
		if hotDump(r.view()) != hotDump(rs[0].view()) {
			t.Fatalf("replica %d has other rows in memory", i)
		}
	}
}
