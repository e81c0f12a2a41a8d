package api

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// governed marks a change that a rule can ask approvals for.
func (r *route) governed() *route {
	r.levels = append(r.levels[:len(r.levels):len(r.levels)], authority.Approved)
	r.query = with(r.query, wire.QueryBreak)
	return r
}

func proposalRoutes() []*route {
	return []*route{
		reading[wire.List[wire.Proposal]]("proposal.list", wire.PathProposals, "Changes that wait for approvals, oldest first; or those that ended, with state", (*call).listProposals, with(paged, wire.QueryState)...),
		reading[wire.Proposal]("proposal.show", wire.PathProposal, "A proposal, and what it would do", (*call).showProposal),
		reading[nothing]("proposal.statement", wire.PathStatement, "The exact text that approvers sign", (*call).showStatement).sends(wire.TypeText),
		changing("proposal.approve", wire.PathApprove, "Add the approval that an SSH signature over the statement is", (*call).approveProposal),
		changing("proposal.reject", wire.PathReject, "End a proposal by the word of one approver", (*call).rejectProposal),
		changing("proposal.withdraw", wire.PathWithdrawProposal, "Take back what one has asked for", (*call).withdrawProposal),
	}
}

// pending fills in what an operation waits for, and reports whether it does: not when
// the proposal was executed, or never will be.
func pending(op *wire.Operation, v *state.View, p *lifecycle.Proposal) bool {
	op.Proposal, op.Needs, op.Have, op.ExpiresAt = p.ID, p.Needs, new(v.Standing(p)), wire.Time(p.ExpiresAt)
	switch p.Status {
	case lifecycle.ProposalExecuted:
		op.ExpiresAt = 0
		return false
	case lifecycle.ProposalOpen, lifecycle.ProposalApproved:
		op.Status, op.Next = wire.PendingApproval, []string{"chancery proposal show " + p.ID, "chancery wait " + op.RequestID + " --for " + wire.Approved}
		return true
	case lifecycle.ProposalExpired:
		op.Error = wire.Errorf(wire.ProposalExpired, "%s expired at %s with %d of %d approvals", p.ID, p.ExpiresAt, *op.Have, p.Needs).WithHint("ask again")
	default:
		op.Error = wire.Errorf(wire.ProposalNotOpen, "%s was %s at %s by %s", p.ID, p.Status, p.EndedAt, p.EndedBy)
		if p.Comment != "" {
			op.Error.Message += ": " + p.Comment
		}
	}
	op.Complete, op.Error.RequestID = true, op.RequestID
	return false
}

// proposed renders a request that was turned into a proposal. carried is false while
// nothing came of it; then o is the outcome of the change.
func (c *call) proposed(op *wire.Operation, v *state.View, p *lifecycle.Proposal) (o state.Outcome, carried bool) {
	op.Key, op.Subject, op.Reason = string(p.Key), "", ""
	if p.Key == "" {
		op.Subject = p.Subject
	}
	if body, err := authority.PlanOf(p); err == nil {
		_, op.Versions = command.Target(body)
	}
	op.Position = transport.Position(v.Position())
	if pending(op, v, p) {
		c.status = accepted
		return o, false
	}
	if op.Error != nil {
		return o, false
	}
	o = authority.Executed(p)
	op.Versions = o.Versions
	return o, true
}

// mayReadProposal lets those see it whose role says so, who asked for it, and who are
// asked about it.
func (c *call) mayReadProposal(p *lifecycle.Proposal) error {
	if me := c.caller.Principal; me == p.RequestedBy || p.Approver(me) != nil {
		return nil
	}
	return c.may(access.ProposalRead, p.Key)
}

func (c *call) proposal() (*lifecycle.Proposal, error) {
	p := c.snap.Proposal(c.name())
	if p == nil {
		return nil, wire.Errorf(wire.ProposalNotFound, "there is no proposal %.40q", c.name()).WithHint("chancery proposal list")
	}
	return p, c.mayReadProposal(p)
}

func (c *call) listProposals() (any, error) {
	limit, err := c.limit()
	if err != nil {
		return nil, err
	}
	want := lifecycle.ProposalStatus(c.query.Get(wire.QueryState))
	if want != "" && !slices.Contains(proposalStates, want) {
		return nil, wire.Errorf(wire.Invalid, "%s: %.20q is none of %v", wire.QueryState, string(want), proposalStates)
	}
	if want != "" && want.Ended() {
		return c.endedProposals(want, limit)
	}
	var items []*lifecycle.Proposal
	me := c.snap.Principal(c.caller.Principal)
	for _, p := range c.snap.Proposals() {
		mine := p.RequestedBy == me.Name || p.Approver(me.Name) != nil
		if (want == "" || p.Status == want) && (mine || access.Decide(me, access.ProposalRead, p.Key).Allowed) {
			items = append(items, p)
		}
	}
	rows, next, err := page(c, items, func(p *lifecycle.Proposal) string { return p.ID })
	out := []wire.Proposal{}
	for _, p := range rows {
		out = append(out, proposalView(c.snap.View, p))
	}
	return listOf(c, out, next), err
}

var proposalStates = []lifecycle.ProposalStatus{lifecycle.ProposalOpen, lifecycle.ProposalApproved, lifecycle.ProposalExecuted,
	lifecycle.ProposalRejected, lifecycle.ProposalWithdrawn, lifecycle.ProposalExpired}

