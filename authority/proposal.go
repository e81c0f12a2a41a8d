package authority

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// A change that a rule asks approvals for is not refused and not done: it becomes a
// proposal under the same request id, and the request's answer says what it waits for.
// The state machine checks signatures and intents; what is here drives it.

// noReason stands where nobody has said why: a proposal always has a line for it.
const noReason = "none given"

// instead is what is proposed in place of a change that needs approvals: a proposal,
// or the change itself when its caller breaks the glass.
func (s *Service) instead(ctx context.Context, v *state.View, req Request, body command.Body) (command.Body, error) {
	if req.BreakGlass != "" {
		if err := s.breakGlass(ctx, v, req, body); err != nil {
			return nil, err
		}
		return &command.BreakGlass{Plan: command.PlanOf(body), Reason: req.BreakGlass}, nil
	}
	id, err := s.drawHex(proposalIDBytes)
	if err != nil {
		return nil, err
	}
	return &command.OpenProposal{ID: "p-" + id, Plan: command.PlanOf(body), Reason: reasonOf(req, body), ExpiresAt: s.Now().Add(lifecycle.DefaultProposalLife)}, nil
}

// proposalIDBytes of randomness: two proposals of a cluster never meet, and if they
// did, Apply would refuse the second.
const proposalIDBytes = 6

// reasonOf is what the caller said about why.
func reasonOf(req Request, body command.Body) string {
	why := req.Comment
	switch c := body.(type) {
	case *command.ResumeVersion:
		why = c.Comment
	case *command.ActivateVersion:
		why = c.Comment
	case *command.CreateIssuer:
		why = c.Key.Reason
	case *command.ScheduleDestroy:
		why = c.Comment
	case *command.SkipGate:
		why = c.Comment
	case *command.LiftSeal:
		why = c.Reason
	case *command.RetireConsumer:
		why = c.Comment
	case *command.WaiveConsumer:
		why = c.Comment
	}
	if why == "" {
		return noReason
	}
	return why
}

