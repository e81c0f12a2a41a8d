package fsm

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestFenceOfAnotherTerm: only the leader in whose term the record is stored can say
// that a fence stands. A leader that was deposed applies the revocation of its
// successor, finds in its own table nobody who might still sign, is elected again,
// and only then gets its record into the log: the leases that its successor granted
// may run on.
func TestFenceOfAnotherTerm(t *testing.T) {
	d := newDisk(t)
	f := start(t, d.options(t))
	f.ApplyBatch(d.commit(t, 1, fsmtest.Script(1)...))
	apply := func(index, term uint64, data []byte) state.Outcome {
		t.Helper()
		return f.Apply(&raft.Log{Index: index, Term: term, Type: raft.LogCommand, Data: data}).(state.Outcome)
	}
	const narrowed = 3 // what quarantining the node opens
	if o := apply(narrowed, 2, fsmtest.Encode(2, &command.SetNodeStatus{ID: fsmtest.NodeID, Status: lifecycle.Quarantined})); !o.OK() {
		t.Fatalf("quarantine: %+v", o)
	}
	fenced := func(n int) []byte {
		return system(n, &command.RecordFenced{Term: 1, Fences: []command.FencedAt{{Index: narrowed,
			Nodes: []lifecycle.FencedNode{{Node: fsmtest.NodeID, Outcome: lifecycle.LeaseExpired, At: fsmtest.Start}}}}})
	}
	settled := func(n int) []byte { return system(n, &command.RecordSettled{Term: 1, Indexes: []uint64{narrowed}}) }

	if o := apply(4, 3, fenced(3)); o.OK() || f.View().Fence(narrowed).FencedAt != 0 {
		t.Errorf("the leader of term 1 said in term 3 that a fence of term 2 stands: %+v", o)
	}
	if o := apply(5, 1, fenced(4)); !o.OK() || f.View().Fence(narrowed).FencedAt == 0 {
		t.Errorf("the leader in office is not believed: %+v", o)
	}
	if o := apply(6, 3, settled(5)); o.OK() || f.View().Fence(narrowed).SettledAt != 0 {
		t.Errorf("the leader of term 1 said in term 3 that a fence is settled: %+v", o)
	}
	if o := apply(7, 1, settled(6)); !o.OK() || f.View().Fence(narrowed).SettledAt == 0 {
		t.Errorf("the leader in office is not believed: %+v", o)
	}
}

// system makes an entry of the cluster's own upkeep.
func system(n int, body command.Body) []byte {
	c := command.Command{Body: body, Header: command.Header{At: fsmtest.Start.Add(lifecycle.Milliseconds(n) * lifecycle.Second), Actor: "system", Node: fsmtest.NodeID}}
	b, err := c.Encode()
	if err != nil {
		panic(err) // a script is constant
	}
	return b
}
