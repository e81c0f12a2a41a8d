package state_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// uuid is a UUIDv7 of the instant; n tells ids of one instant apart.
func uuid(at lifecycle.Instant, n int) string {
	return fmt.Sprintf("%08x-%04x-7000-8000-%012x", int64(at)>>16, int64(at)&0xffff, n)
}

// request is a command with a request id; what is asked is the text.
func (w *world) request(id, what string, body command.Body) *command.Command {
	cmd := w.l.Command(body)
	digest := sha256.Sum256([]byte(what))
	cmd.Header.RequestID, cmd.Header.RequestDigest = id, digest[:]
	return cmd
}

func (w *world) propose(cmd *command.Command) state.Outcome {
	w.Helper()
	o, err := w.l.Propose(context.Background(), cmd)
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func (w *world) operations() (n int) {
	w.Helper()
	if err := w.l.View().Operations("", func(*state.Operation) bool { n++; return true }); err != nil {
		w.Fatal(err)
	}
	return n
}

func TestRepeatGetsTheFirstAnswer(t *testing.T) {
	w := newWorld(t)
	id := uuid(w.l.Clock().At(), 1)
	first := w.propose(w.request(id, "create ci", newKey(ci, w.nodes...)))
	if !first.OK() || first.Replayed {
		t.Fatalf("outcome %+v", first)
	}
	size := w.l.View().Position().LogSize
	// The same request, planned anew at another time with other ids.
	again := w.propose(w.request(id, "create ci", newKey(ci, w.nodes[0])))
	if !again.OK() || !again.Replayed || again.Subject != first.Subject || again.Key != first.Key {
		t.Errorf("the repeat got %+v", again)
	}
	if w.l.View().Position().LogSize != size || len(w.l.View().Instances(ci, 1)) != 3 {
		t.Error("the repeat was carried out")
	}
	op, err := w.l.View().Operation(ledgertest.Admin, id)
	if err != nil || op == nil || op.Outcome.Index != first.Index || op.Kind != command.KindCreateKey {
		t.Errorf("operation %+v, %v", op, err)
	}
	if k := w.l.View().Key(ci); k.Created.RequestID != id {
		t.Errorf("created %+v", k.Created)
	}
	if o := op.Answer(make([]byte, 32)); o.Code != state.RequestIDReused {
		t.Errorf("answer to another body: %+v", o)
	}
}

func TestReusedRequestID(t *testing.T) {
	w := newWorld(t)
	id := uuid(w.l.Clock().At(), 1)
	w.propose(w.request(id, "create ci", newKey(ci, w.nodes...)))
	if o := w.propose(w.request(id, "create other", newKey("other", w.nodes...))); o.Code != state.RequestIDReused {
		t.Errorf("outcome %+v", o)
	}
	if w.l.View().Key("other") != nil {
		t.Error("the second request was carried out")
	}
	// Another principal's ids are its own.
	cmd := w.request(id, "create other", newKey("other", w.nodes...))
	cmd.Header.Actor = "bob"
	if o := w.propose(cmd); !o.OK() || o.Replayed {
		t.Errorf("outcome %+v", o)
	}
}

func TestRequestIDsOutOfTime(t *testing.T) {
	w := newWorld(t)
	now := w.l.Clock().At()
	for at, want := range map[lifecycle.Instant]state.Code{
		now.Add(-lifecycle.Day): state.OK, now.Add(-lifecycle.Day) - 1: state.StaleRequestID, 1: state.StaleRequestID,
		now.Add(lifecycle.Hour): state.OK, now.Add(lifecycle.Hour) + 1: state.StaleRequestID,
	} {
		if o := w.propose(w.request(uuid(at, 1), "mark", &command.MarkCheckpoint{})); o.Code != want {
			t.Errorf("an id of %s at %s: %+v, want %q", at, now, o, want)
		}
	}
	if n := w.operations(); n != 2 {
		t.Errorf("%d operations are remembered", n)
	}
}

// TestRefusalIsRememberedAndNothingElse: the row of the operation is the one trace.
func TestRefusalIsRememberedAndNothingElse(t *testing.T) {
	w := newWorld(t)
	before, id := dump(w.l.Rows()), uuid(w.l.Clock().At(), 1)
	first := w.propose(w.request(id, "activate", activate(1)))
	if first.Code != state.KeyNotFound {
		t.Fatalf("outcome %+v", first)
	}
	added := diff(before, dump(w.l.Rows()))
	if bytes.Count([]byte(added), []byte("\n")) != 1 || added[:len("+ operations ")] != "+ operations " {
		t.Errorf("the refusal left:\n%s", added)
	}
	w.bound(1)
	again := w.propose(w.request(id, "activate", activate(1)))
	if again.Code != state.KeyNotFound || !again.Replayed || again.Detail != first.Detail {
		t.Errorf("the repeat got %+v", again)
	}
	w.state(1, lifecycle.PreActivation)
}

// TestConflictIsNotRemembered: the authority plans again under the same id.
func TestConflictIsNotRemembered(t *testing.T) {
	w := newWorld(t).active(1)
	id, v := uuid(w.l.Clock().At(), 1), w.version(1)
	cmd := w.request(id, "suspend", suspend(1))
	stale := state.RefVersion(v)
	stale.Rev--
	cmd.Header.Reads = []command.RowRef{stale}
	before := dump(w.l.Rows())
	if o := w.propose(cmd); o.Code != state.Conflict {
		t.Fatalf("outcome %+v", o)
	}
	if after := dump(w.l.Rows()); after != before {
		t.Errorf("the conflict left:\n%s", diff(before, after))
	}
	cmd = w.request(id, "suspend", suspend(1))
	cmd.Header.Reads = []command.RowRef{state.RefVersion(v), state.RefKey(w.l.View().Key(ci)), state.RefInstance(w.instance(1, 0)),
		state.RefNode(w.l.View().Node(w.nodes[0])), state.RefPrincipal(w.l.View().Principal(ledgertest.Admin)), state.RefCluster(w.l.View().Cluster()),
		{Table: "keys", Key: "absent"}}
	if o := w.propose(cmd); !o.OK() || o.Replayed {
		t.Errorf("outcome %+v", o)
	}
}

// TestEveryWriteMovesTheRevision of exactly the rows it wrote.
func TestEveryWriteMovesTheRevision(t *testing.T) {
	w := newWorld(t).active(1)
	for _, b := range []command.Body{suspend(1), resume(1), report(w.nodes[0], 1, lifecycle.Lost), report(w.nodes[0], 1, lifecycle.Ready), deactivate(1)} {
		read := state.RefVersion(w.version(1))
		inst := state.RefInstance(w.instance(1, 0))
		o := w.ok(b)
		_, ofInstance := b.(*command.ReportCondition)
		if moved := w.version(1).Rev == o.Index; moved == ofInstance {
			t.Errorf("%s: the version's revision is %d, the entry %d", b.Kind(), w.version(1).Rev, o.Index)
		}
		if moved := w.instance(1, 0).Rev == o.Index; moved != ofInstance {
			t.Errorf("%s: the instance's revision is %d, the entry %d", b.Kind(), w.instance(1, 0).Rev, o.Index)
		}
		if ofInstance {
			w.no(state.Conflict, b, inst)
		} else {
			w.no(state.Conflict, b, read)
		}
	}
	w.no(state.Conflict, suspend(1), command.RowRef{Table: "keys", Key: "absent", Rev: 1})
	w.no(state.Conflict, suspend(1), command.RowRef{Table: "keys", Key: string(ci)})
}

// TestNewRowsHaveTheRevisionOfTheirEntry, every one of them.
func TestNewRowsHaveTheRevisionOfTheirEntry(t *testing.T) {
	w := newWorld(t)
	o := w.ok(newKey(ci, w.nodes...))
	revs := []uint64{w.l.View().Key(ci).Rev, w.version(1).Rev, w.instance(1, 0).Rev, w.instance(1, 1).Rev, w.instance(1, 2).Rev}
	w.ok(bind(ci, 1, w.nodes[0]))
	o2 := w.ok(activate(1))
	revs2 := []uint64{w.l.View().Key(ci).Rev, w.version(1).Rev, w.instance(1, 0).Rev}
	for _, r := range revs {
		if r != o.Index {
			t.Errorf("revisions %v of rows that entry %d made", revs, o.Index)
		}
	}
	for _, r := range revs2 {
		if r != o2.Index {
			t.Errorf("revisions %v of rows that entry %d changed", revs2, o2.Index)
		}
	}
}

// TestOldRequestsAreForgottenInSmallSteps: two for each new one, oldest first, none
// that could still be repeated.
func TestOldRequestsAreForgottenInSmallSteps(t *testing.T) {
	w := newWorld(t)
	const old = 9
	for n := range old {
		w.propose(w.request(uuid(w.l.Clock().At(), n), "mark", &command.MarkCheckpoint{}))
	}
	w.pass(12 * lifecycle.Hour)
	w.propose(w.request(uuid(w.l.Clock().At(), 0), "mark", &command.MarkCheckpoint{}))
	if n := w.operations(); n != old+1 {
		t.Fatalf("%d operations, want %d: nothing is a day old", n, old+1)
	}
	w.pass(12*lifecycle.Hour + 1)
	w.ok(&command.MarkCheckpoint{}) // moves the clock, and forgets nothing without a request of its own
	for n, want := range []int{9, 8, 7, 6, 6, 7} {
		w.propose(w.request(uuid(w.l.Clock().At(), n), "mark", &command.MarkCheckpoint{}))
		if got := w.operations(); got != want {
			t.Fatalf("after %d new requests %d are remembered, want %d", n+1, got, want)
		}
	}
}
