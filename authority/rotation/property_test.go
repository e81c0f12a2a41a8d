package rotation

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Whatever state operators and nodes have brought about: each step is accepted by
// the View it was planned on; nothing becomes due before Next; and carrying out
// what is due ends after a few passes.
func TestPlanIsAcceptedAndSettles(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		pol := tokenPolicy()
		pol.RotateEvery, pol.Lead, pol.DestroyWait = 5*lifecycle.Hour, lifecycle.Hour, lifecycle.Hour
		pol.MinReady = rapid.IntRange(0, 2).Draw(rt, "min_ready")
		f.create("k", pol, f.nodes...)
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
	had, will := Plan(view, now, f.draw), Plan(view, until, f.draw)
	if len(had) != len(will) {
		rt.Fatalf("%d steps at %s, %d at %s, though next is %q", len(had), now, len(will), until, next)
	}
}

// disturb does something an operator or a node could; it may be refused.
func disturb(rt *rapid.T, f *fixture) {
	k := f.View().Key("k")
	v := uint64(rapid.IntRange(1, int(k.Newest)).Draw(rt, "version"))
	node := rapid.SampledFrom(f.nodes).Draw(rt, "node")
	var c command.Body
	switch rapid.IntRange(0, 11).Draw(rt, "act") {
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
