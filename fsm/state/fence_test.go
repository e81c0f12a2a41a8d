package state_test

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// open proposes a command whose fence nobody closes.
func (w *world) open(body command.Body) *lifecycle.Fence {
	w.Helper()
	w.l.HoldFences(true)
	return w.fence(body)
}

// fence proposes a command and gives what became of its fence by then.
func (w *world) fence(body command.Body) *lifecycle.Fence {
	w.Helper()
	o := w.ok(body)
	f := w.l.View().Fence(o.Index)
	if f == nil {
		w.Fatalf("%s opened no fence", body.Kind())
	}
	return f
}

// system proposes what only the cluster says.
func (w *world) system(body command.Body) state.Outcome {
	w.Helper()
	cmd := w.l.Command(body)
	cmd.Header.Actor = "system"
	return w.propose(cmd)
}

func (w *world) fenced(indexes ...uint64) state.Outcome {
	w.Helper()
	c := &command.RecordFenced{Term: 1}
	for _, n := range indexes {
		nodes := []lifecycle.FencedNode{{Node: w.nodes[0], Outcome: lifecycle.Acked, Boot: ledgertest.Boot(w.nodes[0]), At: w.l.Clock().At()},
			{Node: w.nodes[1], Outcome: lifecycle.LeaseExpired, At: w.l.Clock().At()}}
		slices.SortFunc(nodes, func(a, b lifecycle.FencedNode) int { return slices.Compare([]byte(a.Node), []byte(b.Node)) })
		c.Fences = append(c.Fences, command.FencedAt{Index: n, Nodes: nodes})
	}
	return w.system(c)
}

func (w *world) settled(indexes ...uint64) state.Outcome {
	w.Helper()
	return w.system(&command.RecordSettled{Indexes: indexes})
}

// change is SetPolicy of ci with one thing changed.
func (w *world) change(edit func(*lifecycle.Policy)) *command.SetPolicy {
	p := w.l.View().Key(ci).Policy
	edit(&p)
	return &command.SetPolicy{Key: ci, Policy: p}
}

func terms(lease, age lifecycle.Milliseconds) *command.SetSettings {
	s := lifecycle.DefaultSettings()
	s.Lease, s.RequestAge = lease, age
	return &command.SetSettings{Settings: s}
}

func signer(name, keys string, certs ...string) *command.AddPrincipal {
	p := person(name, certs...)
	p.Principal.Grants = []lifecycle.Grant{{Role: lifecycle.Signer, Keys: keys}}
	return p
}

// narrowing is every way a right to sign is taken away, on a cluster where version 1
// is deactivated, version 2 active and version 3 published.
var narrowing = []struct {
	name     string
	body     func(*world) command.Body
	cause    string
	versions []uint64
	subject  string
}{
	{"revoke a key", func(*world) command.Body { return revoke(lifecycle.KeyCompromise) }, "key.revoked", []uint64{1, 2, 3}, ""},
	{"revoke a version", func(*world) command.Body { return revoke(lifecycle.Superseded, 2) }, "key.revoked", []uint64{2}, ""},
	{"hold a version", func(*world) command.Body { return revoke(lifecycle.CertificateHold, 2) }, "key.suspended", []uint64{2}, ""},
	{"revoke an ended version", func(*world) command.Body { return revoke(lifecycle.KeyCompromise, 1) }, "key.revoked", []uint64{1}, ""},
	{"revoke an instance", func(w *world) command.Body {
		return &command.Revoke{Key: ci, Versions: []uint64{2}, Node: w.nodes[1], Reason: lifecycle.Unspecified}
	}, "instance.lost", []uint64{2}, "beta"},
	{"revoke every instance of a node", func(w *world) command.Body {
		return &command.Revoke{Key: ci, Node: w.nodes[1], Reason: lifecycle.KeyCompromise}
	}, "instance.compromised", []uint64{1, 2, 3}, "beta"},
	{"replace a key", func(w *world) command.Body { return emergency(w, 4) }, "key.replaced", []uint64{1, 2, 3}, ""},
	{"replace a version", func(w *world) command.Body { return emergency(w, 4, 2) }, "key.replaced", []uint64{2, 3}, ""},
	{"roll back", func(*world) command.Body { return rollBack(3) }, "key.rolled_back", []uint64{3}, ""},
	{"suspend", func(*world) command.Body { return suspend(2) }, "key.suspended", []uint64{2}, ""},
	{"deactivate", func(*world) command.Body { return deactivate(2) }, "key.deactivated", []uint64{2}, ""},
	{"activate the successor", func(*world) command.Body { return early(3) }, "key.deactivated", []uint64{2}, ""},
	{"an input less", func(w *world) command.Body {
		return w.change(func(p *lifecycle.Policy) { p.Inputs = nil })
	}, "key.policy_changed", nil, ""},
	{"callers named", func(w *world) command.Body {
		return w.change(func(p *lifecycle.Policy) { p.AllowedCallers = []string{"alice"} })
	}, "key.policy_changed", nil, ""},
	{"strict", func(w *world) command.Body {
		return w.change(func(p *lifecycle.Policy) { p.Strict = true })
	}, "key.policy_changed", nil, ""},
	{"revoke a principal", func(*world) command.Body { return &command.RevokePrincipal{Name: "bob"} }, "principal.revoked", nil, "bob"},
	{"take a role", func(*world) command.Body { return replace(signer("bob", "ci-x", certA)) }, "principal.changed", nil, "bob"},
	{"take a certificate", func(*world) command.Body { return replace(signer("bob", "ci*", certB)) }, "principal.changed", nil, "bob"},
	{"revoke a token", func(*world) command.Body { return &command.RevokeToken{ID: "token-bob-1"} }, "token.revoked", nil, "token-bob-1"},
	{"quarantine", func(w *world) command.Body {
		return &command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Quarantined}
	}, "node.quarantined", nil, "gamma"},
	{"take a node's signing", func(w *world) command.Body {
		return &command.SetNodeRoles{ID: w.nodes[2], Voter: true}
	}, "node.roles_changed", nil, "gamma"},
	{"shorten the lease", func(*world) command.Body { return terms(2000, 2000) }, "cluster.settings_changed", nil, ""},
	{"shorten the request age", func(*world) command.Body { return terms(3000, 1000) }, "cluster.settings_changed", nil, ""},
}

