package rotation

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Phase of a version in its rotation; of a key: of the version that matters now.
type Phase string

const (
	Prepared   Phase = "prepared"    // the next version is being made
	Published  Phase = "published"   // the next version stands before the gate activate
	Idle       Phase = "idle"        // a version signs and no successor is under way
	Held       Phase = "suspended"   // nothing signs: the version is on hold
	Ended      Phase = "ended"       // nothing signs, and nothing will by itself
	Retired    Phase = "deactivated" // still verified: it stands before the gate withdraw
	Withdrawn  Phase = "withdrawn"   // out of the trust set, its keys are kept
	Destroying Phase = "destroying"  // its keys are erased after the waiting period
	Erasing    Phase = "erasing"     // the nodes erase its keys
)

// Wait is one thing the next step waits for.
type Wait struct {
	Kind    string            // "instance", "certificate", "lead", "window", "node", "consumer" or "operator"
	Name    string            // of the node or consumer, when there is one
	Owner   string            // who answers for it; "" = the owner of the key
	Version uint64            // 0 = the key as a whole
	SinceAt lifecycle.Instant // 0 = unknown
	Detail  string
	Hint    string // a command that helps, "" = none
}

// Progress is how far the rotation of one key has come.
type Progress struct {
	Phase      Phase
	Version    uint64            // the version that is under way or, when idle, signs
	Next       string            // verb of the next step: "publish", "activate", "prepare", "withdraw", "destroy", "erase"; "" = none by itself
	EarliestAt lifecycle.Instant // of Next; 0 = unknown, or never
	WaitsFor   []Wait
	Pause      *lifecycle.Pause // of the key: no step is taken but erasures
	Retiring   []Progress       // of a key: older versions on their way out, oldest first
}

// Explain tells how far the rotation of a key has come and what it waits for. An
// unknown key has ended.
func Explain(view *state.View, name lifecycle.KeyID, now lifecycle.Instant) Progress {
	k := view.Key(name)
	if k == nil {
		return Progress{Phase: Ended}
	}
	p := newPlanner(view, now)
	versions := view.Versions(name)
	pr := p.present(k, versions)
	pr.Pause = k.Pause
	for _, v := range versions {
		if r, going := p.retiring(k, v); going {
			pr.Retiring = append(pr.Retiring, r)
		}
	}
	return pr
}

// present explains the version that matters now.
func (p *planner) present(k *lifecycle.Key, versions []*lifecycle.Version) Progress {
	var active, held *lifecycle.Version
	for _, v := range versions {
		switch v.State {
		case lifecycle.PreActivation:
			return p.underway(k, v)
		case lifecycle.Active:
			active = v
		case lifecycle.Suspended:
			held = v
		}
	}
	switch {
	case active != nil:
		return p.idle(k, active, versions)
	case held != nil:
		return Progress{Phase: Held, Version: held.Number, WaitsFor: []Wait{onHold(k, held)}}
	}
	return Progress{Phase: Ended, WaitsFor: []Wait{{Kind: "operator", Detail: "no version signs",
		Hint: fmt.Sprintf("chancery key rotate %s", k.ID)}}}
}

func onHold(k *lifecycle.Key, v *lifecycle.Version) Wait {
	return Wait{Kind: "operator", Version: v.Number, SinceAt: v.SinceAt, Detail: fmt.Sprintf("version %d is on hold", v.Number),
		Hint: fmt.Sprintf("chancery key resume %s --version %d", k.ID, v.Number)}
}

// resumption is the wait of a plan that is paused.
func resumption(k *lifecycle.Key) Wait {
	return Wait{Kind: "operator", Name: k.Pause.By, SinceAt: k.Pause.At, Detail: fmt.Sprintf("%s paused the plan: %s", k.Pause.By, k.Pause.Reason),
		Hint: fmt.Sprintf("chancery rotation resume %s", k.ID)}
}

// underway explains a version in pre-activation.
func (p *planner) underway(k *lifecycle.Key, v *lifecycle.Version) Progress {
	instances := p.view.Instances(k.ID, v.Number)
	pr := Progress{Phase: Prepared, Version: v.Number, Next: "publish"}
	if paused(k, v) {
		pr.WaitsFor = append(pr.WaitsFor, resumption(k))
	}
	enough := p.ready(k, v, instances)
	if withoutLead(v) != "" {
		pr.Next = "activate"
	}
	if v.PublishedAt != 0 {
		pr.Phase, pr.Next = Published, "activate"
		pr.EarliestAt = p.timeDone(k, v)
		if pr.EarliestAt > p.now {
			pr.WaitsFor = append(pr.WaitsFor, Wait{Kind: "lead", Version: v.Number, SinceAt: v.PublishedAt,
				Detail: fmt.Sprintf("verifiers get %s to load the new public keys", k.Policy.Lead)})
		}
		g := p.view.Gate(k, v, lifecycle.GateActivate, p.now)
		pr.WaitsFor = append(append(pr.WaitsFor, p.uncertified(k, v, g.Uncertified)...), heldBy(g.Holdouts, v, v.PublishedAt)...)
		enough = p.usable(k, v, instances) >= need(k, v)
	} else if ready, _ := p.tally(instances); ready > 0 && k.Policy.MinReady == 0 && !v.Emergency {
		pr.EarliestAt = v.Created.At.Add(ReadyGrace)
	}
	if !enough {
		pr.WaitsFor = append(pr.WaitsFor, p.unready(k, v, instances)...)
	}
	return pr
}

