package rotation

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// destroySlack is on top of the waiting period of a destruction that the plan asks for:
// a pass and its entries take some time, and Apply counts the period from the entry.
const destroySlack = 10 * lifecycle.Second

// retire takes a version that has ended its way to the end: out of the trust set, and,
// where the policy says so, its keys to their destruction.
func (p *planner) retire(k *lifecycle.Key, v *lifecycle.Version) {
	switch {
	case v.DestroyAt != 0:
		if !v.Erasing && !p.erased(v) && p.due(v.DestroyAt) {
			p.add(&command.BeginErasure{Key: k.ID, Version: v.Number}, "its waiting period is over", state.RefVersion(v))
			return
		}
	case p.destroys(k, v):
		at := max(p.now.Add(k.Policy.DestroyWait), p.view.ListedUntil(k.ID, v.Number))
		p.add(&command.ScheduleDestroy{Key: k.ID, Version: v.Number, DestroyAt: at.Add(destroySlack), Comment: "out of the trust set"},
			"it is out of the trust set", state.RefKey(k), state.RefVersion(v))
		return
	}
	if v.State != lifecycle.Deactivated || !v.InTrustSet() || k.Pause != nil {
		return
	}
	if g := p.gate(k, v, lifecycle.GateWithdraw); g.Open {
		why := p.whyWithdraw(k, g)
		p.add(&command.WithdrawVersion{Key: k.ID, Version: v.Number, Comment: why}, why, state.RefKey(k), state.RefVersion(v))
	}
}

func (p *planner) whyWithdraw(k *lifecycle.Key, g state.Gate) string {
	switch {
	case g.Skip != nil:
		return g.Skip.By + " skipped the gate before it"
	case g.Confirmed && (g.OpensAt == 0 || g.OpensAt > p.now):
		return "every required consumer does without it"
	}
	return fmt.Sprintf("its verify window of %s is over", k.Policy.VerifyWindow)
}

// destroys reports whether the plan asks for the destruction of the version: it went the
// whole way of the plan or was rolled back, nobody took an earlier request back, and no
// rule wants people to agree.
func (p *planner) destroys(k *lifecycle.Key, v *lifecycle.Version) bool {
	return k.Policy.DestroyRetired && k.Pause == nil && v.State == lifecycle.Deactivated && v.Withdrawn && !v.Kept && v.Revocation == nil &&
		!p.guarded(k, v)
}

// guarded reports whether a rule asks approvals for the destruction of the version.
func (p *planner) guarded(k *lifecycle.Key, v *lifecycle.Version) bool {
	return p.view.RuleFor(&command.ScheduleDestroy{Key: k.ID, Version: v.Number}) != nil
}

// erased reports whether a compromised version has nothing left to erase. It stays
// compromised when its keys are gone, so its state does not tell.
func (p *planner) erased(v *lifecycle.Version) bool {
	if v.State != lifecycle.Compromised {
		return false
	}
	for _, i := range p.view.Instances(v.Key, v.Number) {
		if i.Condition != lifecycle.Erased && !p.removed(i.Node) {
			return false
		}
	}
	return true
}