func narrowWorld(t testing.TB) *world {
	w := newWorld(t).deactivated(1).published(3)
	w.ok(signer("bob", "ci*", certA))
	w.ok(w.token("token-bob-1", "bob"))
	w.ok(w.token("token-bob-2", "bob"))
	return w
}

func TestEveryNarrowingVerbOpensOneFence(t *testing.T) {
	for _, c := range narrowing {
		t.Run(c.name, func(t *testing.T) {
			w := narrowWorld(t)
			w.l.HoldFences(true)
			body := c.body(w)
			o := w.ok(body)
			open := w.l.View().OpenFences()
			if len(open) != 1 {
				t.Fatalf("%d fences are open, want 1", len(open))
			}
			f := open[0]
			key := ci
			if c.subject != "" && c.subject != "beta" || c.cause == "cluster.settings_changed" {
				key = ""
			}
			if f.Index != o.Index || f.Cause != c.cause || f.Key != key || !slices.Equal(f.Versions, c.versions) || f.Subject != c.subject ||
				f.Actor != ledgertest.Admin || f.OpenedAt != w.l.View().Clock() || f.FencedAt != 0 || f.SettledAt != 0 {
				t.Errorf("fence %+v", f)
			}
			if got := w.l.View().Fence(o.Index); got != f {
				t.Errorf("by index: %+v", got)
			}
			w.l.HoldFences(false)
			if f = w.l.View().Fence(o.Index); f == nil || f.FencedAt == 0 || f.SettledAt == 0 || f.FencedIndex != o.Index+1 || f.SettledIndex != o.Index+2 {
				t.Errorf("in the end: %+v", f)
			}
		})
	}
}