// breakGlass decides on its own whether the caller may do without approvals, and has
// it on disk, as a record of its own kind, before anything follows.
func (s *Service) breakGlass(ctx context.Context, v *state.View, req Request, body command.Body) error {
	d := access.Decide(v.Principal(req.Caller.Principal), access.ProposalBreak, "")
	if d.Allowed && !slices.Contains(v.Cluster().Settings.BreakGlass, req.Caller.Principal) {
		d = access.Decision{Why: fmt.Sprintf("%s is not among the break_glass principals of the cluster", req.Caller.Principal)}
	}
	_, subject, _, _ := command.IntentOf(body)
	key, _ := command.Target(body)
	_, err := s.audit.Append(ctx, audit.Record{Kind: audit.BreakGlass, Principal: req.Caller.Principal, Verb: string(access.ProposalBreak), Key: string(key),
		RequestID: req.RequestID, Remote: req.Caller.Remote, Allowed: d.Allowed, Detail: strings.TrimSpace(body.Kind().String() + " " + subject + ": " + req.BreakGlass + " " + d.Why)})
	if !d.Allowed {
		return &Denied{d.Why}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	return nil
}

// ProposalOf is the proposal that an accepted request was turned into, nil when it was
// carried out as it came.
func ProposalOf(v *state.View, o state.Outcome) *lifecycle.Proposal {
	if o.Proposal == "" {
		return nil
	}
	if p := v.Proposal(o.Proposal); p != nil && p.OpenedIndex == o.Index { // not one that it approved or ended
		return p
	}
	return nil
}

// Executed is what an executed proposal came to: the outcome that the request would
// have had.
func Executed(p *lifecycle.Proposal) state.Outcome {
	return state.Outcome{Subject: p.Subject, Index: p.EndedIndex, Key: p.Key, Versions: p.Versions, Proposal: p.ID}
}

// PlanOf is the change that a proposal asks for, as it was planned when it was opened.
func PlanOf(p *lifecycle.Proposal) (command.Body, error) {
	return command.Plan{Kind: command.Kind(p.PlanKind), Body: p.PlanBody}.Open()
}

// Approve adds the approval that an SSH signature over the statement is. Whoever
// brings it must be an approver of this proposal; whose approval it is the key says.
func (s *Service) Approve(ctx context.Context, req Request, id string, signature []byte) (Result, error) {
	r, err := s.onProposal(ctx, req, access.ProposalApprove, id, func(p *lifecycle.Proposal) (command.Body, error) {
		return &command.Approve{Proposal: id, Signature: signature}, mayVote(p, req.Caller.Principal)
	})
	if err != nil || r.DryRun {
		return r, err
	}
	if p := s.View().Proposal(id); p != nil && p.Status == lifecycle.ProposalApproved {
		if err := s.execute(ctx, p); err != nil { // the approval stands all the same, and the loop tries again
			s.log.Warn("carry out an approved proposal", "proposal", id, "err", err)
		}
	}
	return r, nil
}

// Reject ends a proposal by the word of one of its approvers.
func (s *Service) Reject(ctx context.Context, req Request, id, comment string) (Result, error) {
	return s.onProposal(ctx, req, access.ProposalApprove, id, func(p *lifecycle.Proposal) (command.Body, error) {
		return &command.RejectProposal{Proposal: id, Comment: comment}, mayVote(p, req.Caller.Principal)
	})
}

// Withdraw takes a proposal back: only who asked for it can.
func (s *Service) Withdraw(ctx context.Context, req Request, id, comment string) (Result, error) {
	return s.onProposal(ctx, req, access.ProposalWithdraw, id, func(p *lifecycle.Proposal) (command.Body, error) {
		if p.RequestedBy != req.Caller.Principal {
			return nil, &Denied{fmt.Sprintf("%s was asked for by %s, who alone can withdraw it; an approver can reject it", id, p.RequestedBy)}
		}
		return &command.WithdrawProposal{Proposal: id, Comment: comment}, nil
	})
}

func (s *Service) onProposal(ctx context.Context, req Request, verb access.Verb, id string, plan func(*lifecycle.Proposal) (command.Body, error)) (Result, error) {
	p, err := findProposal(s.View(), id)
	if err != nil {
		return Result{}, err
	}
	return s.change(ctx, req, verb, p.Key, func(v *state.View) (command.Body, []command.RowRef, error) {
		p, err := findProposal(v, id)
		if err != nil {
			return nil, nil, err
		}
		body, err := plan(p)
		return body, nil, err // Apply judges the row as it is then
	})
}

func findProposal(v *state.View, id string) (*lifecycle.Proposal, error) {
	if p := v.Proposal(id); p != nil {
		return p, nil
	}
	return nil, refuse(string(state.ProposalNotFound), "chancery proposal list", "there is no proposal %.40q", id)
}

// mayVote refuses whoever the rule did not name when the proposal was opened.
func mayVote(p *lifecycle.Proposal, name string) error {
	if p.Approver(name) != nil {
		return nil
	}
	return &Denied{fmt.Sprintf("%s is not an approver of %s: they are %s", name, p.ID, strings.Join(Approvers(p), ", "))}
}

// Approvers are the names of those who may approve a proposal.
func Approvers(p *lifecycle.Proposal) []string {
	names := make([]string, 0, len(p.Approvers))
	for _, a := range p.Approvers {
		names = append(names, a.Principal)
	}
	return names
}

// execute carries an approved change out, planned anew on what is there now. Who asked
// for it must still have the right to: approvals stand for consent, not for a role.
func (s *Service) execute(ctx context.Context, p *lifecycle.Proposal) error {
	v := s.View()
	asker := v.Principal(p.RequestedBy)
	if d := access.Decide(asker, access.Verb(p.Verb), p.Key); !d.Allowed {
		return &Denied{d.Why}
	}
	body, err := PlanOf(p)
	if err != nil {
		return fmt.Errorf("open the plan of %s: %w", p.ID, err)
	}
	if d, ok := body.(*command.ScheduleDestroy); ok {
		if k := v.Key(d.Key); k != nil { // the waiting period begins now
			d.DestroyAt = s.Now().Add(max(lifecycle.Milliseconds(d.DestroyAt-p.OpenedAt), k.Policy.DestroyWait+1))
		}
	}
	if c, ok := body.(*command.CreateIssuer); ok { // nodes that came meanwhile make their instances as they do for any key
		c.Key.Instances = slices.DeleteFunc(c.Key.Instances, func(i command.Intent) bool {
			n := v.Node(i.Node)
			return n == nil || !n.Signs()
		})
	}
	cmd := s.commandOf(systemActor, &command.ExecuteProposal{Proposal: p.ID, Plan: command.PlanOf(body)}, state.RefPrincipal(asker))
	if o := state.Trial(v, cmd); !o.OK() {
		return o.Err()
	}
	if _, err := s.audit.Append(ctx, audit.Record{Kind: audit.Decision, Principal: p.RequestedBy, Verb: string(p.Verb), Key: string(p.Key), RequestID: p.RequestID,
		Allowed: true, Detail: "approved as " + p.ID, Index: v.Position().Index}); err != nil {
		return fmt.Errorf("%w: %w", ErrAudit, err)
	}
	o, err := s.propose(ctx, cmd)
	if o.Code == state.ProposalNotOpen {
		return nil // the clerk and the last approval's request both came to do it: one did
	}
	return err
}

// systemActor is who carries out what nobody has to ask for any more.
const systemActor = "system"
