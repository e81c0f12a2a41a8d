package state_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const eu = "deploy-eu"

func verifier(name string, class lifecycle.ConsumerClass, expect int, keys ...lifecycle.KeyID) command.ConsumerRecord {
	return command.ConsumerRecord{Name: name, Owner: "deploy", Contact: "deploy@example.com", Class: class, Expect: expect, Keys: keys, Lifetime: lifecycle.Day}
}

func secretHash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func (w *world) registering(r command.ConsumerRecord) *command.RegisterConsumer {
	return &command.RegisterConsumer{Consumer: r, Enrolment: command.Enrolment{Hash: secretHash("enrol " + r.Name), ExpiresAt: w.l.Clock().At().Add(lifecycle.Day)}}
}

func (w *world) enrolling(name, token string) *command.EnrolConsumer {
	return &command.EnrolConsumer{Consumer: name, Spent: secretHash("enrol " + name), TokenID: token, TokenHash: secretHash(token), ExpiresAt: w.l.Clock().At().Add(lifecycle.Day)}
}

// consumers is a world with ci active and a required consumer of two instances.
func consumers(t testing.TB) *world {
	w := newWorld(t).active(1)
	w.ok(w.registering(verifier(eu, lifecycle.Required, 2, ci)))
	return w
}

// kids of a version, ascending.
func (w *world) kids(versions ...uint64) (out []string) {
	for _, n := range versions {
		for _, i := range w.l.View().Instances(ci, n) {
			out = append(out, i.KID)
		}
	}
	slices.Sort(out)
	return out
}

func setOf(key lifecycle.KeyID, kids []string) command.LoadedSet {
	sum := sha256.Sum256([]byte(fmt.Sprint(kids)))
	return command.LoadedSet{Key: key, Digest: "sha256:" + hex.EncodeToString(sum[:]), KIDs: kids}
}

// confirming says that instances have loaded kids and proven some of them.
func confirming(consumer string, kids, proven []string, instances ...string) *command.RecordConfirmations {
	c := &command.RecordConfirmations{Sets: []command.LoadedSet{setOf(ci, kids)}}
	var places []uint64
	for i, kid := range kids {
		if slices.Contains(proven, kid) {
			places = append(places, uint64(i))
		}
	}
	for _, i := range instances {
		c.Items = append(c.Items, command.ConfirmationItem{Consumer: consumer, Instance: i, Proven: places})
	}
	return c
}

// says records confirmations that must be accepted one by one.
func (w *world) says(c *command.RecordConfirmations) {
	w.Helper()
	o := w.system(c)
	if !o.OK() || len(o.Groups) != len(c.Items) {
		w.Fatalf("outcome %+v", o)
	}
	for i, g := range o.Groups {
		if g.Code != "" {
			w.Errorf("confirmation %d: %s %s", i, g.Code, g.Detail)
		}
	}
}

func (w *world) now() lifecycle.Instant { return w.l.Clock().At() }

// holds asserts how many instances a gate still waits for; nil: it is open.
func (w *world) holds(gate lifecycle.Gate, version uint64, want ...string) []state.Holdout {
	w.Helper()
	var got []string
	out := w.l.View().Holdouts(ci, gate, version, w.now())
	for _, h := range out {
		got = append(got, fmt.Sprintf("%s %d/%d", h.Consumer.Name, h.Have, h.Expect))
	}
	if !slices.Equal(got, want) {
		w.Errorf("gate %s of version %d waits for %q, want %q", gate, version, got, want)
	}
	return out
}

func (w *world) leafKinds(from uint64) (kinds []string) {
	w.Helper()
	if err := w.l.View().Leaves(from, func(_ uint64, l *state.Leaf, _ []byte) bool { kinds = append(kinds, l.Kind); return true }); err != nil {
		w.Fatal(err)
	}
	return kinds
}