func TestWideningOpensNoFence(t *testing.T) {
	w := narrowWorld(t)
	w.ok(suspend(2))
	w.quarantine(2)
	last := w.l.View().Position().Index
	w.l.HoldFences(true)
	for _, body := range []command.Body{
		resume(2), person("carol"), replace(signer("bob", "*", certA, certB)), w.token("token-bob-3", "bob"),
		&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Member}, &command.SetNodeRoles{ID: w.nodes[1], Voter: true, Signer: true},
		w.change(func(p *lifecycle.Policy) { p.MaxTTL, p.Types = 2*lifecycle.Hour, append(p.Types, "at+jwt") }),
		w.change(func(p *lifecycle.Policy) {
			p.RotateEvery, p.MaxTTL, p.Types = 40*lifecycle.Day, 2*lifecycle.Hour, append(p.Types, "at+jwt")
		}), terms(5000, 2000), newKey("other", w.nodes...),
		withdrawNow(w), destroyAt(1, w.l.Clock().At().Add(30*lifecycle.Day)), &command.MarkCheckpoint{},
		&command.ReportSeal{Node: w.nodes[0], ID: "0011223344556677", By: "root", SealedAt: 5}, &command.LiftSeal{Node: w.nodes[0], ID: "0011223344556677"},
		w.tally(0, 7, 3), confirmPurpose(w, lifecycle.Day),
		&command.RotateGossipKey{Digest: bytes.Repeat([]byte{7}, 32)},
		w.registering(verifier(eu, lifecycle.Required, 2, ci)), w.enrolling(eu, "token-0042"), &command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Observer, 2, ci)},
		&command.WaiveConsumer{Consumer: eu, Key: ci, Version: 1, Gate: lifecycle.GateWithdraw, Until: w.now().Add(lifecycle.Day), Comment: "down"},
	} {
		w.ok(body)
		if open := w.l.View().OpenFences(); len(open) != 0 {
			t.Fatalf("%s opened %+v", body.Kind(), open[0])
		}
	}
	if v := w.l.View(); v.Fence(last+1) != nil || v.Fence(0) != nil {
		t.Error("there is a fence nobody opened")
	}
}

// withdrawNow lets the verify window of version 1 pass first.
func withdrawNow(w *world) command.Body {
	w.pass(3 * lifecycle.Hour)
	return withdraw(1)
}

func TestRefusalOpensNoFence(t *testing.T) {
	w := narrowWorld(t)
	w.l.HoldFences(true)
	w.no(state.IllegalTransition, deactivate(1))
	w.no(state.LeadNotPassed, activate(3)) // it had retired version 2 already when it failed
	w.no(state.IllegalTransition, &command.RevokePrincipal{Name: ledgertest.Admin})
	if open := w.l.View().OpenFences(); len(open) != 0 {
		t.Errorf("open: %+v", open[0])
	}
}

func TestFenceIsRecorded(t *testing.T) {
	w := newWorld(t).active(1)
	f := w.open(revoke(lifecycle.KeyCompromise, 1))
	w.l.HoldSettling(true)
	if r := w.version(1).Revocation; r.Index != f.Index || r.FencedAt != 0 {
		t.Errorf("revocation %+v", r)
	}
	if o := w.settled(f.Index); o.Code != state.AlreadyExists {
		t.Errorf("settled before it stands: %+v", o)
	}
	w.pass(lifecycle.Second)
	o := w.fenced(f.Index)
	if !o.OK() {
		t.Fatalf("%+v", o)
	}
	v := w.l.View()
	got := v.Fence(f.Index)
	if got.FencedAt != v.Clock() || got.FencedIndex != o.Index || len(got.Nodes) != 2 || got.SettledAt != 0 || len(v.OpenFences()) != 0 || len(v.UnsettledFences()) != 1 {
		t.Errorf("fence %+v", got)
	}
	for _, r := range []*lifecycle.Revocation{w.version(1).Revocation, w.instance(1, 0).Revocation, w.instance(1, 2).Revocation} {
		if r.FencedAt != v.Clock() || r.SettledAt != 0 || r.Reason != lifecycle.KeyCompromise {
			t.Errorf("revocation %+v", r)
		}
	}
	w.pass(lifecycle.Second)
	if o := w.settled(f.Index); !o.OK() {
		t.Fatalf("%+v", o)
	}
	v = w.l.View()
	if got = v.Fence(f.Index); got.SettledAt != v.Clock() || got.FencedAt >= got.SettledAt || len(v.UnsettledFences()) != 0 {
		t.Errorf("fence %+v", got)
	}
	if r := w.instance(1, 1).Revocation; r.SettledAt != got.SettledAt || r.FencedAt != got.FencedAt {
		t.Errorf("revocation %+v", r)
	}
	w.fenceLeaves(f.Index, got)
}

// fenceLeaves looks for what the log says of a fence.
func (w *world) fenceLeaves(index uint64, f *lifecycle.Fence) {
	w.Helper()
	var kinds []string
	if err := w.l.View().Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Fence == index {
			kinds = append(kinds, l.Kind)
			if l.Actor != "system" || l.Key != f.Key || l.Reason != f.Cause || l.Kind == f.Event("fenced") && !reflect.DeepEqual(l.Nodes, f.Nodes) {
				w.Errorf("leaf %+v", l)
			}
		}
		return true
	}); err != nil {
		w.Fatal(err)
	}
	if want := []string{f.Event("fenced"), f.Event("settled")}; !slices.Equal(kinds, want) {
		w.Errorf("the log says %v, want %v", kinds, want)
	}
}