// unready lists the instances that are not ready, and why.
func (p *planner) unready(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) (out []Wait) {
	for _, i := range instances {
		if i.Condition == lifecycle.Ready && p.signs(i.Node) {
			continue
		}
		n := p.nodes[i.Node]
		w := Wait{Kind: "instance", Name: i.Node.Short(), Version: v.Number, SinceAt: i.IntentAt}
		if n != nil {
			w.Name = n.Name
		}
		w.Detail = fmt.Sprintf("instance on %s is %s since %s", w.Name, i.Condition, i.IntentAt)
		switch {
		case n != nil && !n.Signs():
			w.Detail = fmt.Sprintf("node %s does not sign", n.Name)
		case i.Detail != "":
			w.Detail += ": " + i.Detail
		}
		w.Hint = "chancery node show " + w.Name
		out = append(out, w)
	}
	if len(instances) == 0 || len(out) == 0 && k.Policy.MinReady > len(instances) {
		out = append(out, Wait{Kind: "node", Version: v.Number, SinceAt: v.Created.At,
			Detail: fmt.Sprintf("the policy wants %d ready instances, %d nodes have one", max(1, k.Policy.MinReady), len(instances)),
			Hint:   "chancery node promote NODE"})
	}
	return out
}

// idle explains a key whose active version has no successor under way.
func (p *planner) idle(k *lifecycle.Key, active *lifecycle.Version, versions []*lifecycle.Version) Progress {
	pr := Progress{Phase: Idle, Version: active.Number}
	for _, v := range versions {
		if v.State == lifecycle.Suspended && v.Number > active.Number {
			pr.WaitsFor = append(pr.WaitsFor, onHold(k, v))
		}
	}
	for _, i := range p.view.Instances(k.ID, active.Number) {
		if i.Condition == lifecycle.Pending && p.signs(i.Node) {
			pr.WaitsFor = append(pr.WaitsFor, p.unready(k, active, []*lifecycle.Instance{i})...)
		}
	}
	if k.Policy.RotateEvery == 0 {
		return pr
	}
	if k.Pause != nil {
		pr.WaitsFor = append(pr.WaitsFor, resumption(k))
	}
	pr.Next, pr.EarliestAt = "prepare", scheduledAt(k, active)
	if len(p.holders(k)) == 0 {
		pr.WaitsFor = append(pr.WaitsFor, Wait{Kind: "node", Detail: "no node that may hold an instance signs", Hint: "chancery node list"})
	}
	return pr
}

// retiring explains a version that has ended and is not gone yet; going is false when
// nothing more happens to it by the plan.
func (p *planner) retiring(k *lifecycle.Key, v *lifecycle.Version) (pr Progress, going bool) {
	pr = Progress{Version: v.Number}
	switch {
	case v.Erasing:
		pr.Phase, pr.Next = Erasing, "destroy"
		pr.WaitsFor = p.unerased(k, v)
	case v.DestroyAt != 0 && v.State != lifecycle.Destroyed && !p.erased(v):
		pr.Phase, pr.Next, pr.EarliestAt = Destroying, "erase", v.DestroyAt
	case v.State == lifecycle.Deactivated && v.InTrustSet():
		return p.verified(k, v), true
	case v.State == lifecycle.Deactivated && v.Withdrawn && k.Policy.DestroyRetired && !v.Kept && v.Revocation == nil:
		pr.Phase, pr.Next = Withdrawn, "destroy"
		if k.Pause != nil {
			pr.WaitsFor = append(pr.WaitsFor, resumption(k))
		}
		if p.guarded(k, v) {
			pr.WaitsFor = append(pr.WaitsFor, Wait{Kind: "operator", Version: v.Number, SinceAt: v.SinceAt, Detail: "its destruction needs approvals",
				Hint: fmt.Sprintf("chancery key destroy %s --version %d", k.ID, v.Number)})
		}
	default:
		return pr, false
	}
	return pr, true
}

// verified explains a version that stands before the gate withdraw.
func (p *planner) verified(k *lifecycle.Key, v *lifecycle.Version) Progress {
	pr := Progress{Phase: Retired, Version: v.Number, Next: "withdraw"}
	if k.Pause != nil {
		pr.WaitsFor = append(pr.WaitsFor, resumption(k))
	}
	g := p.view.Gate(k, v, lifecycle.GateWithdraw, p.now)
	pr.EarliestAt = g.OpensAt
	switch {
	case g.Open:
	case g.OpensAt != 0:
		pr.WaitsFor = append(pr.WaitsFor, Wait{Kind: "window", Version: v.Number, SinceAt: v.DeactivatedAt,
			Detail: fmt.Sprintf("what it signed may be verified for %s", k.Policy.VerifyWindow)})
	case len(g.Holdouts) == 0:
		pr.WaitsFor = append(pr.WaitsFor, Wait{Kind: "operator", Version: v.Number, SinceAt: v.DeactivatedAt, Detail: "it is verified until somebody retires it",
			Hint: fmt.Sprintf("chancery rotation skip %s --version %d --gate %s", k.ID, v.Number, lifecycle.GateWithdraw)})
	}
	if !g.Open {
		pr.WaitsFor = append(pr.WaitsFor, heldBy(g.Holdouts, v, v.DeactivatedAt)...)
	}
	return pr
}

// unerased lists the instances that are not erased yet.
func (p *planner) unerased(k *lifecycle.Key, v *lifecycle.Version) (out []Wait) {
	for _, i := range p.view.Instances(k.ID, v.Number) {
		n := p.nodes[i.Node]
		if i.Condition == lifecycle.Erased || p.removed(i.Node) {
			continue
		}
		out = append(out, Wait{Kind: "instance", Name: n.Name, Version: v.Number, SinceAt: v.DestroyAt,
			Detail: fmt.Sprintf("%s has not shown that its key pair is gone", n.Name), Hint: "chancery node show " + n.Name})
	}
	return out
}