func TestConsumerIsRegisteredAndEnrolled(t *testing.T) {
	w := consumers(t)
	c := w.l.View().Consumer(eu)
	if c == nil || c.Created.By != "admin" || len(w.l.View().ConsumersOf(ci)) != 1 || len(w.l.View().Consumers()) != 1 {
		t.Fatalf("registered: %+v", c)
	}
	p := w.l.View().Principal(eu)
	if p == nil || p.Kind != lifecycle.Service || !slices.Equal(p.Grants, []lifecycle.Grant{{Role: lifecycle.ConsumerRole, Keys: "ci"}}) {
		t.Fatalf("its principal: %+v", p)
	}
	w.no(state.AlreadyExists, w.registering(verifier(eu, lifecycle.Required, 1, ci)))
	w.no(state.AlreadyExists, w.registering(verifier("admin", lifecycle.Required, 1, ci)))
	w.no(state.KeyNotFound, w.registering(verifier("other", lifecycle.Required, 1, "none")))
	late := w.registering(verifier("other", lifecycle.Required, 1, ci))
	late.Enrolment.ExpiresAt = w.now()
	w.no(state.TokenExpired, late)

	wrong := w.enrolling(eu, "token-0001")
	wrong.Spent = secretHash("guess")
	w.no(state.Denied, wrong)
	w.no(state.ConsumerNotFound, w.enrolling("other", "token-0001"))
	w.ok(w.enrolling(eu, "token-0001"))
	if tok := w.l.View().Token("token-0001"); tok == nil || tok.Principal != eu {
		t.Errorf("the token: %+v", tok)
	}
	w.no(state.TokenSpent, w.enrolling(eu, "token-0002")) // once
}

func TestEnrolmentExpires(t *testing.T) {
	w := consumers(t)
	w.pass(lifecycle.Day)
	w.no(state.TokenExpired, w.enrolling(eu, "token-0001"))
	again := &command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Required, 2, ci),
		Enrolment: &command.Enrolment{Hash: secretHash("enrol " + eu), ExpiresAt: w.now().Add(lifecycle.Day)}}
	w.ok(again)
	w.ok(w.enrolling(eu, "token-0001"))
}

// TestEnrolmentBuysOnlyTheRightToConfirm: whoever holds the secret must not come into
// roles that somebody gave the principal by hand, and nobody gives it any.
func TestEnrolmentBuysOnlyTheRightToConfirm(t *testing.T) {
	w := consumers(t)
	w.no(state.IllegalTransition, replace(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: eu, Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}}}))
	w.ok(&command.RevokePrincipal{Name: eu})
	w.no(state.Denied, w.enrolling(eu, "token-0001"))
	if o := w.system(confirming(eu, w.kids(1), nil, "web-1")); o.Groups[0].Code != state.Denied {
		t.Errorf("a revoked principal confirms: %+v", o)
	}
}

func TestConsumerIsChangedAndRetired(t *testing.T) {
	w := consumers(t)
	w.ok(newKey("other", w.nodes...))
	w.ok(&command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Advisory, 3, "other")})
	v := w.l.View()
	if c := v.Consumer(eu); c.Class != lifecycle.Advisory || c.Expect != 3 || len(v.ConsumersOf(ci)) != 0 || len(v.ConsumersOf("other")) != 1 {
		t.Errorf("changed: %+v", c)
	}
	if g := v.Principal(eu).Grants; !slices.Equal(g, []lifecycle.Grant{{Role: lifecycle.ConsumerRole, Keys: "other"}}) {
		t.Errorf("its principal may %v", g)
	}
	w.no(state.ConsumerNotFound, &command.UpdateConsumer{Consumer: verifier("nobody", lifecycle.Advisory, 3, ci)})
	w.no(state.ConsumerNotFound, &command.RetireConsumer{Name: "nobody"})
	w.ok(w.enrolling(eu, "token-0001"))
	w.ok(&command.RetireConsumer{Name: eu, Comment: "closed"})
	v = w.l.View()
	if c := v.Consumer(eu); c.RetiredAt == 0 || c.RetiredBy != "admin" || len(v.ConsumersOf("other")) != 0 || v.Principal(eu).RevokedAt == 0 || v.Token("token-0001").RevokedAt == 0 {
		t.Errorf("retired: %+v", c)
	}
	w.no(state.IllegalTransition, &command.RetireConsumer{Name: eu})
	w.no(state.IllegalTransition, &command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Required, 2, ci)})
	w.no(state.AlreadyExists, w.registering(verifier(eu, lifecycle.Required, 2, ci)))
}

