package api

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

func (c *call) replaceKey(in *wire.Replace) (any, error) {
	if !in.Emergency {
		return nil, wire.Errorf(wire.Invalid, "a replacement waits for nobody: say so with emergency").
			WithHint("chancery key rotate %s makes a new version without ending what the old one signed", c.name())
	}
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	spec := authority.ReplaceSpec{Key: c.name(), Versions: in.Versions, Reason: string(in.Reason), CompromisedSince: in.CompromisedSince.Instant(),
		Comment: in.Comment, Distrust: in.Distrust}
	r, err := c.Service.Replace(c.r.Context(), req, spec)
	return c.operation(asked{verb: "replace", kind: command.KindReplace, key: c.name(), reason: in.Reason, since: in.CompromisedSince, comment: in.Comment}, r, err)
}

// exchangedVersions are those that a replacement ends, and the one that it makes.
func exchangedVersions(o state.Outcome) (old []uint64, made uint64) {
	old, made = authority.Exchanged(o)
	return notNone(old), made
}

// replaced fills in how far a replacement has come: the end of the old versions, and
// the beginning of the new one. The two go on side by side and are never waited for
// together; Reached is the last level before which none is missing.
func (a *API) replaced(op *wire.Operation, v *state.View, levels []authority.Level, at lifecycle.Instant, o state.Outcome) {
	op.Versions, op.NewVersion = exchangedVersions(o)
	op.Nodes = []wire.NodeOutcome{}
	if f := v.Fence(o.Index); f != nil {
		a.withdrawn(op, v, f, at)
	}
	p := authority.ProgressOf(v, o.Key, op.NewVersion)
	op.Published, op.Active = &wire.PublishedAt{}, &wire.Reached{}
	if k := v.Key(o.Key); k != nil && p.PublishedAt != 0 {
		op.Published = publishedAt(k, p.PublishedAt)
	}
	if p.ActiveAt != 0 {
		op.Active = &wire.Reached{At: wire.Time(p.ActiveAt), MS: max(0, int64(p.ActiveAt-at))}
	}
	a.joining(op, v, o.Key, at)
	conf := authority.ConfirmationOf(v, o)
	op.StillTrusting, op.Confirmed = dependents(conf.Trusting), &wire.Reached{}
	if conf.At != 0 {
		op.Confirmed = &wire.Reached{At: wire.Time(conf.At), MS: max(0, int64(conf.At-at))}
	}
	op.Reached, op.Complete = wire.Committed, true
	for _, l := range levels[1:] {
		if past := p.Ended && l != authority.Fenced && l != authority.Settled; !op.Has(string(l)) && !past {
			op.Complete = false
			break
		}
		op.Reached = string(l)
	}
	if p.ActiveAt == 0 && !p.Ended {
		op.Next = append(op.Next, "chancery wait "+op.RequestID+" --for "+wire.Activated)
		if k := v.Key(o.Key); k != nil {
			op.WaitsFor = rotationView(v, k, lifecycle.Instant(a.Clock().UnixMilli())).WaitsFor
		}
	}
	if p.Ended {
		return
	}
	for _, h := range conf.Missing {
		op.WaitsFor = append(op.WaitsFor, wire.Blocker{Kind: "consumer", Name: h.Consumer.Name, Owner: h.Consumer.Owner, Since: wire.Time(h.LastAt),
			Hint: "chancery consumer show " + h.Consumer.Name})
	}
}

// joining says of each node how far its key pair of the new version is.
func (a *API) joining(op *wire.Operation, v *state.View, key lifecycle.KeyID, at lifecycle.Instant) {
	ver := v.Version(key, op.NewVersion)
	if ver == nil {
		return
	}
	for _, i := range v.Instances(key, op.NewVersion) {
		name := nodeName(v, i.Node)
		n := slices.IndexFunc(op.Nodes, func(o wire.NodeOutcome) bool { return o.Node == name })
		if n < 0 { // it came after the fence, and had nothing to stop
			op.Nodes = append(op.Nodes, wire.NodeOutcome{Node: name})
			n = len(op.Nodes) - 1
		}
		with := a.instance(v, ver, i)
		op.Nodes[n].Instance = &wire.NodeInstance{Condition: i.Condition, KID: with.KID, At: with.PublishedAt, MaySign: with.MaySign, Why: i.Detail}
		if i.PublishedAt != 0 {
			op.Nodes[n].Instance.MS = max(0, int64(i.PublishedAt-at))
		}
	}
	slices.SortFunc(op.Nodes, func(a, b wire.NodeOutcome) int { return strings.Compare(a.Node, b.Node) })
}

// replacing fills in what a plan knows of the new version: which nodes would make their
// key pairs at once. There is no bound for that: it is up to their key stores.
func (c *call) replacing(op *wire.Operation, v *state.View, k *lifecycle.Key) {
	op.Active = &wire.Reached{}
	var absent []string
	for i, n := range op.Nodes {
		node := v.NodeByName(n.Node)
		if node == nil || !node.Signs() || k.Custody == lifecycle.Singleton && node.ID != k.Node {
			continue
		}
		op.Nodes[i].Instance = &wire.NodeInstance{Condition: lifecycle.Pending}
		if n.Outcome == wire.LeaseExpired {
			absent = append(absent, n.Node)
		}
	}
	if len(absent) > 0 {
		op.Effects = append(op.Effects, strings.Join(absent, ", ")+" would join when it is back: nobody waits for a node that is not heard")
	}
}

func replaceEffects(say func(string, ...any), v *state.View, k *lifecycle.Key, a asked, o state.Outcome) {
	old, made := exchangedVersions(o)
	if len(old) > 0 {
		revokeEffects(say, nil, a, state.Outcome{Versions: old})
	} else {
		say("%s has no version left to revoke", a.key)
	}
	if k == nil {
		return
	}
	holders := signingNodes(v)
	if k.Custody == lifecycle.Singleton {
		holders = []string{nodeName(v, k.Node)}
	}
	say("%s would each make a key pair for version %d; the first that is ready is published and signs at once, without the lead of %s", strings.Join(holders, ", "), made, k.Policy.Lead)
	say("verifiers would accept nothing of it before they load the new JWKS: caches have let go of the old one within %s", k.Policy.LongestCached())
}
