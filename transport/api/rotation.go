package api

import (
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/rotation"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func rotationRoutes() []*route {
	return []*route{
		reading[wire.List[wire.KeyRotation]]("rotation.list", wire.PathRotations, "Rotations under way, paused or on their way out; with state: waiting, paused or all", (*call).listRotations, with(paged, wire.QueryState)...),
		reading[wire.KeyRotation]("rotation.show", wire.PathRotation, "How far the versions of a key have come, and what they wait for", (*call).showRotation),
		changing("rotation.pause", wire.PathPauseRotation, "Hold the plan of a key", (*call).pauseRotation),
		changing("rotation.resume", wire.PathResumeRotation, "Let the plan of a key go on", (*call).resumeRotation),
		changing("rotation.skip", wire.PathSkipGate, "Open a gate before its time", (*call).skipGate).governed(),
		changing("rotation.rollback", wire.PathRollBack, "Give a version up that has not signed yet", (*call).rollBack).waits(command.KindRollBack),
	}
}

func (c *call) pauseRotation(in *wire.PauseRotation) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.PauseRotation(c.r.Context(), req, c.name(), in.Reason)
	return c.operation(asked{verb: "rotation pause", kind: command.KindPauseRotation, key: c.name(), comment: in.Reason}, r, err)
}

func (c *call) resumeRotation(in *wire.ResumeRotation) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.ResumeRotation(c.r.Context(), req, c.name(), in.Comment)
	return c.operation(asked{verb: "rotation resume", kind: command.KindResumeRotation, key: c.name(), comment: in.Comment}, r, err)
}

func (c *call) skipGate(in *wire.SkipGate) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.SkipGate(c.r.Context(), req, authority.SkipSpec{Key: c.name(), Version: in.Version, Gate: string(in.Gate), Comment: in.Comment})
	return c.operation(asked{verb: "rotation skip", kind: command.KindSkipGate, key: c.name(), comment: in.Comment}, r, err)
}

func (c *call) rollBack(in *wire.RollBack) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.RollBack(c.r.Context(), req, authority.VersionSpec{Key: c.name(), Version: in.Version, Comment: in.Comment})
	return c.operation(asked{verb: "rotation rollback", kind: command.KindRollBack, key: c.name(), comment: in.Comment}, r, err)
}

func (c *call) showRotation() (any, error) {
	k, err := c.key()
	if err != nil {
		return nil, err
	}
	row := c.keyRotation(k, rotation.Explain(c.snap.View, k.ID, c.now()))
	row.Position, row.AsOf = transport.Position(c.snap.Position()), wire.AsTime(c.snap.AsOf)
	return row, nil
}

func (c *call) keyRotation(k *lifecycle.Key, p rotation.Progress) wire.KeyRotation {
	return wire.KeyRotation{Key: string(k.ID), Owner: k.Owner, ActiveVersion: k.Active, Overdue: overdue(c.snap.View, k, c.now()), Rotation: *rotationOf(k, p)}
}

// selections say which rotations a list holds.
var selections = map[string]func(rotation.Progress) bool{
	wire.RotationsGoing: func(p rotation.Progress) bool {
		return p.Pause != nil || p.Phase != rotation.Idle && p.Phase != rotation.Ended || len(p.Retiring) > 0
	},
	wire.RotationsWaiting: func(p rotation.Progress) bool { return p.Pause == nil && forSomebody(p.WaitsFor) },
	wire.RotationsPaused:  func(p rotation.Progress) bool { return p.Pause != nil },
	wire.RotationsAll:     func(rotation.Progress) bool { return true },
}

// forSomebody reports whether time alone does not end the waiting.
func forSomebody(waits []rotation.Wait) bool {
	if len(waits) == 0 {
		return false
	}
	for _, w := range waits {
		if w.Kind == "lead" || w.Kind == "window" {
			return false // it is not late yet
		}
	}
	return true
}

func (c *call) listRotations() (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	want := selections[c.query.Get(wire.QueryState)]
	if want == nil {
		return nil, wire.Errorf(wire.Invalid, "%s: %.20q is none of %s, %s and %s", wire.QueryState, c.query.Get(wire.QueryState), wire.RotationsWaiting, wire.RotationsPaused, wire.RotationsAll)
	}
	pos := transport.Position(c.snap.Position())
	out := wire.List[wire.KeyRotation]{Items: []wire.KeyRotation{}, Position: &pos, AsOf: wire.AsTime(c.snap.AsOf)}
	me, seen := c.snap.Principal(c.caller.Principal), 0
	c.snap.EachKey(lifecycle.KeyID(c.query.Get(wire.QueryCursor)), func(k *lifecycle.Key) bool {
		if seen++; seen > maxScan || len(out.Items) == limit {
			out.Next = wire.Text(k.ID)
			return false
		}
		if access.Decide(me, access.KeyRead, k.ID).Allowed {
			if p := rotation.Explain(c.snap.View, k.ID, c.now()); want(p) {
				out.Items = append(out.Items, c.keyRotation(k, p))
			}
		}
		return true
	})
	return out, nil
}