func TestGateActivate(t *testing.T) {
	w := consumers(t)
	old, all := w.kids(1), w.published(2).kids(1, 2)
	fresh := w.kids(2)
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2")
	w.says(confirming(eu, old, old, "web-1", "web-2"))
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2") // another trust set
	w.says(confirming(eu, all, nil, "web-1", "web-2"))
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2") // nothing proven
	w.says(confirming(eu, all, fresh[:2], "web-1"))
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2") // a kid short
	w.says(confirming(eu, all, fresh[2:], "web-1"))
	w.holds(lifecycle.GateActivate, 2, eu+" 1/2") // what was proven stays proven
	size := w.l.View().Position().LogSize
	w.says(confirming(eu, all, fresh, "web-2"))
	w.holds(lifecycle.GateActivate, 2)
	if kinds := w.leafKinds(size); !slices.Equal(kinds, []string{"consumer.confirmed"}) {
		t.Errorf("leaves %q", kinds)
	}
	size = w.l.View().Position().LogSize
	w.says(confirming(eu, all, nil, "web-1", "web-2"))
	if kinds := w.leafKinds(size); len(kinds) != 0 {
		t.Errorf("a renewal left %q", kinds)
	}
	if have, expect := w.l.View().ConfirmedBy(w.l.View().Consumer(eu), ci, setOf(ci, all).Digest, w.now()); have != 2 || expect != 2 {
		t.Errorf("confirmed by %d of %d", have, expect)
	}
	if have, _ := w.l.View().ConfirmedBy(w.l.View().Consumer(eu), ci, setOf(ci, old).Digest, w.now()); have != 0 {
		t.Errorf("%d still have the old one", have)
	}
	w.pass(lifecycle.Day) // confirmations live a day
	if h := w.holds(lifecycle.GateActivate, 2, eu+" 0/2"); len(h) == 1 && (!h[0].Lapsed || h[0].LastAt == 0) {
		t.Errorf("lapsed: %+v", h[0])
	}
}

// TestGateAsksNoProofThatNobodyCouldHave: a lost key pair and a quarantined node sign
// no canaries.
func TestGateAsksNoProofThatNobodyCouldHave(t *testing.T) {
	w := consumers(t).published(2)
	all, could := w.kids(1, 2), []string{w.instance(2, 0).KID}
	w.ok(report(w.nodes[1], 2, lifecycle.Lost))
	w.ok(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Quarantined})
	w.says(confirming(eu, all, nil, "web-1", "web-2"))
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2")
	w.says(confirming(eu, all, could, "web-1", "web-2"))
	w.holds(lifecycle.GateActivate, 2)
}

func TestGateWithdraw(t *testing.T) {
	w := consumers(t).published(2)
	w.ok(early(2))
	w.holds(lifecycle.GateWithdraw, 1, eu+" 0/2")
	w.says(confirming(eu, w.kids(1, 2), nil, "web-1"))
	w.says(confirming(eu, w.kids(2), nil, "web-2", "web-3"))
	h := w.holds(lifecycle.GateWithdraw, 1, eu+" 2/2") // enough are without it, and one says that it has it
	if len(h) == 1 && h[0].Still != 1 {
		t.Errorf("holdout %+v", h[0])
	}
	if s := w.l.View().StillTrusting(ci, []uint64{1}, w.now()); len(s) != 1 || s[0].Consumer.Name != eu {
		t.Errorf("still trusting: %+v", s)
	}
	w.says(confirming(eu, w.kids(2), nil, "web-1"))
	w.holds(lifecycle.GateWithdraw, 1)
	if s := w.l.View().StillTrusting(ci, []uint64{1}, w.now()); len(s) != 0 {
		t.Errorf("still trusting: %+v", s)
	}
	if s := w.l.View().StillTrusting(ci, []uint64{1, 2}, w.now()); len(s) != 1 {
		t.Errorf("still trusting the newer one: %+v", s)
	}
	if s := w.l.View().StillTrusting(ci, []uint64{7}, w.now()); len(s) != 0 {
		t.Errorf("a version that is not there is trusted: %+v", s)
	}
}

