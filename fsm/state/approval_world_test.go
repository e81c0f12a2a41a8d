package state_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

var approverNames = []string{"alice", "bob", "carol"}

// approver is a person with a key of their own.
func approver(name string, keys ...*sshKey) *command.AddPrincipal {
	c := &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Person,
		Grants: []lifecycle.Grant{{Role: lifecycle.Approver, Keys: "*"}}}}
	for _, k := range keys {
		c.Principal.SSHKeys = append(c.Principal.SSHKeys, k.line())
	}
	return c
}

// allRules put every verb under two of three.
func allRules() (out []lifecycle.ApprovalRule) {
	for _, v := range lifecycle.ApprovalVerbs {
		out = append(out, lifecycle.ApprovalRule{Verb: v, Needs: 2, Approvers: slices.Clone(approverNames)})
	}
	return out
}

// governed is a world under rules, with key ci suspended in its first version.
func governed(t testing.TB) *world {
	w := newWorld(t).active(1)
	for _, name := range approverNames {
		w.ok(approver(name, ed25519Key(name)))
	}
	w.ok(suspend(1))
	w.ok(w.settings(func(s *lifecycle.Settings) { s.Approvals = allRules() }))
	return w
}

func (w *world) settings(edit func(*lifecycle.Settings)) *command.SetSettings {
	s := w.l.View().Cluster().Settings
	s.Approvals, s.BreakGlass = slices.Clone(s.Approvals), slices.Clone(s.BreakGlass)
	for i := range s.Approvals {
		s.Approvals[i].Approvers = slices.Clone(s.Approvals[i].Approvers)
	}
	edit(&s)
	return &command.SetSettings{Settings: s}
}

// as proposes a command of somebody else than the admin.
func (w *world) as(actor string, body command.Body) state.Outcome {
	w.Helper()
	cmd := w.l.Command(body)
	cmd.Header.Actor = actor
	return w.propose(cmd)
}

// refused is no for somebody else than the admin.
func (w *world) refused(code state.Code, actor string, body command.Body) {
	w.Helper()
	before := dump(w.l.Rows())
	if o := w.as(actor, body); o.Code != code || o.Detail == "" {
		w.Errorf("%s by %s: outcome %q (%s: %s), want %q", body.Kind(), actor, o.Code, o.Subject, o.Detail, code)
	}
	if after := dump(w.l.Rows()); after != before {
		w.Errorf("%s was refused and left a trace:\n%s", body.Kind(), diff(before, after))
	}
}

func pid(n int) string { return fmt.Sprintf("p-%012x", n) }

func (w *world) opening(n int, body command.Body) *command.OpenProposal {
	return &command.OpenProposal{ID: pid(n), Plan: command.PlanOf(body), Reason: "because", ExpiresAt: w.l.Clock().At().Add(lifecycle.DefaultProposalLife)}
}

func (w *world) proposal(n int) *lifecycle.Proposal {
	w.Helper()
	p := w.l.View().Proposal(pid(n))
	if p == nil {
		w.Fatalf("there is no proposal %d", n)
	}
	return p
}

func (w *world) statement(n int) []byte {
	w.Helper()
	return state.Statement(w.l.View().Cluster(), w.proposal(n))
}

func (w *world) approval(n int, k *sshKey) *command.Approve {
	w.Helper()
	return &command.Approve{Proposal: pid(n), Signature: k.sign(w.statement(n))}
}

// status asserts where a proposal stands.
func (w *world) status(n int, want lifecycle.ProposalStatus) *lifecycle.Proposal {
	w.Helper()
	p := w.proposal(n)
	if p.Status != want {
		w.Errorf("proposal %d is %s, want %s", n, p.Status, want)
	}
	return p
}

func (w *world) execution(n int, body command.Body) *command.ExecuteProposal {
	return &command.ExecuteProposal{Proposal: pid(n), Plan: command.PlanOf(body)}
}

func (w *world) approvedBy(n int, names ...string) {
	w.Helper()
	for _, name := range names {
		w.ok(w.approval(n, ed25519Key(name)))
	}
}
