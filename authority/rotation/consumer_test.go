package rotation

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// register adds a consumer of the key that expects n instances.
func (f *fixture) register(name string, class lifecycle.ConsumerClass, n int, key lifecycle.KeyID) {
	f.t.Helper()
	hash := sha256.Sum256([]byte(name))
	f.Must(f.t, &command.RegisterConsumer{
		Consumer: command.ConsumerRecord{Name: name, Owner: name + "@example.com", Class: class, Expect: n, Keys: []lifecycle.KeyID{key},
			Lifetime: lifecycle.Day},
		Enrolment: command.Enrolment{Hash: hash[:], ExpiresAt: f.now().Add(lifecycle.Day)}})
}

// confirm says that one instance of a consumer has loaded the kids of these versions, and
// tells their canaries apart.
func (f *fixture) confirm(consumer, instance string, key lifecycle.KeyID, versions ...uint64) state.Outcome {
	f.t.Helper()
	set := command.LoadedSet{Key: key, Digest: "sha256:" + strings.Repeat("00", 32)}
	for _, n := range versions {
		for _, i := range f.View().Instances(key, n) {
			if i.KID != "" && i.PublishedAt != 0 {
				set.KIDs = append(set.KIDs, i.KID)
			}
		}
	}
	slices.Sort(set.KIDs)
	item := command.ConfirmationItem{Consumer: consumer, Instance: instance}
	for n := range set.KIDs {
		item.Proven = append(item.Proven, uint64(n))
	}
	return f.take(Step{Body: &command.RecordConfirmations{Sets: []command.LoadedSet{set}, Items: []command.ConfirmationItem{item}}})
}

// rotating makes a key whose version 2 is published and whose lead is over.
func rotating(t *testing.T, edit func(*lifecycle.Policy)) *fixture {
	t.Helper()
	f := newFixture(t)
	pol := tokenPolicy()
	pol.RotateEvery, pol.DestroyRetired = 0, false
	if edit != nil {
		edit(&pol)
	}
	f.active("k", pol)
	f.Must(t, &command.PrepareVersion{Key: "k", Version: 2, Instances: f.creation("x", pol, f.nodes...).Instances})
	f.bind("k", 2, f.nodes...)
	f.expect("ready", "PublishVersion k/2")
	return f
}

