package api

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// asked is what a change was about, as its caller put it.
type asked struct {
	verb    string
	kind    command.Kind
	key     string
	subject string
	holder  string // the one node that makes a key pair, "" = each that signs
	reason  lifecycle.Reason
	since   wire.Time
	comment string
	body    command.Body // as far as it is known without a plan; nil = not
	final   bool         // committed is its last level, whatever its kind
}

// operation is the answer to a change: what came of it, after waiting for the level
// that was asked for.
func (c *call) operation(a asked, r authority.Result, err error) (any, error) {
	if r.Outcome.Replayed {
		c.w.Header()[wire.HeaderReplayed] = []string{"true"}
	}
	if err != nil {
		return nil, err
	}
	v := c.Service.View()
	if r.DryRun {
		c.snap.View = v
		return c.plan(v, a, r), nil
	}
	committed := time.Since(c.began)
	if !r.Outcome.Replayed {
		c.observe(a.kind, authority.Committed, true)
	}
	v, reached := c.await(r.Outcome, c.level)
	if !reached {
		c.status = accepted
	}
	if !r.Outcome.Replayed && v.Fence(r.Outcome.Index) != nil {
		c.observe(a.kind, c.level, reached)
	}
	c.snap.View = v
	op := wire.Operation{RequestID: r.RequestID, Verb: a.verb, Actor: c.caller.Principal, Subject: a.subject, Key: a.key,
		Versions: r.Outcome.Versions, Reason: a.reason, CompromisedSince: a.since, Comment: a.comment}
	if p := authority.ProposalOf(v, r.Outcome); p != nil {
		o, carried := c.proposed(&op, v, p)
		if !carried {
			return &op, nil
		}
		c.progress(&op, v, a.kind, authority.LevelsOf(v, a.kind, o), p.EndedAt, o)
		return &op, nil
	}
	levels := authority.LevelsOf(v, a.kind, r.Outcome)
	if a.final {
		levels = levels[:1]
	}
	at := r.At
	if at == 0 {
		at = lifecycle.Instant(c.began.UnixMilli())
		if stored, err := v.Operation(c.caller.Principal, r.RequestID); err == nil && stored != nil {
			at = stored.At
		}
	}
	c.progress(&op, v, a.kind, levels, at, r.Outcome)
	if !r.Outcome.Replayed {
		op.Committed.MS = committed.Milliseconds()
	}
	return &op, nil
}

// await holds the request for a level, until its time is up or the node stops.
func (c *call) await(o state.Outcome, l authority.Level) (*state.View, bool) {
	if l == "" || l == authority.Committed || l == authority.Approved && o.Proposal == "" {
		return c.Service.View(), true
	}
	if v, reached := c.Service.Reached(o, l); reached { // most writes: they took nothing away, and there is nothing to wait for
		return v, true
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), c.hold)
	defer cancel()
	go func() {
		select {
		case <-c.stopping:
			cancel()
		case <-ctx.Done():
		}
	}()
	c.counters.Held.Inc()
	defer c.counters.Held.Dec()
	return c.Service.Await(ctx, o, l)
}

