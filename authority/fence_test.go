package authority_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestAwaitFence: the wait ends with the fence, not before it and not with another.
func TestAwaitFence(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.create("ci-2")
	w.ledger.HoldFences(true)
	w.ledger.HoldSettling(true)
	r, err := w.service.SuspendVersion(ctx, as("op"), authority.VersionSpec{Key: "ci"})
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, reached := w.service.Await(short, r.Outcome, authority.Fenced); reached {
		t.Fatal("fenced, and no node has acknowledged")
	}
	if _, reached := w.service.Await(ctx, r.Outcome, authority.Committed); !reached {
		t.Error("not committed")
	}
	done := make(chan bool)
	go func() {
		_, reached := w.service.Await(ctx, r.Outcome, authority.Fenced)
		done <- reached
	}()
	w.ledger.Must(t, &command.MarkCheckpoint{}) // another entry wakes the wait and does not end it
	select {
	case <-done:
		t.Fatal("another entry ended the wait")
	case <-time.After(20 * time.Millisecond):
	}
	w.ledger.HoldFences(false)
	if !<-done {
		t.Error("the fence stands, and the wait ended without it")
	}
	short, cancel = context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, reached := w.service.Await(short, r.Outcome, authority.Settled); reached {
		t.Error("settled too early")
	}
	w.ledger.HoldSettling(false)
	if _, reached := w.service.Await(ctx, r.Outcome, authority.Settled); !reached {
		t.Error("not settled")
	}
}

// TestAwaitOnANodeThatIsBehind waits for the entry itself first: a View that does not
// know the fence yet says nothing.
func TestAwaitOnANodeThatIsBehind(t *testing.T) {
	w := build(t)
	w.create("ci")
	ahead := state.Outcome{Index: w.ledger.View().Position().Index + 1}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, reached := w.service.Await(short, ahead, authority.Fenced); reached {
		t.Error("a node that is behind said fenced")
	}
	w.ledger.Must(t, &command.MarkCheckpoint{})
	if _, reached := w.service.Await(ctx, ahead, authority.Fenced); !reached {
		t.Error("an entry that took nothing away is waited for")
	}
}

// TestLevelsFollowTheFence: the same verb has them or not, by what it did.
func TestLevelsFollowTheFence(t *testing.T) {
	w := build(t)
	w.create("ci")
	k := w.ledger.View().Key("ci")
	wide, narrow := k.Policy, k.Policy
	wide.Inputs = []string{lifecycle.InputMessage, lifecycle.InputDigest, lifecycle.InputJWS}
	narrow.Inputs = []string{lifecycle.InputDigest}
	for _, c := range []struct {
		p    lifecycle.Policy
		want int
	}{{wide, 1}, {narrow, 3}} {
		r, err := w.service.SetPolicy(ctx, as("op"), "ci", 0, command.SetPolicy{Policy: c.p})
		if err != nil {
			t.Fatal(err)
		}
		if levels := authority.LevelsOf(w.ledger.View(), command.KindSetPolicy, r.Outcome); len(levels) != c.want {
			t.Errorf("inputs %v: levels %v", c.p.Inputs, levels)
		}
	}
}

// TestPlanTellsTheFence: a plan says whether it would take something away, and does not.
func TestPlanTellsTheFence(t *testing.T) {
	w := build(t)
	w.create("ci")
	plan := as("op")
	plan.DryRun = true
	before := w.ledger.View().Position()
	r, err := w.service.Revoke(ctx, plan, authority.RevokeSpec{Key: "ci", Reason: "superseded"})
	if err != nil || r.Fence == nil || r.Fence.Key != "ci" || len(r.Fence.Versions) != 1 {
		t.Errorf("a plan to revoke = %+v, %v", r, err)
	}
	plan = as("op")
	plan.DryRun = true
	r, err = w.service.RotateKey(ctx, plan, "ci")
	if err != nil || r.Fence != nil {
		t.Errorf("a plan to rotate = %+v, %v", r.Fence, err)
	}
	if w.ledger.View().Position().Index != before.Index {
		t.Error("a plan changed something")
	}
}

// TestRemoveNodeAfterItsFence: quarantine, fence, and only then the removal.
func TestRemoveNodeAfterItsFence(t *testing.T) {
	w := build(t)
	w.ledger.HoldFences(true)
	spec := authority.RemoveSpec{Node: "node2", Reason: "burnt down", Lost: true, Patience: 20 * time.Millisecond}
	req := as("admin")
	_, err := w.service.RemoveNode(ctx, req, spec)
	code(t, err, string(state.NotFenced))
	if n := w.ledger.View().Node(w.node2); n.Status != lifecycle.Quarantined || len(w.members.calls) != 0 {
		t.Fatalf("before the fence the node is %s, calls %v", n.Status, w.members.calls)
	}
	_, err = w.service.RemoveNode(ctx, as("aud"), spec)
	code(t, err, "denied")
	_, err = w.service.RemoveNode(ctx, as("admin"), spec) // quarantined already: waits for the same fence
	code(t, err, string(state.NotFenced))
	w.ledger.HoldFences(false)
	if _, err = w.service.RemoveNode(ctx, req, spec); err != nil {
		t.Fatal(err)
	}
	if n := w.ledger.View().Node(w.node2); n.Status != lifecycle.Removed || len(w.members.calls) != 1 || !strings.HasPrefix(w.members.calls[0], "remove ") {
		t.Errorf("removed = %+v, calls %v", n, w.members.calls)
	}
}

// TestWithdrawalBounds: what is pending has a bound, what is over has none.
func TestWithdrawalBounds(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.ledger.HoldFences(true)
	w.ledger.HoldSettling(true)
	w.ledger.Unreachable(w.node2)
	r, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"})
	if err != nil {
		t.Fatal(err)
	}
	look := func(after lifecycle.Milliseconds) authority.Withdrawal {
		v := w.ledger.View()
		f := v.Fence(r.Outcome.Index)
		return authority.WithdrawalOf(v, f, f.OpenedAt.Add(after))
	}
	b := authority.BoundsOf(w.ledger.View())
	if b.Lease != 3750 || b.Fenced != 4250 || b.Settled != 7250 {
		t.Errorf("bounds = %+v", b)
	}
	open := look(0)
	if open.FencedBy != open.OpenedAt.Add(b.Fenced) || open.SettledBy != open.OpenedAt.Add(b.Settled) || len(open.Ends) != 2 {
		t.Errorf("open = %+v", open)
	}
	for _, e := range open.Ends {
		if e.Outcome != "" || e.At != 0 || e.By != open.OpenedAt.Add(b.Lease) {
			t.Errorf("pending = %+v", e)
		}
	}
	if late := look(lifecycle.Minute); late.FencedBy <= late.OpenedAt.Add(lifecycle.Minute) {
		t.Errorf("after an election the bound lies in the past: %s", late.FencedBy)
	}
	w.ledger.HoldFences(false)
	fenced := look(lifecycle.Second)
	if fenced.FencedBy != 0 || fenced.SettledBy == 0 || len(fenced.Ends) != 2 {
		t.Errorf("fenced = %+v", fenced)
	}
	for _, e := range fenced.Ends {
		if want := map[bool]lifecycle.FenceOutcome{true: lifecycle.LeaseExpired, false: lifecycle.Acked}[e.Node == w.node2]; e.Outcome != want || e.By != 0 {
			t.Errorf("end = %+v, want %s", e, want)
		}
	}
	w.ledger.HoldSettling(false)
	if settled := look(lifecycle.Second); settled.SettledBy != 0 || settled.SettledAt == 0 {
		t.Errorf("settled = %+v", settled)
	}
}