func TestActivationWaitsForRequiredConsumers(t *testing.T) {
	f := rotating(t, nil)
	f.register("deploy-eu", lifecycle.Required, 2, "k")
	f.register("dashboard", lifecycle.Advisory, 1, "k")
	f.register("elsewhere", lifecycle.Observer, 1, "k")
	f.confirm("deploy-eu", "a", "k", 1, 2)
	f.expect("the lead", []string{}...)
	f.expectNext("the lead", f.now().Add(lifecycle.Hour))
	f.Clock().Advance(time.Hour)
	f.expect("it is made known", "NoteWaiting k/2")
	var said string
	if err := f.View().Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Kind == "rotation.waiting" {
			said = l.Reason
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if said != "consumer deploy-eu of deploy-eu@example.com" {
		t.Errorf("the log says %q", said)
	}
	f.Clock().Advance(time.Hour)
	f.expect("once")
	pr := Explain(f.View(), "k", f.now())
	if pr.Phase != Published || pr.Next != "activate" || len(pr.WaitsFor) != 1 {
		t.Fatalf("explained as %+v", pr)
	}
	if w := pr.WaitsFor[0]; w.Kind != "consumer" || w.Name != "deploy-eu" || w.Owner != "deploy-eu@example.com" || w.Detail != "1 of 2 instances have confirmed" || w.Hint != "chancery consumer show deploy-eu" {
		t.Errorf("waits for %+v", w)
	}
	if o := f.Do(t, &command.ActivateVersion{Key: "k", Version: 2}); o.Code != state.NotConfirmed || !strings.Contains(o.Detail, "deploy-eu of deploy-eu@example.com (1 of 2 instances)") {
		t.Errorf("activated past the gate: %+v", o)
	}
	f.confirm("deploy-eu", "b", "k", 2) // it does without version 1 already
	f.expect("all have confirmed", "ActivateVersion k/2")
}

func TestWhatOpensTheGateWithoutAConsumer(t *testing.T) {
	for name, c := range map[string]struct {
		open func(*fixture) command.Body
		does []string
	}{
		"waived": {func(f *fixture) command.Body {
			return &command.WaiveConsumer{Consumer: "dead", Key: "k", Version: 2, Gate: lifecycle.GateActivate, Until: f.now().Add(lifecycle.Day), Comment: "its team is gone"}
		}, []string{"ActivateVersion k/2"}},
		"waived at another gate": {func(f *fixture) command.Body {
			return &command.WaiveConsumer{Consumer: "dead", Key: "k", Version: 2, Gate: lifecycle.GateWithdraw, Until: f.now().Add(lifecycle.Day), Comment: "its team is gone"}
		}, nil},
		"skipped": {func(*fixture) command.Body {
			return &command.SkipGate{Key: "k", Version: 2, Gate: lifecycle.GateActivate, Comment: "its team is gone"}
		}, []string{"ActivateVersion k/2"}},
		"retired": {func(*fixture) command.Body { return &command.RetireConsumer{Name: "dead"} }, []string{"ActivateVersion k/2"}},
		"by policy": {func(f *fixture) command.Body {
			p := f.View().Key("k").Policy
			p.ConfirmActivate = false
			return &command.SetPolicy{Key: "k", Policy: p}
		}, []string{"ActivateVersion k/2"}},
		"paused": {func(*fixture) command.Body { return &command.PauseRotation{Key: "k", Reason: "its team is asked"} }, nil},
		"rolled back": {func(*fixture) command.Body {
			return &command.RollBack{Key: "k", Version: 2, Comment: "its team is asked"}
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := rotating(t, nil)
			f.register("dead", lifecycle.Required, 1, "k")
			f.Clock().Advance(time.Hour)
			f.expect("it is made known", "NoteWaiting k/2")
			f.Must(t, c.open(f))
			f.expect(name, c.does...)
		})
	}
}

func TestSkipDoesNotWaitForTheLead(t *testing.T) {
	f := rotating(t, nil)
	f.Clock().Advance(time.Minute)
	f.expect("the lead")
	f.Must(t, &command.SkipGate{Key: "k", Version: 2, Gate: lifecycle.GateActivate, Comment: "no verifier caches"})
	if pr := Explain(f.View(), "k", f.now()); len(pr.WaitsFor) != 0 || pr.EarliestAt != f.now() {
		t.Errorf("explained as %+v", pr)
	}
	f.expect("skipped", "ActivateVersion k/2")
	if i := f.View().Instance("k", 2, f.nodes[0]); i.AdmittedAt == 0 {
		t.Error("activated, and nobody may sign")
	}
}

// TestAConfirmationLapses: what was confirmed a day ago says nothing of today.
func TestAConfirmationLapses(t *testing.T) {
	f := rotating(t, func(p *lifecycle.Policy) { p.Lead = 30 * lifecycle.Hour })
	f.register("c", lifecycle.Required, 1, "k")
	f.confirm("c", "a", "k", 1, 2)
	f.Clock().Advance(20 * hour)
	f.Must(t, &command.SetPolicy{Key: "k", Policy: f.View().Key("k").Policy}) // the clock may move a day at once
	f.Clock().Advance(10 * hour)
	f.expect("lapsed by now", "NoteWaiting k/2")
	if w := Explain(f.View(), "k", f.now()).WaitsFor; len(w) != 1 || !strings.Contains(w[0].Detail, "lapsed") {
		t.Errorf("waits for %+v", w)
	}
	f.confirm("c", "a", "k", 2)
	f.expect("confirmed again", "ActivateVersion k/2")
}

func TestWithdrawalAtTheConsumersWord(t *testing.T) {
	f := rotating(t, func(p *lifecycle.Policy) { p.VerifyWindow, p.MaxTTL = 0, 0 })
	f.register("c", lifecycle.Required, 1, "k")
	f.confirm("c", "a", "k", 1, 2)
	f.Clock().Advance(hour)
	f.expect("confirmed", "ActivateVersion k/2")
	f.Clock().Advance(20 * hour)
	f.expect("it still has version 1")
	pr := Explain(f.View(), "k", f.now())
	if len(pr.Retiring) != 1 || pr.Retiring[0].Phase != Retired || pr.Retiring[0].Next != "withdraw" || len(pr.Retiring[0].WaitsFor) != 1 || pr.Retiring[0].WaitsFor[0].Name != "c" {
		t.Errorf("explained as %+v", pr)
	}
	f.confirm("c", "a", "k", 2)
	f.expect("it does without", "WithdrawVersion k/1")
	if set := f.View().Version("k", 1); set.InTrustSet() {
		t.Error("still trusted")
	}
}

// TestWithdrawalByTime: the verify window ends whatever a consumer says.
func TestWithdrawalByTime(t *testing.T) {
	f := rotating(t, nil)
	f.register("c", lifecycle.Required, 1, "k")
	f.confirm("c", "a", "k", 1, 2)
	f.Clock().Advance(hour)
	f.expect("confirmed", "ActivateVersion k/2")
	f.expectNext("the window", f.now().Add(2*lifecycle.Hour))
	f.Clock().Advance(2 * hour)
	f.expect("over", "WithdrawVersion k/1")
}

func TestNobodyToAskWithdrawsByTimeAlone(t *testing.T) {
	f := rotating(t, func(p *lifecycle.Policy) { p.VerifyWindow, p.MaxTTL = 0, 0 })
	f.Clock().Advance(hour)
	f.expect("due", "ActivateVersion k/2")
	f.Clock().Advance(day - hour)
	f.expect("verified until somebody retires it")
	if r := Explain(f.View(), "k", f.now()).Retiring; len(r) != 1 || r[0].WaitsFor[0].Hint != "chancery rotation skip k --version 1 --gate withdraw" {
		t.Errorf("explained as %+v", r)
	}
	f.Must(t, &command.SkipGate{Key: "k", Version: 1, Gate: lifecycle.GateWithdraw, Comment: "all artifacts are gone"})
	f.expect("by hand", "WithdrawVersion k/1")
}

func TestThePlanDestroysWhatItRetired(t *testing.T) {
	f := rotating(t, func(p *lifecycle.Policy) { p.DestroyRetired, p.DestroyWait = true, lifecycle.Hour })
	f.Clock().Advance(hour)
	f.expect("due", "ActivateVersion k/2")
	f.Clock().Advance(2 * hour)
	f.expect("the window is over", "WithdrawVersion k/1")
	f.Must(t, &command.PauseRotation{Key: "k", Reason: "wait"})
	f.expect("paused")
	f.Must(t, &command.ResumeRotation{Key: "k"})
	f.expect("out of the trust set", "ScheduleDestroy k/1")
	f.Must(t, &command.ScheduleDestroy{Key: "k", Version: 1, Cancel: true, Comment: "evidence"})
	f.expect("somebody keeps it")
	f.Must(t, &command.ScheduleDestroy{Key: "k", Version: 1, DestroyAt: f.now().Add(lifecycle.Hour + 1)})
	f.Clock().Advance(2 * hour)
	f.expect("by hand then", "BeginErasure k/1")
}

// TestShortLives: versions of minutes overlap, and each leaves the trust set in its turn.
func TestShortLives(t *testing.T) {
	f := newFixture(t)
	pol := tokenPolicy()
	pol.RotateEvery, pol.Lead, pol.VerifyWindow, pol.MaxTTL, pol.JWKSMaxAge = 4*lifecycle.Minute, lifecycle.Minute, 3*lifecycle.Minute, 3*lifecycle.Minute, 20*lifecycle.Second
	pol.DestroyWait = lifecycle.Minute
	if err := pol.Check(lifecycle.ForToken, lifecycle.ES256); err != nil {
		t.Fatal(err)
	}
	f.active("k", pol)
	began := f.now()
	for f.now() < began.Add(2*lifecycle.Hour) {
		for steps := f.plan(); len(steps) > 0; steps = f.plan() {
			for _, s := range steps {
				f.take(s)
			}
			for _, i := range f.View().Instances("k", f.View().Key("k").Newest) {
				if i.Condition == lifecycle.Pending {
					f.Must(t, binding(i))
				}
			}
		}
		k := f.View().Key("k")
		trusted := 0
		for _, v := range f.View().Versions("k") {
			if v.InTrustSet() {
				trusted++
			}
			if v.State == lifecycle.Active && f.now() > v.ActivatedAt.Add(pol.RotateEvery) {
				t.Fatalf("version %d is %s old", v.Number, lifecycle.Milliseconds(f.now()-v.ActivatedAt))
			}
		}
		if k.Active == 0 || trusted < 1 || trusted > 3 {
			t.Fatalf("version %d is active, %d are trusted", k.Active, trusted)
		}
		f.Clock().Advance(5 * time.Second)
	}
	if n := f.View().Key("k").Active; n < 29 {
		t.Errorf("%d versions in two hours, four minutes each", n)
	}
}