// progress fills in the levels of an operation that took effect at the given time.
func (a *API) progress(op *wire.Operation, v *state.View, k command.Kind, levels []authority.Level, at lifecycle.Instant, o state.Outcome) {
	op.Position = transport.Position(v.Position())
	op.Reached, op.Complete = wire.Committed, len(levels) == 1
	op.Committed = &wire.Reached{At: wire.Time(at), Index: o.Index}
	op.Next = []string{}
	switch k {
	case command.KindRevoke:
		a.revoked(op, v, o.Key, at)
	case command.KindReplace:
		a.replaced(op, v, levels, at, o)
		return
	case command.KindRevokeCertificates, command.KindReleaseCertificates:
		op.Published = certsPublished(v, v.Issuer(o.Key), o.Index, at)
	}
	if f := v.Fence(o.Index); f != nil && len(levels) > 1 && levels[1] == authority.Fenced {
		a.withdrawn(op, v, f, at)
		return
	}
	if len(levels) == 1 || len(o.Versions) == 0 {
		return
	}
	version := o.Versions[len(o.Versions)-1]
	p := authority.ProgressOf(v, o.Key, version)
	level := func(l authority.Level) *wire.Reached {
		when := p.At(l)
		if when == 0 {
			return &wire.Reached{}
		}
		op.Reached, op.Complete = string(l), l == levels[len(levels)-1]
		return &wire.Reached{At: wire.Time(when), MS: max(0, int64(when-at))}
	}
	for _, l := range levels[1:] {
		switch l {
		case authority.Prepared:
			op.Prepared = level(l)
		case authority.Published:
			op.Published = &wire.PublishedAt{At: level(l).At}
		case authority.Activated:
			op.Active = level(l)
		case authority.Destroyed:
			op.Destroyed = level(l)
			if ver := v.Version(o.Key, version); ver != nil && !op.Complete {
				op.Destroyed.By = wire.Time(ver.DestroyAt)
			}
		}
	}
	if op.Complete {
		return
	}
	if p.Ended {
		op.Complete = true
		return
	}
	op.Next = append(op.Next, "chancery wait "+op.RequestID+" --for "+string(levels[len(levels)-1]))
	if key := v.Key(o.Key); key != nil && k != command.KindScheduleDestroy {
		op.WaitsFor = rotationView(v, key, lifecycle.Instant(a.Clock().UnixMilli())).WaitsFor
	}
}

// verbs names the request that a command came from.
var verbs = map[command.Kind]string{
	command.KindCreateKey: "create", command.KindPrepareVersion: "rotate", command.KindActivateVersion: "activate",
	command.KindSuspendVersion: "suspend", command.KindResumeVersion: "resume", command.KindDeactivateVersion: "deactivate",
	command.KindRevoke: "revoke", command.KindReplace: "replace", command.KindScheduleDestroy: "destroy", command.KindSetPolicy: "policy set", command.KindConfirmPurpose: "confirm",
	command.KindWithdrawVersion: "withdraw", command.KindAddPrincipal: "principal add", command.KindRevokePrincipal: "principal revoke",
	command.KindAddToken: "token create", command.KindRevokeToken: "token revoke", command.KindAddJoinToken: "node token",
	command.KindSetNodeRoles: "node promote", command.KindSetNodeStatus: "node status", command.KindLiftSeal: "node unseal", command.KindSetSettings: "cluster set",
	command.KindOpenProposal: "propose", command.KindApprove: "proposal approve", command.KindRejectProposal: "proposal reject",
	command.KindWithdrawProposal: "proposal withdraw", command.KindBreakGlass: "break glass",
	command.KindPauseRotation: "rotation pause", command.KindResumeRotation: "rotation resume", command.KindSkipGate: "rotation skip", command.KindRollBack: "rotation rollback",
	command.KindRotateGossipKey:  "cluster rotate-gossip-key",
	command.KindRegisterConsumer: "consumer register", command.KindUpdateConsumer: "consumer change", command.KindRetireConsumer: "consumer retire",
	command.KindEnrolConsumer: "consumer enrol", command.KindWaiveConsumer: "consumer waive",
	command.KindCreateIssuer: "issuer create", command.KindSetIssuer: "issuer set", command.KindBindCACert: "issuer import", command.KindSetProfile: "profile set", command.KindDropProfile: "profile drop",
	command.KindRevokeCertificates: "cert revoke", command.KindReleaseCertificates: "cert release",
}

