package authority_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// loses has node2 report its instance of a key's version 1 lost.
func (w *world) loses(key lifecycle.KeyID) {
	w.t.Helper()
	w.ledger.Must(w.t, &command.ReportCondition{Key: key, Version: 1, Node: w.node2, Condition: lifecycle.Lost, Detail: "not found"})
}

// single makes a singleton key on node2, active.
func (w *world) single(name string) {
	w.t.Helper()
	s := spec(name)
	s.Custody, s.Node = string(lifecycle.Singleton), "node2"
	if _, err := w.service.CreateKey(ctx, as("admin"), s); err != nil {
		w.t.Fatal(err)
	}
	w.bind(lifecycle.KeyID(name), 1)
	w.ledger.Must(w.t, &command.ActivateVersion{Key: lifecycle.KeyID(name), Version: 1})
}

// TestReprovision: what is lost is marked for good, a next version takes its place, and
// what the node still has is left alone.
func TestReprovision(t *testing.T) {
	w := build(t)
	for _, name := range []string{"ci", "ci-kept", "ci-paused"} {
		w.create(name)
	}
	w.single("only")
	w.loses("ci")
	w.loses("ci-paused")
	w.loses("only")
	if _, err := w.service.PauseRotation(ctx, as("admin"), "ci-paused", "not now"); err != nil {
		t.Fatal(err)
	}
	node := authority.ReprovisionSpec{Node: "node2", Comment: "new HSM"}
	before := w.ledger.View().Position().Index
	plan, err := w.service.PlanReprovision(ctx, as("admin"), node)
	if err != nil || len(plan) != 3 || w.ledger.View().Position().Index != before {
		t.Fatalf("plan = %+v, %v", plan, err)
	}
	done, err := w.service.Reprovision(ctx, as("admin"), node)
	if err != nil || len(done) != 3 {
		t.Fatalf("done = %+v, %v", done, err)
	}
	if r := done[0]; r.Key != "ci" || r.NewVersion != 2 || !slices.Equal(r.Gone, []uint64{1}) || w.ledger.View().Fence(r.Outcome.Index) == nil {
		t.Errorf("ci = %+v", r)
	}
	if r := done[1]; r.Key != "ci-paused" || r.NewVersion != 0 || r.Next != "chancery key rotate ci-paused" {
		t.Errorf("ci-paused = %+v", r)
	}
	if r := done[2]; r.Key != "only" || r.NewVersion != 0 || !strings.Contains(r.Why, "only key pair is lost") || r.Next != "chancery key rotate only" {
		t.Errorf("only = %+v", r)
	}
	v := w.ledger.View()
	for _, key := range []lifecycle.KeyID{"ci", "ci-paused", "only"} {
		i := v.Instance(key, 1, w.node2)
		if i.Condition != lifecycle.Lost || i.Revocation == nil || i.Revocation.Reason != lifecycle.CessationOfOperation || !i.InTrustSet(v.Version(key, 1)) {
			t.Errorf("the old instance of %s: %+v", key, i)
		}
		o := w.ledger.Do(t, &command.ReportCondition{Key: key, Version: 1, Node: w.node2, Condition: lifecycle.Ready, Detail: "found again"})
		if o.OK() {
			t.Errorf("%s: a pair that was given up came back", key)
		}
	}
	if i := v.Instance("ci", 2, w.node2); i == nil || i.Condition != lifecycle.Pending || i.CKAID == v.Instance("ci", 1, w.node2).CKAID {
		t.Errorf("the new instance: %+v", i)
	}
	if i := v.Instance("ci-kept", 1, w.node2); i.Condition != lifecycle.Ready || v.Key("ci-kept").Newest != 1 {
		t.Errorf("what the node still has: %+v", i)
	}

	_, err = w.service.Reprovision(ctx, as("admin"), node) // nothing is left to do
	code(t, err, string(state.InstanceNotFound))
	if k := w.ledger.View().Key("ci"); k.Newest != 2 {
		t.Errorf("a repeat made version %d", k.Newest)
	}
}

// TestReprovisionAll gives up what the node has not reported, too: its old key store is in
// other hands.
func TestReprovisionAll(t *testing.T) {
	w := build(t)
	w.create("ci")
	done, err := w.service.Reprovision(ctx, as("admin"), authority.ReprovisionSpec{Node: "node2", Reason: "keyCompromise", All: true})
	if err != nil || len(done) != 1 || done[0].NewVersion != 2 {
		t.Fatalf("done = %+v, %v", done, err)
	}
	v := w.ledger.View()
	if i := v.Instance("ci", 1, w.node2); i.Condition != lifecycle.InstanceBad || i.InTrustSet(v.Version("ci", 1)) {
		t.Errorf("the old instance: %+v", i)
	}
	if i := v.Instance("ci", 1, w.ledger.NodeID()); i.Condition != lifecycle.Ready {
		t.Errorf("the other node's: %+v", i)
	}
}

// TestReprovisionAgain: a request that ended between its entries is gone on with.
func TestReprovisionAgain(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.loses("ci")
	if _, err := w.service.RotateKey(ctx, as("admin"), "ci"); err != nil { // and then the leader died
		t.Fatal(err)
	}
	done, err := w.service.Reprovision(ctx, as("admin"), authority.ReprovisionSpec{Node: "node2"})
	if err != nil || len(done) != 1 || done[0].NewVersion != 0 || !strings.Contains(done[0].Why, "version 2 is being prepared already") {
		t.Fatalf("done = %+v, %v", done, err)
	}
	if k := w.ledger.View().Key("ci"); k.Newest != 2 {
		t.Errorf("version %d was made", k.Newest)
	}
}

// TestReprovisionRefused: by default nothing is given up.
func TestReprovisionRefused(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.loses("ci")
	for want, c := range map[string]struct {
		as   string
		spec authority.ReprovisionSpec
	}{
		"denied":                       {"op", authority.ReprovisionSpec{Node: "node2"}},
		string(state.NodeNotFound):     {"admin", authority.ReprovisionSpec{Node: "ghost"}},
		string(state.InstanceNotFound): {"admin", authority.ReprovisionSpec{Node: "n1"}},
		"invalid":                      {"admin", authority.ReprovisionSpec{Node: "node2", Reason: "certificateHold"}},
	} {
		_, err := w.service.Reprovision(ctx, as(c.as), c.spec)
		code(t, err, want)
	}
	if i := w.ledger.View().Instance("ci", 1, w.node2); i.Revocation != nil {
		t.Error("a refused request marked an instance")
	}
	if _, err := w.service.QuarantineNode(ctx, as("admin"), "node2", "", false); err != nil {
		t.Fatal(err)
	}
	_, err := w.service.Reprovision(ctx, as("admin"), authority.ReprovisionSpec{Node: "node2"})
	code(t, err, "not_ready")
}