func TestOnlyRequiredConsumersHold(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.registering(verifier("adviser", lifecycle.Advisory, 1, ci)))
	w.ok(w.registering(verifier("watcher", lifecycle.Observer, 1, ci)))
	w.published(2)
	w.holds(lifecycle.GateActivate, 2)
	if s := w.l.View().StillTrusting(ci, []uint64{1}, w.now()); len(s) != 2 { // of whom nothing is known
		t.Errorf("still trusting: %d", len(s))
	}
}

func TestWaiver(t *testing.T) {
	w := consumers(t).published(2)
	waive := &command.WaiveConsumer{Consumer: eu, Key: ci, Version: 2, Gate: lifecycle.GateActivate, Until: w.now().Add(lifecycle.Day), Comment: "the region is down"}
	for _, c := range []struct {
		code state.Code
		edit func(*command.WaiveConsumer)
	}{
		{state.ConsumerNotFound, func(c *command.WaiveConsumer) { c.Consumer = "nobody" }},
		{state.VersionNotFound, func(c *command.WaiveConsumer) { c.Version = 9 }},
		{state.KeyNotFound, func(c *command.WaiveConsumer) { c.Key = "none" }},
		{state.Invalid, func(c *command.WaiveConsumer) { c.Until = w.now() }},
		{state.Invalid, func(c *command.WaiveConsumer) { c.Until = w.now().Add(lifecycle.MaxWaiver + 1) }},
	} {
		bad := *waive
		c.edit(&bad)
		w.no(c.code, &bad)
	}
	w.ok(newKey("other", w.nodes...))
	other := *waive
	other.Key, other.Version = "other", 1
	w.no(state.NotADependent, &other)
	w.ok(waive)
	w.holds(lifecycle.GateActivate, 2)
	w.holds(lifecycle.GateWithdraw, 1, eu+" 0/2")
	if r := w.l.View().RequiredOf(ci, lifecycle.GateActivate, 2, w.now()); len(r) != 1 || r[0].Waiver == nil || r[0].Waiver.By != "admin" {
		t.Errorf("required: %+v", r)
	}
	w.ok(waive) // again: it replaces itself
	if n := len(w.l.View().Consumer(eu).Waivers); n != 1 {
		t.Errorf("%d waivers", n)
	}
	w.pass(lifecycle.Day)
	w.holds(lifecycle.GateActivate, 2, eu+" 0/2")
}