// stored renders a remembered request. Its details come out of the lifecycle log.
func (c *call) stored(v *state.View, op *state.Operation) (*wire.Operation, error) {
	w := &wire.Operation{RequestID: op.RequestID, Verb: verbs[op.Kind], Actor: op.Actor, Key: string(op.Outcome.Key), Versions: op.Outcome.Versions}
	if w.Verb == "" {
		w.Verb = op.Kind.String()
	}
	if w.Key == "" {
		w.Subject = op.Outcome.Subject
	}
	if !op.Outcome.OK() {
		w.Complete, w.Position = true, transport.Position(v.Position())
		w.Error = transport.Failure(op.Outcome.Err())
		w.Error.RequestID = op.RequestID
		return w, nil
	}
	if op.Outcome.Proposal != "" { // which it approved or ended, unless it is the one that it became
		w.Proposal, w.Subject, w.Key = op.Outcome.Proposal, op.Outcome.Proposal, ""
	}
	if p := authority.ProposalOf(v, op.Outcome); p != nil {
		w.Verb = verbs[command.Kind(p.PlanKind)]
		if o, carried := c.proposed(w, v, p); carried {
			c.progress(w, v, command.Kind(p.PlanKind), authority.LevelsOf(v, command.Kind(p.PlanKind), o), p.EndedAt, o)
		}
		return w, nil
	}
	levels := authority.LevelsOf(v, op.Kind, op.Outcome)
	err := eachLeafOf(v, op.Outcome.Index, func(l *state.Leaf) {
		if l.RequestID != op.RequestID || l.Actor != op.Actor {
			return // of another request that shared the entry
		}
		if l.Reason != "" && w.Reason == "" {
			w.Reason = lifecycle.Reason(l.Reason)
		}
		if l.Kind == "key.destroy_cancelled" {
			w.Verb, levels = "destroy cancel", levels[:1]
		}
	})
	if err != nil {
		return nil, err
	}
	for _, n := range w.Versions {
		if ver := v.Version(op.Outcome.Key, n); ver != nil && ver.Revocation != nil && ver.Revocation.Index == op.Outcome.Index {
			w.Reason, w.CompromisedSince, w.Comment = ver.Revocation.Reason, wire.Time(ver.Revocation.CompromisedSince), ver.Revocation.Comment
		}
	}
	c.progress(w, v, op.Kind, levels, op.At, op.Outcome)
	return w, nil
}

// eachLeafOf calls fn for the leaves of one entry.
func eachLeafOf(v *state.View, index uint64, fn func(*state.Leaf)) error {
	if index == 0 {
		return nil
	}
	first, err := v.LeafAfter(index - 1)
	if err != nil {
		return err
	}
	return v.Leaves(first, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Index != index {
			return false
		}
		fn(l)
		return true
	})
}

// sees reports whether the caller may look at the requests of others.
func (c *call) sees(actor string) bool {
	return actor == c.caller.Principal || access.Decide(c.snap.Principal(c.caller.Principal), access.LogRead, "").Allowed
}

// find looks a request up by its id, and by whoever made it.
func (c *call) find(v *state.View, id string) (found *state.Operation, err error) {
	err = v.Operations(id, func(op *state.Operation) bool {
		if op.RequestID != id {
			return false
		}
		if c.sees(op.Actor) {
			found = op
		}
		return found == nil
	})
	return found, err
}

func (c *call) showOperation() (any, error) {
	id := c.name()
	if _, err := command.RequestTime(id); err != nil {
		return nil, wire.Errorf(wire.Invalid, "%v", err)
	}
	level := authority.Level(c.query.Get(wire.QueryWait))
	hold, err := c.duration(wire.QueryWithin, wire.DefaultHold)
	if err != nil {
		return nil, err
	}
	c.hold = min(hold, wire.MaxHold)
	if level != "" && !slices.Contains(authority.AllLevels, level) {
		return nil, wire.Errorf(wire.Invalid, "wait: %.40q is no level; the levels are %v", level, authority.AllLevels)
	}
	op, err := c.find(c.snap.View, id)
	if err != nil {
		return nil, err
	}
	if op == nil {
		return nil, wire.Errorf(wire.OperationNotFound, "no request %s is remembered here: it never arrived, is older than %s, or is somebody else's", id, state.OperationsKept)
	}
	kind := op.Kind
	if p := authority.ProposalOf(c.snap.View, op.Outcome); p != nil {
		kind = command.Kind(p.PlanKind)
	}
	switch {
	case level == "" || level == authority.Committed || !op.Outcome.OK():
	case level != authority.Approved && !slices.Contains(authority.Levels(kind), level):
		return nil, wire.Errorf(wire.Invalid, "wait: %q is not a level of %q, which are %v", level, verbs[kind], authority.Levels(kind))
	default:
		v, reached := c.await(op.Outcome, level)
		if c.snap.View = v; !reached {
			c.status = accepted
		}
	}
	return c.stored(c.snap.View, op)
}