// TestRecordFencedIsIdempotent: two leaders may both find out, and either may name
// fences that the other has closed or that nobody ever opened.
func TestRecordFencedIsIdempotent(t *testing.T) {
	w := newWorld(t).active(1)
	w.l.HoldSettling(true)
	f := w.open(suspend(1))
	first := w.fenced(f.Index)
	before, size := dump(w.l.Rows()), w.l.View().Position().LogSize
	for _, o := range []state.Outcome{w.fenced(f.Index), w.fenced(1, f.Index, 1<<40), w.settled(1, 1<<40)} {
		if o.Code != state.AlreadyExists || o.Detail == "" {
			t.Errorf("outcome %+v", o)
		}
	}
	if after := dump(w.l.Rows()); after != before || w.l.View().Position().LogSize != size {
		t.Errorf("it left a trace:\n%s", diff(before, after))
	}
	g := w.open(deactivate(1))
	if o := w.fenced(1, f.Index, g.Index); !o.OK() {
		t.Errorf("one of three is open: %+v", o)
	}
	if v := w.l.View(); v.Fence(f.Index).FencedIndex != first.Index || v.Fence(g.Index).FencedAt == 0 {
		t.Errorf("fences %+v and %+v", v.Fence(f.Index), v.Fence(g.Index))
	}
}

func TestOnlyTheClusterClosesFences(t *testing.T) {
	w := newWorld(t).active(1)
	f := w.open(suspend(1))
	w.no(state.Invalid, &command.RecordFenced{Term: 1, Fences: []command.FencedAt{{Index: f.Index}}})
	w.l.HoldSettling(true)
	w.fenced(f.Index)
	w.no(state.Invalid, &command.RecordSettled{Indexes: []uint64{f.Index}})
}

func TestFencesAreForgotten(t *testing.T) {
	w := newWorld(t).active(1)
	var old []uint64
	more := func(n int) {
		for range n {
			old = append(old, w.fence(suspend(1)).Index)
			w.ok(resume(1))
		}
	}
	more(5)
	held := w.open(suspend(1)) // one that waits is never forgotten
	w.pass(state.FencesKept)
	w.ok(resume(1))
	if w.l.View().Fence(old[0]) == nil {
		t.Error("a fence was forgotten within its time")
	}
	w.pass(lifecycle.Second)
	w.l.HoldFences(false)
	more(3)
	v := w.l.View()
	for i, index := range old {
		if got := v.Fence(index) != nil; got != (i >= 5) {
			t.Errorf("fence %d of %d is there: %t", i, len(old), got)
		}
	}
	if v.Fence(held.Index) == nil {
		t.Error("a fence was forgotten before it was settled")
	}
}

// TestFencesSurviveARestart in each of their phases.
func TestFencesSurviveARestart(t *testing.T) {
	w := newWorld(t).active(1)
	done := w.fence(suspend(1))
	w.ok(resume(1))
	w.l.HoldSettling(true)
	standing := w.fence(suspend(1))
	w.ok(resume(1))
	open := w.open(suspend(1))

	l := ledgertest.New(t, ledgertest.WithState(w.l.Rows()), ledgertest.WithNode(w.l.NodeID()))
	v := l.View()
	for _, want := range []*lifecycle.Fence{done, standing, open} {
		if got := v.Fence(want.Index); !reflect.DeepEqual(got, want) {
			t.Errorf("fence %+v came back as %+v", want, got)
		}
	}
	if o, s := v.OpenFences(), v.UnsettledFences(); len(o) != 1 || o[0].Index != open.Index || len(s) != 1 || s[0].Index != standing.Index {
		t.Errorf("open %+v, unsettled %+v", o, s)
	}
}

func TestFencesCountInTheDigest(t *testing.T) {
	w := newWorld(t).active(1)
	f := w.open(suspend(1))
	rows := ledgertest.Restore(w.l.Rows())
	with, key := scan(rows), ""
	rows.Ascend(state.TableFences, "", func(k string, _ []byte) bool { key = k; return true })
	rows.Delete(state.TableFences, key)
	if scan(rows) == with || key == "" {
		t.Errorf("the row of fence %d does not count", f.Index)
	}
}

