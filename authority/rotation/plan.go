package rotation

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// ReadyGrace is how long a new version waits for the slower nodes once one
// instance is ready, when the policy names no number. After it, a node that is down
// holds nobody up; its instance comes in later, with a lead of its own.
const ReadyGrace = 10 * lifecycle.Second

// Step is one command that is due.
type Step struct {
	Body  command.Body
	Reads []command.RowRef // the rows it was planned on
	Why   string           // a clause for the log: "its lead of 1h has passed"
}

// Draw makes the CKA_ID of a new instance.
type Draw func() lifecycle.CKAID

// Plan lists what is due at now, in key order. Two steps of one key may read the
// same row; the second is then a conflict, and due again in the next plan.
func Plan(view *state.View, now lifecycle.Instant, draw Draw) []Step {
	return pass(view, now, draw).steps
}

// Next is when the next step that only waits for time is due: after now, 0 = none.
func Next(view *state.View, now lifecycle.Instant) lifecycle.Instant {
	return pass(view, now, nil).next
}

// pass looks at every key once. draw may be nil when the steps are not wanted.
func pass(view *state.View, now lifecycle.Instant, draw Draw) *planner {
	p := newPlanner(view, now)
	p.draw = draw
	view.EachKey("", func(k *lifecycle.Key) bool {
		p.key(k)
		return true
	})
	return p
}

// planner is the work of one pass.
type planner struct {
	view    *state.View
	now     lifecycle.Instant
	signers []*lifecycle.Node
	nodes   map[lifecycle.NodeID]*lifecycle.Node
	draw    Draw // nil = plan nothing that needs a CKA_ID
	steps   []Step
	next    lifecycle.Instant
	asks    bool // a gate is closed that a consumer's word could open
}

func newPlanner(view *state.View, now lifecycle.Instant) *planner {
	// Apply judges by the log's clock, which runs ahead of a slow wall clock.
	p := &planner{view: view, now: max(now, view.Clock()), nodes: map[lifecycle.NodeID]*lifecycle.Node{}}
	for _, n := range view.Nodes() {
		p.nodes[n.ID] = n
		if n.Signs() {
			p.signers = append(p.signers, n)
		}
	}
	return p
}

func (p *planner) signs(id lifecycle.NodeID) bool {
	n := p.nodes[id]
	return n != nil && n.Signs()
}

func (p *planner) removed(id lifecycle.NodeID) bool {
	n := p.nodes[id]
	return n == nil || n.Status == lifecycle.Removed
}

// due reports whether at has come; when not, the pass remembers it.
func (p *planner) due(at lifecycle.Instant) bool {
	if at == 0 || at <= p.now {
		return at != 0
	}
	if p.next == 0 || at < p.next {
		p.next = at
	}
	return false
}

// gate judges a gate; of one that is closed, the pass remembers what could open it.
func (p *planner) gate(k *lifecycle.Key, v *lifecycle.Version, gate lifecycle.Gate) state.Gate {
	g := p.view.Gate(k, v, gate, p.now)
	if !g.Open {
		p.due(g.OpensAt)
		p.asks = p.asks || len(g.Holdouts) > 0
	}
	return g
}

func (p *planner) add(body command.Body, why string, reads ...command.RowRef) {
	p.steps = append(p.steps, Step{Body: body, Reads: reads, Why: why})
}

// key plans for one key.
func (p *planner) key(k *lifecycle.Key) {
	versions := p.view.Versions(k.ID)
	for _, v := range versions {
		switch v.State {
		case lifecycle.PreActivation:
			p.preActivation(k, v)
		case lifecycle.Active:
			p.active(k, v)
			p.schedule(k, v, versions)
		case lifecycle.Deactivated, lifecycle.Compromised:
			p.retire(k, v)
		}
	}
}

// preActivation publishes a version when its instances are ready and activates it when
// the gate before that is open.
func (p *planner) preActivation(k *lifecycle.Key, v *lifecycle.Version) {
	instances := p.view.Instances(k.ID, v.Number)
	switch {
	case paused(k, v):
	case v.PublishedAt == 0 && p.ready(k, v, instances):
		if why := withoutLead(v); why != "" {
			p.add(&command.ActivateVersion{Key: k.ID, Version: v.Number}, "its instances are ready and "+why, state.RefKey(k), state.RefVersion(v))
			return
		}
		p.add(&command.PublishVersion{Key: k.ID, Version: v.Number}, "its instances are ready", state.RefKey(k), state.RefVersion(v))
		return
	case v.PublishedAt != 0 && p.activatable(k, v, instances):
		p.add(&command.ActivateVersion{Key: k.ID, Version: v.Number}, p.whyActivate(k, v), state.RefKey(k), state.RefVersion(v))
		return
	default:
		p.note(k, v, instances)
	}
	p.plan(k, v, instances)
}

// paused reports whether the plan of the key takes no step for the version. An emergency
// is no step of a plan.
func paused(k *lifecycle.Key, v *lifecycle.Version) bool { return k.Pause != nil && !v.Emergency }

func (p *planner) whyActivate(k *lifecycle.Key, v *lifecycle.Version) string {
	if s := v.Skips(lifecycle.GateActivate); s != nil {
		return s.By + " skipped the gate before it"
	}
	if k.Policy.ConfirmActivate && len(p.view.RequiredOf(k.ID, lifecycle.GateActivate, v.Number, p.now)) > 0 {
		return fmt.Sprintf("its lead of %s has passed and its required consumers know it", k.Policy.Lead)
	}
	return fmt.Sprintf("its lead of %s has passed", k.Policy.Lead)
}