// listOperations pages from the newest request on: the cursor is the id before
// which to go on. The table is in the order of its ids, which begin with a time, so
// it looks at ever longer stretches of the past until the page is full.
func (c *call) listOperations() (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	before := c.query.Get(wire.QueryCursor)
	var found []*state.Operation
	for _, back := range []lifecycle.Milliseconds{lifecycle.Minute, lifecycle.Hour, 0} {
		if found, err = c.operationsSince(back, before, limit); err != nil {
			return nil, err
		}
		if len(found) > limit {
			break
		}
	}
	out := listOf(c, []*wire.Operation{}, "")
	for n := len(found) - 1; n >= 0; n-- {
		if len(out.Items) == limit {
			out.Next = wire.Text(found[n+1].RequestID)
			break
		}
		op, err := c.stored(c.snap.View, found[n])
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, op)
	}
	return out, nil
}

// operationsSince gives the newest requests that the caller may see, oldest first:
// a page and at least one more when there are as many. back 0 = from the beginning.
func (c *call) operationsSince(back lifecycle.Milliseconds, before string, limit int) (found []*state.Operation, err error) {
	from, actor := "", c.query.Get(wire.QueryActor)
	if back > 0 {
		from = earliestID(c.idTime(before) - lifecycle.Instant(back))
	}
	err = c.snap.Operations(from, func(op *state.Operation) bool {
		if before != "" && op.RequestID >= before {
			return false
		}
		if (actor == "" || actor == op.Actor) && c.sees(op.Actor) {
			if found = append(found, op); len(found) > 2*limit+1 {
				found = append(found[:0], found[len(found)-limit-1:]...)
			}
		}
		return true
	})
	return found, err
}

// idTime is the time in a request id, now for anything else.
func (c *call) idTime(id string) lifecycle.Instant {
	if at, err := command.RequestTime(id); err == nil {
		return at
	}
	return c.now()
}

// earliestID is the smallest UUIDv7 of a time, as far as that begins it.
func earliestID(at lifecycle.Instant) string {
	hex := fmt.Sprintf("%012x", max(0, int64(at)))
	return hex[:8] + "-" + hex[8:12]
}

// plan is the answer to a change that was only tried.
func (c *call) plan(v *state.View, a asked, r authority.Result) *wire.Operation {
	op := &wire.Operation{RequestID: r.RequestID, Verb: a.verb, Actor: c.caller.Principal, Subject: a.subject, Key: a.key, Plan: true,
		Versions: r.Outcome.Versions, Reason: a.reason, CompromisedSince: a.since, Comment: a.comment, Position: transport.Position(v.Position())}
	op.Effects = effects(v, a, r.Outcome)
	if r.Approvals != "" {
		op.Effects = append([]string{"it would wait for people: " + r.Approvals}, op.Effects...)
	}
	op.Next = []string{}
	k := v.Key(lifecycle.KeyID(a.key))
	if k != nil && (a.kind == command.KindRevoke || a.kind == command.KindReplace) {
		if a.kind == command.KindReplace {
			op.Versions, op.NewVersion = exchangedVersions(r.Outcome)
		}
		op.Nodes, op.StillTrusting = []wire.NodeOutcome{}, []wire.Dependent{}
		op.Published = &wire.PublishedAt{WithinMS: int64(k.Policy.LongestCached())}
		op.BlastRadius = c.blastRadius(v, k, op.Versions, a.since.Instant())
	}
	if r.Fence != nil {
		c.withdrawing(op, v, r.Fence)
	}
	if k != nil && a.kind == command.KindReplace {
		c.replacing(op, v, k)
	}
	return op
}
