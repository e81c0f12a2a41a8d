package authority

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Request is what every write carries besides its own parameters.
type Request struct {
	Caller    Caller
	RequestID string   // UUIDv7
	Digest    [32]byte // SHA-256 of what was asked; the same id with another digest is refused
	DryRun    bool     // --plan: decide and try, change nothing

	Comment    string // why, for those who are asked to approve it; "" = what the change itself says
	BreakGlass string // why the change must not wait for the approvals it needs; "" = it waits
}

// Result is what a write came to.
type Result struct {
	RequestID string
	At        lifecycle.Instant // when it was asked, as its entry says; 0 = of a repeat, see the operation
	Outcome   state.Outcome
	DryRun    bool
	Existing  bool             // --if-absent found it already there
	Approvals string           // a plan's: which approvals it would wait for; "" = none
	Fence     *lifecycle.Fence // a plan's: the fence that it would open; nil = it takes nothing away
}

// planner makes the command on a View. The rows it looked at go into reads; the
// caller's own row is added for it.
type planner func(v *state.View) (body command.Body, reads []command.RowRef, err error)

// maxPlans bounds how often a plan is made again because a row moved under it.
const maxPlans = 3

// change carries one write out: who, recorded, planned, tried, proposed.
func (s *Service) change(ctx context.Context, req Request, verb access.Verb, key lifecycle.KeyID, plan planner) (Result, error) {
	lead := s.ledger.Leadership()
	if !lead.Self || !lead.Ready {
		return Result{}, ledger.ErrNotLeader
	}
	v := s.ledger.View()
	if r, done, err := s.replay(v, req); done || err != nil {
		return r, err
	}
	caller, err := s.decide(ctx, v, req, verb, key)
	if err != nil {
		return Result{}, s.confirmed(ctx, lead, err)
	}
	r, err := s.carryOut(ctx, req, caller, verb, plan)
	if err != nil {
		err = s.confirmed(ctx, lead, err)
	}
	s.recordOutcome(req, verb, key, r.Outcome, err)
	return r, err
}

// confirmed lets a refusal out that was made on this leader's own View. An accepted
// command is confirmed by its entry; a refusal makes none, and a leader that was frozen
// or cut off would refuse by what was true before its successor came.
func (s *Service) confirmed(ctx context.Context, lead ledger.Leadership, refused error) error {
	var refusal *Refusal
	var rejection *state.Rejection
	var denied *Denied
	if !errors.As(refused, &refusal) && !errors.As(refused, &rejection) && !errors.As(refused, &denied) {
		return refused
	}
	if _, err := s.ledger.Read(ctx, ledger.Freshness{Level: ledger.Linearizable}); err != nil {
		return fmt.Errorf("confirm a refusal: %w", err)
	}
	if s.ledger.Leadership().Term != lead.Term {
		return fmt.Errorf("confirm a refusal: %w: the leader changed meanwhile", ledger.ErrNotLeader)
	}
	return refused
}

// replay answers a request that was carried out before.
func (s *Service) replay(v *state.View, req Request) (Result, bool, error) {
	op, err := v.Operation(req.Caller.Principal, req.RequestID)
	if err != nil {
		return Result{}, false, fmt.Errorf("look the request up: %w", err)
	}
	if op == nil {
		return Result{}, false, nil
	}
	o := op.Answer(req.Digest[:])
	return Result{RequestID: req.RequestID, Outcome: o}, true, o.Err()
}

// decide checks access and puts the decision on disk before anything follows from it.
func (s *Service) decide(ctx context.Context, v *state.View, req Request, verb access.Verb, key lifecycle.KeyID) (*lifecycle.Principal, error) {
	p := v.Principal(req.Caller.Principal)
	d := access.Decide(p, verb, key)
	if d.Allowed && req.Caller.TokenID != "" {
		if t := v.Token(req.Caller.TokenID); t == nil || t.RevokedAt != 0 {
			d = access.Decision{Why: "the token was revoked"}
		}
	}
	_, err := s.audit.Append(ctx, audit.Record{Kind: audit.Decision, Principal: req.Caller.Principal, Verb: string(verb), Key: string(key),
		RequestID: req.RequestID, Remote: req.Caller.Remote, Allowed: d.Allowed, Detail: d.Why,
		Digest: hex.EncodeToString(req.Digest[:]), Index: v.Position().Index})
	if !d.Allowed {
		return nil, &Denied{d.Why}
	}
	if err != nil && !withdraws(verb) {
		return nil, fmt.Errorf("%w: %w", ErrAudit, err)
	}
	if err != nil {
		s.log.Error("a revocation goes on without an audit record; the lifecycle log records who asked", "request_id", req.RequestID, "key", key, "err", err)
	}
	return p, nil
}

// withdraws reports whether the verb only takes rights away. A full audit disk
// must not keep a compromised key alive, and the entry itself, in the replicated
// log, says who asked for what and why.
func withdraws(verb access.Verb) bool {
	return verb == access.KeyRevoke || verb == access.KeySuspend || verb == access.KeyReplace || verb == access.CertRevoke || verb == access.CertRevokeOwn
}

