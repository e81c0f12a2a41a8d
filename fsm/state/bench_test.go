package state_test

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// loaded is a machine that holds so many keys, each with one version and one
// instance that waits for its public key.
func loaded(b *testing.B, keys int) (*state.Machine, *ledgertest.Memory, []lifecycle.NodeID) {
	b.Helper()
	l := ledgertest.New(b)
	nodes := ledgertest.Genesis(b, l, "alpha", "beta", "gamma")
	rows := ledgertest.Restore(l.Rows())
	m, err := state.LoadMachine(rows)
	if err != nil {
		b.Fatal(err)
	}
	for n := range keys {
		if o := m.Apply(rows, m.Index()+1, 0, encoded(b, newKey(lifecycle.KeyID(fmt.Sprint("k", n)), nodes[0]))); !o.OK() {
			b.Fatalf("%+v", o)
		}
	}
	m.Seal(rows)
	return m, rows, nodes
}

// life makes a key and brings it to where it signs on every node.
func life(k lifecycle.KeyID, nodes []lifecycle.NodeID) []command.Body {
	out := []command.Body{newKey(k, nodes...)}
	for _, n := range nodes {
		out = append(out, bind(k, 1, n))
	}
	return append(out, &command.ActivateVersion{Key: k, Version: 1})
}

func encoded(b *testing.B, body command.Body) []byte {
	e, err := (&command.Command{Header: command.Header{At: 1767355200000, Actor: ledgertest.Admin}, Body: body}).Encode()
	if err != nil {
		b.Fatal(err)
	}
	return e
}

// BenchmarkApply measures one entry of each of the usual kinds, in memory, a batch
// of one, with few and with many keys in the state.
func BenchmarkApply(b *testing.B) {
	for _, keys := range []int{10, 100_000} {
		if testing.Short() && keys > 10 {
			continue
		}
		m, rows, nodes := loaded(b, keys)
		seq := 0
		for _, kind := range []command.Kind{command.KindCreateKey, command.KindBindInstance, command.KindActivateVersion} {
			b.Run(fmt.Sprintf("%s/keys=%d", kind, keys), func(b *testing.B) {
				b.StopTimer()
				entries := make([][]byte, 0, b.N)
				for range b.N {
					seq++
					for _, c := range life(lifecycle.KeyID(fmt.Sprint("bench", seq)), nodes) {
						if c.Kind() == kind {
							entries = append(entries, encoded(b, c))
							break
						}
						m.Apply(rows, m.Index()+1, 0, encoded(b, c))
					}
				}
				m.Seal(rows)
				b.ReportAllocs()
				b.StartTimer()
				for _, e := range entries {
					if o := m.Apply(rows, m.Index()+1, 0, e); !o.OK() {
						b.Fatalf("%+v", o)
					}
					m.Seal(rows)
				}
			})
		}
	}
}

// BenchmarkRecordSignatures is what a strict key's signatures cost each node: so many
// requests of one signature in an entry.
func BenchmarkRecordSignatures(b *testing.B) {
	for _, groups := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			w := signWorld(b)
			c := &command.RecordSignatures{Node: w.nodes[0]}
			for range groups {
				c.Groups = append(c.Groups, w.group(1))
			}
			entry, err := w.l.Command(c).Encode()
			if err != nil {
				b.Fatal(err)
			}
			rows := ledgertest.Restore(w.l.Rows())
			m, err := state.LoadMachine(rows)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if o := m.Apply(rows, m.Index()+1, 0, entry); len(o.Groups) != groups || o.Groups[0].Code != "" {
					b.Fatalf("%+v", o)
				}
				m.Seal(rows)
			}
		})
	}
}

// BenchmarkTrial is what each request pays before it is proposed.
func BenchmarkTrial(b *testing.B) {
	m, rows, nodes := loaded(b, 1000)
	v := state.NewView(m.Root(), func(read func(state.Reader) error) error { return read(rows) })
	cmd := &command.Command{Header: command.Header{At: 1767355200000, Actor: ledgertest.Admin}, Body: newKey("new", nodes...)}
	b.ReportAllocs()
	for b.Loop() {
		if o := state.Trial(v, cmd); !o.OK() {
			b.Fatalf("%+v", o)
		}
	}
}

// BenchmarkLoad is the start of a node with this many keys.
func BenchmarkLoad(b *testing.B) {
	_, rows, _ := loaded(b, 10_000)
	for b.Loop() {
		if _, err := state.LoadMachine(rows); err != nil {
			b.Fatal(err)
		}
	}
}
