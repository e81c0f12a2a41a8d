package rotation

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Whatever state operators, nodes and consumers have brought about: each step is
// accepted by the View it was planned on; nothing becomes due before Next; carrying out
// what is due ends after a few passes; a paused plan takes no step; and nothing passes a
// gate that a naive reading of the rules finds closed.
func TestPlanIsAcceptedAndSettles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		pol := tokenPolicy()
		pol.RotateEvery, pol.Lead, pol.DestroyWait = 5*lifecycle.Hour, lifecycle.Hour, lifecycle.Hour
		pol.MinReady = rapid.IntRange(0, 2).Draw(rt, "min_ready")
		if rapid.Bool().Draw(rt, "by hand") {
			pol.VerifyWindow, pol.MaxTTL = 0, 0
		}
		f.create("k", pol, f.nodes...)
		f.register("c", lifecycle.Required, 1, "k")
		f.register("d", lifecycle.Advisory, 1, "k")
		for range rapid.IntRange(5, 40).Draw(rt, "acts") {
			f.Clock().Advance(time.Duration(rapid.IntRange(0, 90).Draw(rt, "minutes")) * time.Minute)
			disturb(rt, f)
			checkNext(rt, f)
			for n := 0; ; n++ {
				steps := f.plan()
				if len(steps) == 0 {
					break
				}
				if n > 6 {
					rt.Fatalf("still planning %s after %d passes", show(steps[0]), n)
				}
				carryOut(rt, f, steps)
			}
		}
	})
}

func carryOut(rt *rapid.T, f *fixture, steps []Step) {
	view := f.View()
	for _, s := range steps {
		if o := state.Trial(view, f.stepCommand(s)); !o.OK() {
			rt.Fatalf("%s would be refused: %s %s", show(s), o.Code, o.Detail)
		}
		checkGates(rt, f, s.Body)
		if o := f.take(s); !o.OK() && o.Code != state.Conflict {
			rt.Fatalf("%s was refused: %s %s", show(s), o.Code, o.Detail)
		}
	}
}

func checkNext(rt *rapid.T, f *fixture) {
	now, view := f.now(), f.View()
	next := Next(view, now)
	if next != 0 && next <= now {
		rt.Fatalf("next at %s is not after %s", next, now)
	}
	until := now.Add(100 * lifecycle.Day)
	if next != 0 {
		until = next - 1
	}
	if r := said(f, now); r != nil {
		until = min(until, r.ExpiresAt-1) // then a gate may close, which Next says nothing of
	}
	for _, w := range view.Consumer("c").Waivers {
		if now < w.Until {
			until = min(until, w.Until-1)
		}
	}
	had, will := Plan(view, now, f.draw), Plan(view, until, f.draw)
	if len(had) != len(will) {
		rt.Fatalf("%d steps at %s, %d at %s, though next is %q", len(had), now, len(will), until, next)
	}
}

// checkGates is the naive reading: what a step of the plan needs, from the rows alone.
func checkGates(rt *rapid.T, f *fixture, body command.Body) {
	view, now := f.View(), max(f.now(), f.View().Clock())
	k := view.Key("k")
	paused := func(v *lifecycle.Version) {
		if k.Pause != nil {
			rt.Fatalf("%s of version %d though the plan is paused", body.Kind(), v.Number)
		}
	}
	switch c := body.(type) {
	case *command.PrepareVersion:
		paused(view.Version("k", c.Version-1))
	case *command.PublishVersion:
		paused(view.Version("k", c.Version))
	case *command.ActivateVersion:
		v := view.Version("k", c.Version)
		paused(v)
		if v.Number == 1 || v.Skips(lifecycle.GateActivate) != nil {
			return
		}
		if now < v.PublishedAt.Add(k.Policy.Lead) {
			rt.Fatalf("version %d is activated before its lead", v.Number)
		}
		if w := view.Consumer("c"); k.Policy.ConfirmActivate && required(w) && !waived(w, v, lifecycle.GateActivate, now) && !knows(f, v, now) {
			rt.Fatalf("version %d is activated and c does not know it", v.Number)
		}
	case *command.WithdrawVersion:
		v := view.Version("k", c.Version)
		paused(v)
		w := view.Consumer("c")
		byTime := k.Policy.VerifyWindow > 0 && now >= v.DeactivatedAt.Add(k.Policy.VerifyWindow)
		byWord := k.Policy.ConfirmWithdraw && required(w) && (waived(w, v, lifecycle.GateWithdraw, now) || doesWithout(f, v, now))
		if !byTime && !byWord && v.Skips(lifecycle.GateWithdraw) == nil {
			rt.Fatalf("version %d is withdrawn, and nothing says that nobody needs it", v.Number)
		}
	case *command.ScheduleDestroy:
		v := view.Version("k", c.Version)
		paused(v)
		if v.InTrustSet() || v.Kept || !v.Withdrawn {
			rt.Fatalf("the plan destroys %+v", v)
		}
	}
}

