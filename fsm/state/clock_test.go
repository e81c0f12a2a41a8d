package state_test

import (
	"context"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func (w *world) at(at lifecycle.Instant, body command.Body) state.Outcome {
	w.Helper()
	cmd := w.l.Command(body)
	cmd.Header.At = at
	o, err := w.l.Propose(context.Background(), cmd)
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func TestClockIsMonotoneAndBounded(t *testing.T) {
	w := newWorld(t)
	start := w.l.View().Clock()
	for _, c := range []struct {
		at   lifecycle.Instant
		code state.Code
		want lifecycle.Instant
	}{
		{start - 5000, state.OK, start},
		{1, state.OK, start},
		{0, state.Invalid, start},
		{-1, state.Invalid, start},
		{start.Add(lifecycle.Day) + 1, state.ClockAhead, start},
		{command.MaxInstant, state.ClockAhead, start},
		{command.MaxInstant + 1, state.Invalid, start},
		{start.Add(lifecycle.Day), state.OK, start.Add(lifecycle.Day)},
		{start.Add(2 * lifecycle.Day), state.OK, start.Add(2 * lifecycle.Day)},
		{start, state.OK, start.Add(2 * lifecycle.Day)},
	} {
		if o := w.at(c.at, &command.MarkCheckpoint{}); o.Code != c.code {
			t.Errorf("at %s: %q (%s), want %q", c.at, o.Code, o.Detail, c.code)
		}
		if got := w.l.View().Clock(); got != c.want {
			t.Errorf("after an entry at %s the clock says %s, want %s", c.at, got, c.want)
		}
	}
}

func voters(w *world) {
	for _, id := range w.nodes {
		w.ok(&command.SetNodeRoles{ID: id, Voter: true, Signer: true})
	}
}

// TestOneWrongClockDoesNotCount: the lower median of a majority.
func TestOneWrongClockDoesNotCount(t *testing.T) {
	w := newWorld(t)
	voters(w)
	right := w.l.View().Clock().Add(30 * lifecycle.Day)
	wrongs := []lifecycle.Instant{1, right.Add(9000 * lifecycle.Day), command.MaxInstant}
	for _, wrong := range wrongs {
		for place := range w.nodes {
			right++
			c := &command.AdvanceClock{}
			for i, id := range w.nodes {
				r := command.ClockReading{Node: id, At: right}
				if i == place {
					r.At = wrong
				}
				c.Readings = append(c.Readings, r)
			}
			w.ok(c)
			if got := w.l.View().Clock(); got != right {
				t.Fatalf("node %d says %s, the others %s: the clock says %s", place, wrong, right, got)
			}
		}
	}
	// Of two the lower counts, so that one wrong clock cannot run ahead; it never goes back.
	two := &command.AdvanceClock{Readings: []command.ClockReading{{Node: w.nodes[0], At: right.Add(9000 * lifecycle.Day)}, {Node: w.nodes[1], At: right.Add(lifecycle.Hour)}}}
	w.ok(two)
	if got := w.l.View().Clock(); got != right.Add(lifecycle.Hour) {
		t.Errorf("the clock says %s", got)
	}
	w.ok(&command.AdvanceClock{Readings: []command.ClockReading{{Node: w.nodes[0], At: 5}, {Node: w.nodes[1], At: 6}}})
	if got := w.l.View().Clock(); got != right.Add(lifecycle.Hour) {
		t.Errorf("the clock went back to %s", got)
	}
}

func TestAdvanceClockNeedsAMajority(t *testing.T) {
	w := newWorld(t)
	voters(w)
	later := w.l.View().Clock().Add(30 * lifecycle.Day)
	reading := func(nodes ...lifecycle.NodeID) *command.AdvanceClock {
		c := &command.AdvanceClock{}
		for _, id := range nodes {
			c.Readings = append(c.Readings, command.ClockReading{Node: id, At: later})
		}
		return c
	}
	before := w.l.View().Clock()
	w.no(state.Invalid, reading(w.nodes[0]))
	w.no(state.Invalid, reading(w.nodes[0], w.nodes[0]))
	w.no(state.Invalid, reading(w.nodes[0], ledgertest.NodeID("stranger")))
	w.no(state.Invalid, reading(w.nodes[0], w.nodes[1], w.nodes[1]))
	w.ok(&command.SetNodeRoles{ID: w.nodes[2], Signer: true})
	w.no(state.Invalid, reading(w.nodes[0], w.nodes[2]))
	if got := w.l.View().Clock(); got != before {
		t.Errorf("refused readings moved the clock to %s", got)
	}
	w.ok(reading(w.nodes[0], w.nodes[1]))
	if got := w.l.View().Clock(); got != later {
		t.Errorf("the clock says %s, want %s", got, later)
	}
}