func TestConfirmationsAreRefusedOneByOne(t *testing.T) {
	w := consumers(t)
	w.ok(newKey("other", w.nodes...))
	w.ok(w.registering(verifier("elsewhere", lifecycle.Required, 1, "other")))
	w.ok(w.registering(verifier("gone", lifecycle.Required, 1, ci)))
	w.ok(&command.RetireConsumer{Name: "gone"})
	kids := w.kids(1)
	c := confirming(eu, kids, nil, "web-1")
	c.Sets = append(c.Sets, setOf("none", nil), setOf("other", kids), setOf(ci, []string{fakeKID}))
	c.Items = append(c.Items,
		command.ConfirmationItem{Consumer: "nobody", Instance: "a"}, command.ConfirmationItem{Consumer: "elsewhere", Instance: "a"},
		command.ConfirmationItem{Consumer: "gone", Instance: "a"}, command.ConfirmationItem{Consumer: eu, Instance: "a", Weak: true},
		command.ConfirmationItem{Consumer: eu, Instance: "a", Set: 1}, command.ConfirmationItem{Consumer: "elsewhere", Instance: "a", Set: 2},
		command.ConfirmationItem{Consumer: eu, Instance: "a", Set: 3})
	o := w.system(c)
	want := []state.Code{state.OK, state.ConsumerNotFound, state.NotADependent, state.IllegalTransition, state.Invalid, state.KeyNotFound, state.UnknownKID, state.UnknownKID}
	for i, g := range o.Groups {
		if g.Code != want[i] || g.Code != "" && g.Detail == "" {
			t.Errorf("confirmation %d: %q %s, want %q", i, g.Code, g.Detail, want[i])
		}
	}
	if n := len(w.l.View().Confirmations(eu)); n != 1 || len(o.Groups) != len(want) {
		t.Errorf("%d rows, %d answers", n, len(o.Groups))
	}
	w.refused(state.Invalid, eu, confirming(eu, kids, nil, "web-1")) // nobody confirms past the cluster
	w.refused(state.Invalid, eu, &command.LapseConfirmations{Items: []command.ConfirmationName{{Consumer: eu, Key: ci, Instance: "web-1"}}})
}

var fakeKID = "RUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUVFRUU"

func TestWeakEvidence(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.registering(verifier("adviser", lifecycle.Advisory, 1, ci)))
	kids := w.kids(1)
	weak := confirming("adviser", kids, nil, "10.0.0.7")
	weak.Items[0].Weak = true
	w.says(weak)
	if r := w.l.View().Confirmation("adviser", ci, "10.0.0.7"); r == nil || !r.Weak {
		t.Fatalf("row %+v", r)
	}
	w.says(confirming("adviser", kids, kids[:1], "10.0.0.7"))
	said := w.l.View().Confirmation("adviser", ci, "10.0.0.7")
	w.pass(lifecycle.Hour)
	w.says(weak)
	if r := w.l.View().Confirmation("adviser", ci, "10.0.0.7"); r.Weak || r.At != said.At || r.ExpiresAt != said.ExpiresAt {
		t.Errorf("a fetch changed what was said: %+v", r)
	}
}

func TestConfirmationsLapse(t *testing.T) {
	w := consumers(t)
	kids := w.kids(1)
	w.says(confirming(eu, kids, kids, "web-1", "web-2", "web-3"))
	names := &command.LapseConfirmations{}
	for _, i := range []string{"web-1", "web-2", "web-3"} {
		names.Items = append(names.Items, command.ConfirmationName{Consumer: eu, Key: ci, Instance: i})
	}
	if o := w.system(names); o.Code != state.AlreadyExists {
		t.Fatalf("what has time left lapses: %+v", o)
	}
	w.pass(lifecycle.Day)
	one := &command.LapseConfirmations{Items: names.Items[:1]}
	size := w.l.View().Position().LogSize
	if o := w.system(one); !o.OK() {
		t.Fatal(o)
	}
	if kinds := w.leafKinds(size); !slices.Equal(kinds, []string{"consumer.silent"}) { // two are enough
		t.Errorf("leaves %q", kinds)
	}
	size = w.l.View().Position().LogSize
	if o := w.system(names); !o.OK() {
		t.Fatal(o)
	}
	if kinds := w.leafKinds(size); !slices.Equal(kinds, []string{"consumer.lapsed"}) {
		t.Errorf("leaves %q", kinds)
	}
	w.says(confirming(eu, kids, nil, "web-1")) // back, and nothing is proven any more
	if r := w.l.View().Confirmation(eu, ci, "web-1"); r.LapsedAt != 0 || len(r.Proven) != 0 {
		t.Errorf("after the lapse: %+v", r)
	}
	w.pass(31 * lifecycle.Day)
	if o := w.system(names); !o.OK() {
		t.Fatal(o)
	}
	if n := len(w.l.View().Confirmations(eu)); n != 1 { // web-1's has only just been found expired
		t.Errorf("%d rows are kept", n)
	}
	w.ok(&command.RetireConsumer{Name: eu})
	if o := w.system(one); !o.OK() || len(w.l.View().Confirmations(eu)) != 0 {
		t.Errorf("a retired consumer's confirmations are kept: %+v", o)
	}
}