// TestLookingForOpenFencesIsCheap: a leader looks after every entry.
func TestLookingForOpenFencesIsCheap(t *testing.T) {
	w := newWorld(t).active(1)
	cost := func() float64 {
		v := w.l.View()
		return testing.AllocsPerRun(100, func() {
			if len(v.OpenFences())+len(v.UnsettledFences()) != 0 {
				t.Fatal("a fence is open")
			}
		})
	}
	none := cost()
	for range 50 {
		w.ok(suspend(1))
		w.ok(resume(1))
	}
	if many := cost(); many > none {
		t.Errorf("%v allocations with 50 fences settled, %v with none", many, none)
	}
}

func TestRemovalWaitsForTheFence(t *testing.T) {
	w := newWorld(t)
	remove := &command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Removed}
	w.no(state.NodeNotQuarantine, remove)
	f := w.open(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Quarantined})
	if n := w.l.View().Node(w.nodes[2]); n.QuarantineIndex != f.Index {
		t.Errorf("node %+v", n)
	}
	w.no(state.NotFenced, remove)
	w.ok(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Member})
	if n := w.l.View().Node(w.nodes[2]); n.QuarantineIndex != 0 {
		t.Errorf("readmitted: %+v", n)
	}
	again := w.open(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Quarantined})
	w.fenced(f.Index)
	w.no(state.NotFenced, remove) // the fence of an earlier quarantine says nothing of this one
	w.fenced(again.Index)
	w.ok(remove)
	if n := w.l.View().Node(w.nodes[2]); n.Status != lifecycle.Removed || n.QuarantineIndex != 0 {
		t.Errorf("removed: %+v", n)
	}
}

// TestRemovalLongAfterTheFence: it was forgotten meanwhile.
func TestRemovalLongAfterTheFence(t *testing.T) {
	w := newWorld(t).active(1)
	w.quarantine(2)
	w.pass(state.FencesKept + lifecycle.Second)
	for range 3 {
		w.ok(suspend(1))
		w.ok(resume(1))
	}
	if f := w.l.View().Fence(w.l.View().Node(w.nodes[2]).QuarantineIndex); f != nil {
		t.Fatalf("still there: %+v", f)
	}
	w.ok(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Removed})
}

func TestShortenedTermsHaveACeiling(t *testing.T) {
	w := newWorld(t)
	check := func(what string, lease, age lifecycle.Milliseconds) {
		t.Helper()
		c := w.l.View().Cluster()
		if l, a := c.LongestTerms(); l != lease || a != age {
			t.Errorf("%s: a waiter goes by %s and %s, want %s and %s (%+v)", what, l, a, lease, age, c)
		}
	}
	check("at first", 3000, 2000)
	w.ok(terms(10_000, 5000))
	check("longer", 10_000, 5000)
	w.l.HoldSettling(true)
	first := w.open(terms(5000, 5000))
	check("shorter", 10_000, 5000)
	second := w.open(terms(2000, 1000))
	check("shorter again", 10_000, 5000)
	w.fenced(first.Index)
	check("the first fence stands", 10_000, 5000)
	w.fenced(second.Index)
	check("the second stands", 2000, 5000)
	w.settled(first.Index)
	check("the first is settled", 2000, 5000)
	w.settled(second.Index)
	check("the second is settled", 2000, 1000)
	if c := w.l.View().Cluster(); c.CeilingIndex != 0 || c.LeaseCeiling != 0 || c.AgeCeiling != 0 {
		t.Errorf("cluster %+v", c)
	}
}

func TestEventOfAFence(t *testing.T) {
	for cause, want := range map[string]string{"key.revoked": "key.fenced", "key.replaced": "key.fenced", "instance.lost": "key.fenced", "principal.changed": "principal.fenced",
		"token.revoked": "token.fenced", "node.quarantined": "node.fenced", "cluster.settings_changed": "cluster.fenced", "": "key.fenced"} {
		if got := (&lifecycle.Fence{Cause: cause}).Event("fenced"); got != want {
			t.Errorf("%q becomes %s, want %s", cause, got, want)
		}
	}
}

// TestNarrowingAnswersARepeat: the fence of a repeated request is the first one's.
func TestNarrowingAnswersARepeat(t *testing.T) {
	w := newWorld(t).active(1)
	cmd := w.request(uuid(w.l.Clock().At(), 1), "suspend", suspend(1))
	first := w.propose(cmd)
	again := w.propose(cmd)
	if f := w.l.View().Fence(again.Index); !again.Replayed || again.Index != first.Index || f == nil || f.RequestID != cmd.Header.RequestID {
		t.Errorf("%+v, then %+v", first, again)
	}
}
