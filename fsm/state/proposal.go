package state

import (
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// What waits stands in front of what has ended, so that the proposals that people
// and the leader look at are found without walking through years of them.
const (
	proposalWaits = "0"
	proposalEnded = "1"
)

func proposalKey(p *lifecycle.Proposal) string {
	if p.Status.Ended() {
		return proposalEnded + p.ID
	}
	return proposalWaits + p.ID
}

func (x *tx) proposal(id string) *lifecycle.Proposal {
	if p := get[lifecycle.Proposal](x, TableProposals, proposalWaits+id); p != nil {
		return p
	}
	return get[lifecycle.Proposal](x, TableProposals, proposalEnded+id)
}

func (x *tx) putProposal(p lifecycle.Proposal) { put(x, TableProposals, proposalKey(&p), &p) }

// endProposal moves a proposal to where it stays for good.
func (x *tx) endProposal(old *lifecycle.Proposal, status lifecycle.ProposalStatus, comment string) {
	x.drop(TableProposals, proposalKey(old))
	p := *old
	p.Status, p.Comment = status, comment
	p.EndedAt, p.EndedBy, p.EndedIndex = x.now(), x.head.Actor, x.index
	x.putProposal(p)
	x.record(Leaf{Kind: "proposal." + string(status), Key: p.Key, Proposal: p.ID, Before: string(old.Status), After: string(status),
		Reason: comment, Detail: string(p.Verb) + " " + p.Subject})
}

// waiting finds a proposal that can still come to something.
func (x *tx) waiting(id string) (*lifecycle.Proposal, Outcome) {
	p := x.proposal(id)
	switch {
	case p == nil:
		return nil, refuse(ProposalNotFound, id, "no such proposal: chancery proposal list shows them")
	case p.Status.Ended():
		return nil, refuse(ProposalNotOpen, id, "the proposal was %s at %s by %s", p.Status, p.EndedAt, p.EndedBy)
	}
	return p, Outcome{}
}

// alive is waiting, for what only counts in time and in the cluster's present epoch.
func (x *tx) alive(id string) (*lifecycle.Proposal, Outcome) {
	p, o := x.waiting(id)
	switch {
	case !o.OK():
		return nil, o
	case x.clock > p.ExpiresAt:
		return nil, refuse(ProposalExpired, id, "the proposal expired at %s: ask again", p.ExpiresAt)
	case p.Epoch != x.cluster().Epoch:
		return nil, refuse(ProposalExpired, id, "the proposal is from before the cluster was restored: ask again")
	}
	return p, o
}

func (x *tx) openProposal(c *command.OpenProposal) Outcome {
	body, err := c.Plan.Open()
	if err != nil {
		return refuse(Invalid, c.ID, "%v", err)
	}
	if x.proposal(c.ID) != nil {
		return refuse(AlreadyExists, c.ID, "a proposal has this id: ids are never used again")
	}
	if c.ExpiresAt <= x.clock || c.ExpiresAt > x.clock.Add(command.MaxProposalLife) {
		return refuse(Invalid, c.ID, "the proposal would expire at %s: allowed are from now to %s", c.ExpiresAt, command.MaxProposalLife)
	}
	rule := x.ruleFor(body)
	if rule == nil {
		return refuse(ApprovalNotNeeded, c.ID, "no rule asks approvals for it: do it directly")
	}
	if o := x.crowded(); !o.OK() {
		return o
	}
	verb, subject, lines, _ := command.IntentOf(body)
	key, _ := command.Target(body)
	p := lifecycle.Proposal{ID: c.ID, Epoch: x.cluster().Epoch, Verb: verb, Subject: subject, Key: key, Intent: lines,
		IntentDigest: command.IntentDigest(lines), Base: x.base(body), PlanKind: uint16(c.Plan.Kind), PlanBody: c.Plan.Body, Reason: c.Reason,
		RequestedBy: x.head.Actor, RequestID: x.head.RequestID, OpenedAt: x.now(), OpenedIndex: x.index, ExpiresAt: c.ExpiresAt,
		Needs: rule.Needs, Approvers: x.freeze(rule),
		OwnKeys: keyLines(x.principal(x.head.Actor)), Status: lifecycle.ProposalOpen}
	if n := len(Statement(x.cluster(), &p)); n > command.MaxIntentBytes {
		return refuse(Invalid, c.ID, "the statement to sign has %d bytes: at most %d are allowed, so that people can read it; make the change in parts", n, command.MaxIntentBytes)
	}
	if o := x.attempt(&p, body); !o.OK() {
		return o // whoever approves should not learn afterwards that it was never possible
	}
	if n := x.able(&p); n < p.Needs {
		return refuse(NotEnoughApprovers, c.ID, "%d approvals are needed and %d of the rule's approvers could give one: whoever asks cannot approve, nor can who was revoked or has no SSH key", p.Needs, n)
	}
	x.putProposal(p)
	x.record(Leaf{Kind: "proposal.opened", Key: p.Key, Proposal: p.ID, After: string(p.Status), Reason: p.Reason,
		Digest: p.IntentDigest, Detail: string(verb) + " " + subject})
	return Outcome{Subject: p.ID, Key: p.Key, Proposal: p.ID}
}

// crowded refuses more open proposals than people can read.
func (x *tx) crowded() Outcome {
	all, own := 0, 0
	ascend(x.hot.freeze(), TableProposals, proposalWaits, func(p *lifecycle.Proposal) bool {
		all++
		if p.RequestedBy == x.head.Actor {
			own++
		}
		return true
	})
	if all >= command.MaxOpenProposals || own >= command.MaxOpenOfOne {
		return refuse(LimitReached, x.head.Actor, "%d proposals wait, %d of them your own: withdraw some, or have them approved or rejected", all, own)
	}
	return Outcome{}
}

// attempt carries the command out on a copy of the state that is thrown away.
func (x *tx) attempt(p *lifecycle.Proposal, body command.Body) Outcome {
	head := *x.head
	y := &tx{cold: x.cold, hot: hotTx{base: x.hot.freeze()}, clock: x.clock, index: x.index, head: &head, hash: x.hash}
	return y.carryOut(p, body)
}

func (x *tx) approve(c *command.Approve) Outcome {
	old, o := x.alive(c.Proposal)
	if !o.OK() {
		return o
	}
	who, key, o := x.signer(old, c.Signature)
	if !o.OK() {
		return o
	}
	if o := x.mayApprove(old, who, key); !o.OK() {
		return o
	}
	p := *old
	p.Approvals = append(slices.Clone(old.Approvals), lifecycle.Approval{Principal: who, KeyFingerprint: key.Fingerprint(),
		At: x.now(), Index: x.index, Signature: c.Signature})
	if x.standing(&p) >= p.Needs {
		p.Status = lifecycle.ProposalApproved
	}
	x.putProposal(p)
	x.record(Leaf{Kind: "proposal.approved", Key: p.Key, Proposal: p.ID, Before: string(old.Status), After: string(p.Status),
		Digest: p.IntentDigest, Detail: who + " " + key.Fingerprint()})
	return Outcome{Subject: p.ID, Key: p.Key, Proposal: p.ID}
}

func (x *tx) rejectProposal(c *command.RejectProposal) Outcome {
	p, o := x.waiting(c.Proposal)
	if !o.OK() {
		return o
	}
	if p.Approver(x.head.Actor) == nil || x.principal(x.head.Actor) == nil {
		return refuse(NotAnApprover, p.ID, "%s is no approver of this proposal", x.head.Actor)
	}
	x.endProposal(p, lifecycle.ProposalRejected, c.Comment)
	return Outcome{Subject: p.ID, Key: p.Key, Proposal: p.ID}
}

func (x *tx) withdrawProposal(c *command.WithdrawProposal) Outcome {
	p, o := x.waiting(c.Proposal)
	if !o.OK() {
		return o
	}
	if p.RequestedBy != x.head.Actor {
		return refuse(NotTheRequester, p.ID, "%s asked for it and alone can withdraw it; an approver rejects it", p.RequestedBy)
	}
	x.endProposal(p, lifecycle.ProposalWithdrawn, c.Comment)
	return Outcome{Subject: p.ID, Key: p.Key, Proposal: p.ID}
}

// expireProposals skips what does not wait any more or has time left: the leader
// that proposed it may have been late, or ahead.
func (x *tx) expireProposals(c *command.ExpireProposals) Outcome {
	n := 0
	for _, id := range c.IDs {
		p, o := x.waiting(id)
		if o.OK() && (x.clock > p.ExpiresAt || p.Epoch != x.cluster().Epoch) {
			x.endProposal(p, lifecycle.ProposalExpired, "")
			n++
		}
	}
	if n == 0 {
		return refuse(ProposalNotOpen, c.IDs[0], "none of these proposals waits past its time")
	}
	return Outcome{}
}

// executeProposal carries the approved change out in this very entry, with its
// requester as the actor of everything that comes of it.
func (x *tx) executeProposal(c *command.ExecuteProposal) Outcome {
	p, o := x.alive(c.Proposal)
	if !o.OK() {
		return o
	}
	body, err := c.Plan.Open()
	if err != nil {
		return refuse(Invalid, p.ID, "%v", err)
	}
	if o := x.implements(p, body); !o.OK() {
		return o
	}
	if o := x.approvedNow(p, body); !o.OK() {
		return o
	}
	x.proposalID = p.ID
	x.endProposal(p, lifecycle.ProposalExecuted, "")
	o = x.carryOut(p, body)
	if !o.OK() {
		return o
	}
	done := *x.proposal(p.ID)
	done.Versions = o.Versions
	x.putProposal(done)
	o.Proposal = p.ID
	return o
}

// implements compares what the plan would do with what was approved.
func (x *tx) implements(p *lifecycle.Proposal, body command.Body) Outcome {
	verb, subject, lines, _ := command.IntentOf(body)
	if verb != p.Verb || subject != p.Subject || !slices.Equal(lines, p.Intent) || command.IntentDigest(lines) != p.IntentDigest {
		return refuse(IntentMismatch, p.ID, "the plan is not what was approved: %s %s", p.Verb, p.Subject)
	}
	if x.base(body) != p.Base {
		return refuse(IntentMismatch, p.ID, "what the change replaces is not any more what it was when the proposal was made: withdraw it and ask again")
	}
	return Outcome{}
}

// carryOut applies the command as its requester's.
func (x *tx) carryOut(p *lifecycle.Proposal, body command.Body) Outcome {
	executing := x.head
	head := *executing
	head.Actor, head.RequestID = p.RequestedBy, p.RequestID
	x.head = &head
	o := handle(x, body)
	x.head = executing
	return o
}

// breakGlass carries a change out without its approvals.
func (x *tx) breakGlass(c *command.BreakGlass) Outcome {
	body, err := c.Plan.Open()
	if err != nil {
		return refuse(Invalid, "", "%v", err)
	}
	if !slices.Contains(x.cluster().Settings.BreakGlass, x.head.Actor) || x.principal(x.head.Actor) == nil {
		return refuse(Denied, x.head.Actor, "the cluster's settings do not let %s do without approvals", x.head.Actor)
	}
	if x.guard(body).OK() {
		return refuse(ApprovalNotNeeded, "", "no rule stands against it: do it directly")
	}
	verb, subject, lines, _ := command.IntentOf(body)
	key, _ := command.Target(body)
	x.record(Leaf{Kind: "proposal.break_glass", Key: key, Reason: c.Reason, Digest: command.IntentDigest(lines), Detail: string(verb) + " " + subject})
	o := handle(x, body)
	if !o.OK() {
		return o
	}
	row := *x.cluster()
	row.BrokenGlass = &lifecycle.BrokenGlass{At: x.now(), By: x.head.Actor, Verb: verb, Subject: subject, Reason: c.Reason, Index: x.index}
	put(x, TableCluster, clusterKey, &row)
	return o
}