func required(c *lifecycle.Consumer) bool { return c.Class == lifecycle.Required && c.RetiredAt == 0 }

func waived(c *lifecycle.Consumer, v *lifecycle.Version, g lifecycle.Gate, now lifecycle.Instant) bool {
	return slices.ContainsFunc(c.Waivers, func(w lifecycle.Waiver) bool {
		return w.Version == v.Number && w.Gate == g && now < w.Until
	})
}

// said is what the one instance of c says at now, nil when nothing it said counts.
func said(f *fixture, now lifecycle.Instant) *lifecycle.Confirmation {
	r := f.View().Confirmation("c", "k", "a")
	if r == nil || r.LapsedAt != 0 || now >= r.ExpiresAt {
		return nil
	}
	return r
}

func knows(f *fixture, v *lifecycle.Version, now lifecycle.Instant) bool {
	r := said(f, now)
	if r == nil {
		return false
	}
	for _, i := range f.View().Instances("k", v.Number) {
		if i.InTrustSet(v) && !slices.Contains(r.KIDs, i.KID) {
			return false
		}
	}
	return true
}

func doesWithout(f *fixture, v *lifecycle.Version, now lifecycle.Instant) bool {
	r := said(f, now)
	return r != nil && !slices.ContainsFunc(f.View().Instances("k", v.Number), func(i *lifecycle.Instance) bool {
		return i.KID != "" && slices.Contains(r.KIDs, i.KID)
	})
}

// disturb does something an operator or a node could; it may be refused.
func disturb(rt *rapid.T, f *fixture) {
	k := f.View().Key("k")
	v := uint64(rapid.IntRange(1, int(k.Newest)).Draw(rt, "version"))
	node := rapid.SampledFrom(f.nodes).Draw(rt, "node")
	var c command.Body
	gate := rapid.SampledFrom(lifecycle.Gates).Draw(rt, "gate")
	switch rapid.IntRange(0, 18).Draw(rt, "act") {
	case 12:
		c = &command.PauseRotation{Key: "k", Reason: "wait"}
	case 13:
		c = &command.ResumeRotation{Key: "k"}
	case 14:
		c = &command.SkipGate{Key: "k", Version: v, Gate: gate, Comment: "now"}
	case 15:
		c = &command.RollBack{Key: "k", Version: v, Comment: "not this one"}
	case 16:
		f.confirm("c", "a", "k", v)
	case 17:
		f.confirm("c", "a", "k", v, k.Newest)
	case 18:
		c = &command.WaiveConsumer{Consumer: "c", Key: "k", Version: v, Gate: gate, Until: f.now().Add(lifecycle.Hour), Comment: "gone"}
	case 0, 1, 2, 3:
		if i := f.View().Instance("k", k.Newest, node); i != nil && i.Condition == lifecycle.Pending {
			c = binding(i)
		}
	case 4:
		c = &command.ReportCondition{Key: "k", Version: v, Node: node, Condition: lifecycle.Lost, Detail: "gone"}
	case 5:
		c = &command.ReportCondition{Key: "k", Version: v, Node: node, Condition: lifecycle.Ready}
	case 6:
		c = &command.Revoke{Key: "k", Versions: []uint64{v}, Reason: rapid.SampledFrom(lifecycle.Reasons).Draw(rt, "reason")}
	case 7:
		c = &command.SetNodeStatus{ID: node, Status: rapid.SampledFrom([]lifecycle.NodeStatus{
			lifecycle.Member, lifecycle.Quarantined}).Draw(rt, "status")}
	case 8:
		c = &command.ScheduleDestroy{Key: "k", Version: v, DestroyAt: f.now().Add(lifecycle.Hour)}
	case 9:
		c = &command.ConfirmErased{Key: "k", Version: v, Node: node, Evidence: "two look-ups found nothing"}
	case 10:
		c = &command.ResumeVersion{Key: "k", Version: v}
	case 11:
		if len(f.nodes) < 5 {
			f.nodes = append(f.nodes, ledgertest.Join(f.t, f.Ledger, []string{"node4", "node5"}[len(f.nodes)-3]))
		}
	}
	if c != nil {
		f.Do(f.t, c)
	}
}
