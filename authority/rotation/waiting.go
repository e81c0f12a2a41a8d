package rotation

import (
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// noticeAfter is how long the instances of a new version may take before it is made
// known that the rotation waits for them: a node that restarts is back by then.
const noticeAfter = 5 * lifecycle.Minute

// note has it made known, once for each step, that a version waits for somebody and no
// longer for time alone.
func (p *planner) note(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) {
	since := v.Created.At.Add(noticeAfter)
	if v.PublishedAt != 0 {
		since = p.timeDone(k, v)
		if p.view.Issuer(k.ID) != nil {
			since = max(since, v.PublishedAt.Add(noticeAfter)) // CA certificates are made by themselves, except an external issuer's
		}
	}
	if v.NotedAt >= since || !p.due(since) {
		return
	}
	if waits := p.somebody(k, v, instances); len(waits) > 0 {
		p.add(&command.NoteWaiting{Key: k.ID, Version: v.Number, For: named(waits)}, "it waits for somebody", state.RefKey(k), state.RefVersion(v))
	}
}

// timeDone is when time has done its part before a published version may sign.
func (p *planner) timeDone(k *lifecycle.Key, v *lifecycle.Version) lifecycle.Instant {
	if s := v.Skips(lifecycle.GateActivate); s != nil {
		return s.At
	}
	if !v.Gated() {
		return v.PublishedAt
	}
	return v.PublishedAt.Add(k.Policy.Lead)
}

// somebody lists who or what a version in pre-activation waits for, time aside.
func (p *planner) somebody(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) (out []Wait) {
	if v.PublishedAt != 0 {
		g := p.view.Gate(k, v, lifecycle.GateActivate, p.now)
		out = append(p.uncertified(k, v, g.Uncertified), heldBy(g.Holdouts, v, v.PublishedAt)...)
	}
	if ready, _ := p.tally(instances); ready < need(k, v) {
		out = append(out, p.unready(k, v, instances)...)
	}
	return out
}

// named writes waits in one line that fits into a command.
func named(waits []Wait) string {
	const most = command.MaxTextBytes - 40 // room for how many were left out
	var parts []string
	bytes := 0
	for i, w := range waits {
		s := strings.TrimSpace(w.Kind + " " + w.Name)
		if w.Owner != "" {
			s += " of " + w.Owner
		}
		if bytes += len(s) + 2; bytes > most {
			parts = append(parts, fmt.Sprintf("and %d more", len(waits)-i))
			break
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, ", ")
}

// uncertified names the instances of an issuer that have no CA certificate yet, and who
// is to give them one.
func (p *planner) uncertified(k *lifecycle.Key, v *lifecycle.Version, nodes []*lifecycle.Node) (out []Wait) {
	is := p.view.Issuer(k.ID)
	for _, n := range nodes {
		w := Wait{Kind: "certificate", Name: n.Name, Version: v.Number, SinceAt: v.PublishedAt, Hint: "chancery issuer show " + string(k.ID),
			Detail: fmt.Sprintf("the instance on %s has no CA certificate yet", n.Name)}
		switch is.Kind {
		case lifecycle.ExternalIssuer:
			w.Detail += ": the CA above it signs its request, and somebody imports the answer"
			w.Hint = fmt.Sprintf("chancery issuer csr %s --node %s", k.ID, n.Name)
		case lifecycle.IssuingIssuer:
			w.Detail += ": an instance of " + string(is.Parent) + " signs it"
		default:
			w.Detail += ": it signs its own"
		}
		out = append(out, w)
	}
	return out
}

// heldBy names the consumers that a gate of the version waits for.
func heldBy(holdouts []state.Holdout, v *lifecycle.Version, since lifecycle.Instant) (out []Wait) {
	for _, h := range holdouts {
		w := Wait{Kind: "consumer", Name: h.Consumer.Name, Owner: h.Consumer.Owner, Version: v.Number, SinceAt: since, Hint: "chancery consumer show " + h.Consumer.Name}
		w.Detail = fmt.Sprintf("%d of %d instances have confirmed", h.Have, h.Expect)
		switch {
		case h.Lapsed:
			w.Detail += fmt.Sprintf(", none since %s: what they said has lapsed", h.LastAt)
		case h.LastAt == 0:
			w.Detail += ", none ever for this key"
		case h.Still > 0:
			w.Detail += fmt.Sprintf(", %d still have it", h.Still)
		}
		out = append(out, w)
	}
	return out
}