// TestInstancesUnderNewNames: pods come back under new names. The oldest name goes.
func TestInstancesUnderNewNames(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(w.registering(verifier(eu, lifecycle.Required, 1, ci)))
	most := w.l.View().Consumer(eu).MaxInstances()
	for i := range most + 5 {
		w.says(confirming(eu, w.kids(1), nil, fmt.Sprintf("pod-%03d", i)))
		w.pass(lifecycle.Second)
	}
	rows := w.l.View().ConfirmationsOf(eu, ci)
	if len(rows) != most || rows[0].Instance != "pod-005" {
		t.Errorf("%d rows from %s", len(rows), rows[0].Instance)
	}
}

// TestAskingLessOfARequiredConsumerIsGuarded: else one person opens every gate.
func TestAskingLessOfARequiredConsumerIsGuarded(t *testing.T) {
	w := governed(t)
	w.ok(w.registering(verifier(eu, lifecycle.Required, 2, ci)))
	waive := &command.WaiveConsumer{Consumer: eu, Key: ci, Version: 1, Gate: lifecycle.GateWithdraw, Until: w.now().Add(lifecycle.Day), Comment: "down"}
	enrol := &command.Enrolment{Hash: secretHash("x"), ExpiresAt: w.now().Add(lifecycle.Day)}
	longer := verifier(eu, lifecycle.Required, 2, ci)
	longer.Lifetime++
	for _, body := range []command.Body{&command.RetireConsumer{Name: eu}, waive, &command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Advisory, 2, ci)},
		&command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Required, 1, ci)}, &command.UpdateConsumer{Consumer: longer},
		&command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Required, 2, ci), Enrolment: enrol}} {
		w.no(state.ApprovalRequired, body)
	}
	w.no(state.Denied, w.token("token-0009", eu)) // it would confirm in its name
	w.ok(&command.UpdateConsumer{Consumer: verifier(eu, lifecycle.Required, 3, ci)})
	w.ok(w.opening(7, waive))
	w.approvedBy(7, "alice", "bob")
	w.ok(w.execution(7, waive))
	if c := w.l.View().Consumer(eu); len(c.Waivers) != 1 || c.Waivers[0].By != "admin" {
		t.Errorf("waivers %+v", c.Waivers)
	}
	w.ok(w.registering(verifier("adviser", lifecycle.Advisory, 1, ci)))
	w.ok(&command.RetireConsumer{Name: "adviser"})
}

func TestConfirmationsSurviveARestart(t *testing.T) {
	w := consumers(t)
	w.says(confirming(eu, w.kids(1), w.kids(1), "web-1", "web-2"))
	m, err := state.LoadMachine(w.l.Rows())
	if err != nil {
		t.Fatal(err)
	}
	v := state.NewView(m.Root(), nil)
	if len(v.ConsumersOf(ci)) != 1 || len(v.Confirmations(eu)) != 2 || !bytes.Equal(v.Consumer(eu).EnrolHash, secretHash("enrol "+eu)) {
		t.Errorf("after a restart: %+v", v.Confirmations(eu))
	}
}

func BenchmarkRecordConfirmations(b *testing.B) {
	w := newWorld(b).active(1)
	w.ok(w.registering(verifier(eu, lifecycle.Required, 5000, ci)))
	kids := w.kids(1)
	entries := make([]*command.RecordConfirmations, 5)
	for e := range entries {
		var names []string
		for i := range 1000 {
			names = append(names, fmt.Sprintf("pod-%d-%d", e, i))
		}
		entries[e] = confirming(eu, kids, kids, names...)
	}
	n := 0
	for b.Loop() {
		w.says(entries[n%len(entries)])
		n++
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "confirmations/s")
}