// withoutLead says why a version may sign the moment it is published, "" when it may
// not. Binding the first instance of an emergency activates it in the same entry; a
// version that was on hold then, or whose node came back into service, is left to us.
func withoutLead(v *lifecycle.Version) string {
	switch {
	case v.Number == 1:
		return "a first version needs no lead"
	case v.Emergency:
		return "an emergency waits for no lead"
	}
	return ""
}

// tally counts the instances of a version on nodes that sign.
func (p *planner) tally(instances []*lifecycle.Instance) (ready, planned int) {
	for _, i := range instances {
		if p.signs(i.Node) {
			planned++
			if i.Condition == lifecycle.Ready {
				ready++
			}
		}
	}
	return ready, planned
}

// ready reports whether enough instances are ready for the version to be published.
func (p *planner) ready(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) bool {
	ready, planned := p.tally(instances)
	switch {
	case v.Emergency:
		return ready > 0
	case k.Policy.MinReady > 0:
		return ready >= k.Policy.MinReady
	case ready == 0:
		return false
	}
	return ready == planned || p.due(v.Created.At.Add(ReadyGrace))
}

// activatable reports whether the gate is open, and enough of the version's instances
// could sign from that moment on: an instance bound late is admitted later, and a
// version nobody may sign with would be an outage.
func (p *planner) activatable(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) bool {
	if g := p.gate(k, v, lifecycle.GateActivate); !g.Open {
		return false
	}
	return p.usable(k, v, instances) >= need(k, v)
}

// usable counts the instances that could sign if the version were activated now.
func (p *planner) usable(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) (n int) {
	for _, i := range instances {
		if i.Condition == lifecycle.Ready && i.PublishedAt != 0 && p.signs(i.Node) &&
			(!v.Gated() || p.due(i.PublishedAt.Add(k.Policy.Lead))) {
			n++
		}
	}
	return n
}

// need is how many instances of the version must be able to sign before it does.
func need(k *lifecycle.Key, v *lifecycle.Version) int {
	if v.Emergency {
		return 1
	}
	return max(1, k.Policy.MinReady)
}

// active admits instances that came later, and plans those of new nodes.
func (p *planner) active(k *lifecycle.Key, v *lifecycle.Version) {
	instances := p.view.Instances(k.ID, v.Number)
	for _, i := range instances {
		if i.Condition == lifecycle.Ready && i.PublishedAt != 0 && i.AdmittedAt == 0 && p.signs(i.Node) &&
			p.due(i.PublishedAt.Add(k.Policy.Lead)) {
			p.add(&command.AdmitInstance{Key: k.ID, Version: v.Number, Node: i.Node},
				fmt.Sprintf("its lead of %s has passed", k.Policy.Lead), state.RefKey(k), state.RefVersion(v), state.RefInstance(i))
		}
	}
	p.plan(k, v, instances)
}

// plan gives nodes that sign, and came after the version was prepared, an instance
// of it. Nobody else's kid changes.
func (p *planner) plan(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) {
	if k.Custody != lifecycle.Distributed || p.draw == nil {
		return
	}
	var lacking []*lifecycle.Node
	for _, n := range p.signers {
		has := false
		for _, i := range instances {
			has = has || i.Node == n.ID
		}
		if !has {
			lacking = append(lacking, n)
		}
	}
	if len(lacking) == 0 {
		return
	}
	intents, reads := p.intents(lacking)
	p.add(&command.PlanInstances{Key: k.ID, Version: v.Number, Instances: intents},
		fmt.Sprintf("%d signing nodes have no instance of it", len(lacking)), append(reads, state.RefKey(k), state.RefVersion(v))...)
}

func (p *planner) intents(nodes []*lifecycle.Node) (intents []command.Intent, reads []command.RowRef) {
	for _, n := range nodes {
		intents = append(intents, command.Intent{Node: n.ID, CKAID: p.draw()})
		reads = append(reads, state.RefNode(n))
	}
	return intents, reads
}

// schedule prepares the successor of the active version, so early that its lead has
// passed when the active one is due.
func (p *planner) schedule(k *lifecycle.Key, v *lifecycle.Version, versions []*lifecycle.Version) {
	if k.Policy.RotateEvery == 0 || k.Pause != nil || open(v, versions) || !p.due(scheduledAt(k, v)) {
		return
	}
	holders := p.holders(k)
	if len(holders) == 0 || p.draw == nil {
		return
	}
	intents, reads := p.intents(holders)
	p.add(&command.PrepareVersion{Key: k.ID, Version: k.Newest + 1, Instances: intents},
		fmt.Sprintf("version %d is due for rotation every %s", v.Number, k.Policy.RotateEvery), append(reads, state.RefKey(k), state.RefVersion(v))...)
}

func scheduledAt(k *lifecycle.Key, active *lifecycle.Version) lifecycle.Instant {
	return active.ActivatedAt.Add(k.Policy.RotateEvery - k.Policy.Lead)
}

// open reports whether a rotation is under way: a version waits to be activated, or
// a successor of the active one is on hold and somebody has to decide.
func open(active *lifecycle.Version, versions []*lifecycle.Version) bool {
	for _, v := range versions {
		if v.State == lifecycle.PreActivation || v.State == lifecycle.Suspended && v.Number > active.Number {
			return true
		}
	}
	return false
}

// holders are the nodes a new version of the key is made on.
func (p *planner) holders(k *lifecycle.Key) []*lifecycle.Node {
	if k.Custody == lifecycle.Distributed {
		return p.signers
	}
	if p.signs(k.Node) {
		return []*lifecycle.Node{p.nodes[k.Node]}
	}
	return nil
}