func rotationView(v *state.View, k *lifecycle.Key, now lifecycle.Instant) *wire.Rotation {
	return rotationOf(k, rotation.Explain(v, k.ID, now))
}

func rotationOf(k *lifecycle.Key, p rotation.Progress) *wire.Rotation {
	r := &wire.Rotation{Step: step(k, p), Retiring: []wire.Step{}}
	if p.Pause != nil {
		r.Paused, r.PausedAt, r.PausedBy, r.PauseReason = true, wire.Time(p.Pause.At), wire.Text(p.Pause.By), wire.Text(p.Pause.Reason)
	}
	for _, old := range p.Retiring {
		r.Retiring = append(r.Retiring, step(k, old))
	}
	return r
}

func step(k *lifecycle.Key, p rotation.Progress) wire.Step {
	s := wire.Step{Phase: string(p.Phase), Version: p.Version, Next: p.Next, EarliestAt: wire.Time(p.EarliestAt), WaitsFor: []wire.Blocker{}}
	for _, w := range p.WaitsFor {
		b := wire.Blocker{Kind: w.Kind, Name: w.Name, Owner: w.Owner, Since: wire.Time(w.SinceAt), Detail: w.Detail, Hint: w.Hint}
		if b.Owner == "" {
			b.Owner = k.Owner
		}
		if b.Name == "" {
			b.Name, b.Detail = w.Detail, ""
		}
		s.WaitsFor = append(s.WaitsFor, b)
	}
	return s
}

// rotation finds what a person should look at in the plan of one key.
func (p *problems) rotation(k *lifecycle.Key, now lifecycle.Instant) {
	name := string(k.ID)
	if k.Pause != nil {
		p.add(wire.Warning, "rotation_paused", name, "chancery rotation resume "+name, "the rotation of %s is paused since %s by %s: %s", name, k.Pause.At, k.Pause.By, k.Pause.Reason)
		return
	}
	newest := p.snap.Version(k.ID, k.Newest)
	if newest == nil || newest.State != lifecycle.PreActivation || newest.NotedAt == 0 {
		return
	}
	pr := rotation.Explain(p.snap.View, k.ID, now)
	if forSomebody(pr.WaitsFor) {
		p.add(wire.Warning, "rotation_waiting", name, pr.WaitsFor[0].Hint, "version %d of %s waits to %s for %s", pr.Version, name, pr.Next, who(pr.WaitsFor))
	}
}

// who names whom a rotation waits for.
func who(waits []rotation.Wait) string {
	const most = 5 // a line, not a list: rotation show has them all
	var parts []string
	for i, w := range waits {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(waits)-most))
			break
		}
		s := strings.TrimSpace(w.Kind + " " + w.Name)
		if w.Owner != "" {
			s += " of " + w.Owner
		}
		if w.Detail != "" {
			s += " (" + w.Detail + ")"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}

// skipEffects says what the version would not wait for.
func skipEffects(say func(string, ...any), v *state.View, k *lifecycle.Key, versions []uint64) {
	if k == nil || len(versions) != 1 {
		return
	}
	ver := v.Version(k.ID, versions[0])
	if ver == nil {
		return
	}
	name := versionsText(string(k.ID), versions)
	gate := lifecycle.GateWithdraw
	if ver.State == lifecycle.PreActivation {
		gate = lifecycle.GateActivate
	}
	g := v.Gate(k, ver, gate, v.Clock())
	if gate == lifecycle.GateActivate {
		say("%s would sign as soon as enough of its instances are ready", name)
		if g.OpensAt > v.Clock() {
			say("verifiers that load it later than that would refuse what it signs: its lead would have lasted until %s", g.OpensAt)
		}
		for _, n := range g.Uncertified {
			say("%s would issue nothing until its instance has a CA certificate", n.Name)
		}
	} else {
		say("%s would leave the JWKS at once: what it signed would not verify any more", name)
		if g.OpensAt > v.Clock() {
			say("its verify window would have lasted until %s", g.OpensAt)
		}
	}
	for _, h := range g.Holdouts {
		say("consumer %s of %s has not confirmed: %d of %d instances have", h.Consumer.Name, h.Consumer.Owner, h.Have, h.Expect)
	}
}

// resumeEffects says what the plan would do next.
func resumeEffects(say func(string, ...any), v *state.View, k *lifecycle.Key) {
	if k == nil {
		return
	}
	p := rotation.Explain(v, k.ID, v.Clock())
	switch {
	case p.Next == "":
		say("the rotation of %s would go on; nothing is due", k.ID)
	case p.EarliestAt == 0 || p.EarliestAt <= v.Clock():
		say("the rotation of %s would go on: next is to %s, as soon as nothing else holds it", k.ID, p.Next)
	default:
		say("the rotation of %s would go on: next is to %s, not before %s", k.ID, p.Next, p.EarliestAt)
	}
}