// endedProposals are kept for ever: a page looks at maxScan of them at most.
func (c *call) endedProposals(want lifecycle.ProposalStatus, limit int) (any, error) {
	me, seen := c.snap.Principal(c.caller.Principal), 0
	items, next := []wire.Proposal{}, wire.Text("")
	c.snap.EndedProposals(c.query.Get(wire.QueryCursor), func(p *lifecycle.Proposal) bool {
		if seen++; seen > maxScan || len(items) == limit {
			next = wire.Text(p.ID)
			return false
		}
		mine := p.RequestedBy == me.Name || p.Approver(me.Name) != nil
		if p.Status == want && (mine || access.Decide(me, access.ProposalRead, p.Key).Allowed) {
			items = append(items, proposalView(c.snap.View, p))
		}
		return true
	})
	return listOf(c, items, next), nil
}

func proposalView(v *state.View, p *lifecycle.Proposal) wire.Proposal {
	w := wire.Proposal{ID: p.ID, Status: p.Status, Verb: p.Verb, Subject: p.Subject, Key: string(p.Key), Reason: p.Reason, RequestedBy: p.RequestedBy,
		RequestID: p.RequestID, OpenedAt: wire.Time(p.OpenedAt), ExpiresAt: wire.Time(p.ExpiresAt), Needs: p.Needs, Have: len(p.Approvals),
		Approvers: authority.Approvers(p), Approvals: []wire.Consent{}, Intent: p.Intent, IntentDigest: p.IntentDigest,
		EndedAt: wire.Time(p.EndedAt), EndedBy: wire.Text(p.EndedBy), Comment: p.Comment}
	for _, a := range p.Approvals {
		w.Approvals = append(w.Approvals, wire.Consent{By: a.Principal, Key: a.KeyFingerprint, At: wire.Time(a.At), Index: a.Index, Signature: string(a.Signature)})
	}
	if !p.Status.Ended() {
		w.Have = v.Standing(p)
	}
	if p.Status == lifecycle.ProposalExecuted {
		w.Index = p.EndedIndex
	}
	return w
}

func (c *call) showProposal() (any, error) {
	p, err := c.proposal()
	if err != nil {
		return nil, err
	}
	w, at := proposalView(c.snap.View, p), transport.Position(c.snap.Position())
	w.Position = &at
	if body, err := authority.PlanOf(p); err == nil && !p.Status.Ended() {
		w.Effects = proposalEffects(c.snap.View, p, body)
	}
	return w, nil
}

// proposalEffects says what a proposal would do, in the words of its request's plan.
func proposalEffects(v *state.View, p *lifecycle.Proposal, body command.Body) []string {
	key, versions := command.Target(body)
	a := asked{verb: verbs[body.Kind()], kind: body.Kind(), key: string(key), subject: p.Subject, body: body}
	return effects(v, a, state.Outcome{Key: key, Versions: versions})
}

func (c *call) showStatement() (any, error) {
	p, err := c.proposal()
	if err != nil {
		return nil, err
	}
	return raw{contentType: wire.TypeText, body: state.Statement(c.snap.Cluster(), p)}, nil
}

func (c *call) approveProposal(in *wire.Approve) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(strings.TrimSpace(in.Signature), "-----BEGIN SSH SIGNATURE-----") {
		return nil, wire.Errorf(wire.Invalid, "signature: send the armored SSH signature as ssh-keygen -Y sign writes it")
	}
	r, err := c.Service.Approve(c.r.Context(), req, c.name(), []byte(in.Signature))
	return c.voted(asked{verb: "proposal approve", kind: command.KindApprove, subject: c.name()}, r, err)
}

func (c *call) rejectProposal(in *wire.EndProposal) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.Reject(c.r.Context(), req, c.name(), in.Comment)
	return c.voted(asked{verb: "proposal reject", kind: command.KindRejectProposal, subject: c.name(), comment: in.Comment}, r, err)
}

func (c *call) withdrawProposal(in *wire.EndProposal) (any, error) {
	req, err := c.request(in)
	if err != nil {
		return nil, err
	}
	r, err := c.Service.Withdraw(c.r.Context(), req, c.name(), in.Comment)
	return c.voted(asked{verb: "proposal withdraw", kind: command.KindWithdrawProposal, subject: c.name(), comment: in.Comment}, r, err)
}

// voted is the answer to whoever approved or ended a proposal: how it stands now.
func (c *call) voted(a asked, r authority.Result, err error) (any, error) {
	out, err := c.operation(a, r, err)
	op, ok := out.(*wire.Operation)
	if err != nil || !ok {
		return out, err
	}
	if p := c.snap.Proposal(a.subject); p != nil {
		op.Proposal, op.Needs, op.Have = p.ID, p.Needs, new(len(p.Approvals))
		if !p.Status.Ended() {
			op.Have = new(c.snap.Standing(p))
		}
	}
	return op, nil
}

// glassProblem is how long broken glass stands among the problems.
const glassProblem = lifecycle.Instant(lifecycle.Day)

// approvals counts what waits for people, and says when somebody did without them.
func (p *problems) approvals() {
	p.status.OpenProposals = len(p.snap.Proposals())
	if g := p.snap.Cluster().BrokenGlass; g != nil && p.now()-g.At < glassProblem {
		p.add(wire.Warning, "glass_broken", g.Subject, "chancery events --kind proposal.break_glass", "%s did %s without the approvals it needs, at %s: %s", g.By, g.Verb, g.At, g.Reason)
	}
}
