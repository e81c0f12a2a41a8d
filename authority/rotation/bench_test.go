package rotation

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// BenchmarkPass100k is one whole pass over 100,000 active keys of three instances.
func BenchmarkPass100k(b *testing.B) {
	f := newFixture(b)
	rows := ledgertest.Restore(f.Rows())
	m, err := state.LoadMachine(rows)
	if err != nil {
		b.Fatal(err)
	}
	apply := func(body command.Body) {
		cmd := f.Command(body)
		entry, err := cmd.Encode()
		if err != nil {
			b.Fatal(err)
		}
		if o := m.Apply(rows, m.Index()+1, 0, entry); !o.OK() {
			b.Fatal(o.Detail)
		}
	}
	for n := range 100_000 {
		name := lifecycle.KeyID(fmt.Sprintf("key-%d", n))
		c := f.creation(name, tokenPolicy(), f.nodes...)
		apply(c)
		for _, in := range c.Instances {
			apply(binding(&lifecycle.Instance{Key: name, Version: 1, Node: in.Node, CKAID: in.CKAID}))
		}
		apply(&command.ActivateVersion{Key: name, Version: 1})
	}
	view := state.NewView(m.Seal(rows), nil)
	for b.Loop() {
		if steps := Plan(view, f.now(), f.draw); len(steps) != 0 {
			b.Fatal(show(steps[0]))
		}
	}
}