// consents reports whether the verb only says something about a proposal: a withdrawal
// may be waiting for it.
func consents(verb access.Verb) bool {
	return verb == access.ProposalApprove || verb == access.ProposalWithdraw || verb == access.ProposalBreak
}

// carryOut plans, tries and proposes, again when a row moved meanwhile.
func (s *Service) carryOut(ctx context.Context, req Request, caller *lifecycle.Principal, verb access.Verb, plan planner) (Result, error) {
	var o state.Outcome
	var at lifecycle.Instant
	var fence *lifecycle.Fence
	var planned command.Body
	waits := ""
	for range maxPlans {
		v := s.ledger.View()
		// A twin of the request may have been carried out since it was looked up: what
		// came of it is the answer, and not a refusal because of what it has done.
		if r, done, err := s.replay(v, req); done || err != nil {
			return r, err
		}
		body, reads, err := plan(v)
		if err != nil {
			return Result{}, err
		}
		planned = body
		reads = append(reads, state.RefPrincipal(caller))
		if t := v.Token(req.Caller.TokenID); t != nil {
			reads = append(reads, state.RefToken(t))
		}
		at = s.Now()
		cmd := &command.Command{Body: body, Header: command.Header{At: at, Actor: req.Caller.Principal, Node: s.ledger.NodeID(),
			RequestID: req.RequestID, RequestDigest: req.Digest[:], Reads: reads}}
		if o, fence = state.Rehearse(v, cmd); o.Code == state.ApprovalRequired || o.Code == state.NotEnoughApprovers && req.BreakGlass != "" {
			if waits = o.Detail; req.BreakGlass != "" {
				waits = ""
			}
			if cmd.Body, err = s.instead(ctx, v, req, body); err != nil {
				return Result{}, err
			}
			o, fence = state.Rehearse(v, cmd)
		}
		if o.OK() && !req.DryRun && fence == nil && !withdraws(verb) && !consents(verb) && s.full() {
			return Result{}, ErrFull
		}
		if o.OK() && !req.DryRun {
			fault.Reached(fault.WritePlanned)
			e, err := s.enter(ctx, v, cmd)
			if err != nil {
				return Result{}, err
			}
			o, at = e.Outcome, e.at
			fault.Reached(fault.WriteAccepted)
		}
		if o.Code != state.Conflict {
			break
		}
		if p := s.ledger.View().Principal(caller.Name); p == nil || p.Rev != caller.Rev {
			return Result{}, &Denied{"the caller's roles changed while the request was planned: ask again"}
		}
		if id := req.Caller.TokenID; id != "" {
			if t := s.ledger.View().Token(id); t == nil || t.RevokedAt != 0 {
				return Result{}, &Denied{"the token was revoked while the request was planned"}
			}
		}
	}
	if o.Replayed {
		at = 0
	}
	r := Result{RequestID: req.RequestID, At: at, Outcome: o, DryRun: req.DryRun}
	if req.DryRun {
		r.Fence, r.Approvals = fence, waits
		if waits != "" {
			r.Outcome.Key, r.Outcome.Versions = command.Target(planned)
		}
	}
	return r, o.Err()
}

// recordOutcome notes how it ended. The decision is on disk already, so a lost
// outcome loses no proof of who asked for what.
func (s *Service) recordOutcome(req Request, verb access.Verb, key lifecycle.KeyID, o state.Outcome, err error) {
	rec := audit.Record{Kind: audit.Outcome, Principal: req.Caller.Principal, Verb: string(verb), Key: string(key),
		RequestID: req.RequestID, Remote: req.Caller.Remote, Allowed: err == nil, Index: o.Index, Code: string(o.Code), Detail: o.Detail}
	if len(o.Versions) == 1 {
		rec.Version = o.Versions[0]
	}
	var rejected *state.Rejection
	switch {
	case errors.As(err, &rejected):
		rec.Code, rec.Detail = string(rejected.Outcome.Code), rejected.Outcome.Detail
	case errors.Is(err, ledger.ErrIndeterminate):
		rec.Code = "unknown_outcome"
	case err != nil:
		rec.Detail = err.Error()
	}
	if err := s.audit.AppendAsync(rec); err != nil {
		s.log.Warn("record an outcome", "request_id", req.RequestID, "err", err)
	}
}

// Check decides a read: it is recorded when denied, and reads of keys and status
// are too many to be recorded each.
func (s *Service) Check(ctx context.Context, v *state.View, c Caller, verb access.Verb, key lifecycle.KeyID) error {
	d := access.Decide(v.Principal(c.Principal), verb, key)
	if d.Allowed {
		return nil
	}
	if err := s.audit.AppendAsync(audit.Record{Kind: audit.Decision, Principal: c.Principal, Verb: string(verb), Key: string(key), Remote: c.Remote, Detail: d.Why, Index: v.Position().Index}); err != nil {
		s.log.Warn("record a denial", "key", key, "err", err)
	}
	return &Denied{d.Why}
}
