package state_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestOpeningRefusals(t *testing.T) {
	w := governed(t)
	w.no(state.IllegalTransition, w.opening(1, early(1))) // it was never possible: say so before anybody approves
	w.no(state.ApprovalNotNeeded, w.opening(1, w.change(func(p *lifecycle.Policy) { p.MaxTTL -= lifecycle.Minute })))
	late := w.opening(1, resume(1))
	late.ExpiresAt = w.l.Clock().At().Add(command.MaxProposalLife + 1)
	w.no(state.Invalid, late)
	late.ExpiresAt = w.l.Clock().At()
	w.no(state.Invalid, late)
	for n := range command.MaxOpenOfOne {
		w.ok(w.opening(n, resume(1)))
	}
	w.no(state.LimitReached, w.opening(1000, resume(1)))
	if o := w.as("bob", w.opening(1000, resume(1))); !o.OK() {
		t.Errorf("somebody else: %+v", o)
	}
}

func TestRulesName(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(approver("keyless"))
	w.ok(person("roleless"))
	for _, name := range approverNames {
		w.ok(approver(name, ed25519Key(name)))
	}
	rules := func(names ...string) *command.SetSettings {
		return w.settings(func(s *lifecycle.Settings) {
			s.Approvals = allRules()
			s.Approvals[0].Approvers, s.Approvals[0].Needs = names, 1
		})
	}
	w.no(state.PrincipalNotFound, rules("nobody"))
	w.no(state.Invalid, rules("roleless"))
	w.no(state.Invalid, rules("keyless"))
	w.no(state.Invalid, w.settings(func(s *lifecycle.Settings) { s.BreakGlass = []string{"alice"} }))
	own := w.change(func(p *lifecycle.Policy) { p.Approvals = allRules()[:1] })
	w.no(state.Invalid, own) // a key's rules stand on the cluster's
	w.ok(w.settings(func(s *lifecycle.Settings) { s.Approvals = allRules()[5:7] }))
	w.no(state.ApprovalRequired, own) // no rule for key.policy: then the one for the cluster's rules
	w.ok(w.opening(1, own))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, own))
	none := w.settings(func(s *lifecycle.Settings) { s.Approvals = nil })
	w.no(state.Invalid, w.opening(2, none)) // the key's would hang in the air
	w.ok(suspend(1))
	w.no(state.ApprovalRequired, resume(1))
}

func TestBreakGlass(t *testing.T) {
	w := governed(t)
	glass := &command.BreakGlass{Plan: command.PlanOf(resume(1)), Reason: "both approvers are on one plane"}
	w.no(state.Denied, glass)
	set := w.settings(func(s *lifecycle.Settings) { s.BreakGlass = []string{ledgertest.Admin} })
	w.ok(w.opening(1, set))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, set))
	w.no(state.ApprovalRequired, resume(1)) // never by accident
	w.refused(state.Denied, "alice", glass)
	size := w.l.View().Position().LogSize
	o := w.ok(glass)
	w.state(1, lifecycle.Active)
	if b := w.l.View().Cluster().BrokenGlass; b == nil || b.By != ledgertest.Admin || b.Subject != "ci/1" || b.Index != o.Index || b.Reason != glass.Reason {
		t.Errorf("status would say %+v", b)
	}
	var kinds []string
	if err := w.l.View().Leaves(size, func(_ uint64, l *state.Leaf, _ []byte) bool { kinds = append(kinds, l.Kind); return true }); err != nil {
		t.Fatal(err)
	}
	if want := []string{"proposal.break_glass", "key.resumed"}; !slices.Equal(kinds, want) {
		t.Errorf("leaves %q, want %q", kinds, want)
	}
	w.no(state.ApprovalNotNeeded, &command.BreakGlass{Plan: command.PlanOf(w.change(func(p *lifecycle.Policy) { p.MaxTTL -= 1000 })), Reason: "no need"})
}

// TestWhatNeedsApproval is the table of commands and rules in force.
func TestWhatNeedsApproval(t *testing.T) {
	w := governed(t)
	w.ok(signer("carl", "*"))
	w.ok(w.sealing(0, 1, ""))
	wide := func(edit func(*lifecycle.Policy)) command.Body { return w.change(edit) }
	admin := []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}
	role := func(name string, r lifecycle.Role) command.Body {
		return &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: r, Keys: "x-*"}}}}
	}
	for what, c := range map[string]struct {
		body command.Body
		code state.Code
	}{
		"resume":                  {resume(1), state.ApprovalRequired},
		"early activation":        {early(1), state.ApprovalRequired},
		"destruction":             {destroyAt(1, 1<<41), state.ApprovalRequired},
		"a longer life of tokens": {wide(func(p *lifecycle.Policy) { p.MaxTTL++ }), state.ApprovalRequired},
		"a shorter lead":          {wide(func(p *lifecycle.Policy) { p.Lead-- }), state.ApprovalRequired},
		"a shorter wait":          {wide(func(p *lifecycle.Policy) { p.DestroyWait-- }), state.ApprovalRequired},
		"the key's own milder rule": {wide(func(p *lifecycle.Policy) {
			p.Approvals = []lifecycle.ApprovalRule{{Verb: lifecycle.ApproveDestroy, Needs: 1, Approvers: []string{"alice"}}}
		}), state.ApprovalRequired},
		"oneself as approver":              {w.settings(func(s *lifecycle.Settings) { s.Approvals[7].Approvers[2] = "mallory" }), state.ApprovalRequired},
		"fewer needed":                     {w.settings(func(s *lifecycle.Settings) { s.Approvals[0].Needs = 1 }), state.ApprovalRequired},
		"an approver less":                 {w.settings(func(s *lifecycle.Settings) { s.Approvals[0].Approvers = s.Approvals[0].Approvers[1:] }), state.ApprovalRequired},
		"one rule less":                    {w.settings(func(s *lifecycle.Settings) { s.Approvals = s.Approvals[1:] }), state.ApprovalRequired},
		"no rules":                         {w.settings(func(s *lifecycle.Settings) { s.Approvals = nil }), state.ApprovalRequired},
		"glass to break":                   {w.settings(func(s *lifecycle.Settings) { s.BreakGlass = []string{ledgertest.Admin} }), state.ApprovalRequired},
		"another key of an approver":       {replace(approver("alice", ed25519Key("mallory"))), state.ApprovalRequired},
		"one more key of an approver":      {replace(approver("alice", ed25519Key("alice"), ed25519Key("mallory"))), state.ApprovalRequired},
		"no role for an approver":          {replace(person("alice")), state.ApprovalRequired},
		"an approver's role for another":   {approver("mallory", ed25519Key("mallory")), state.ApprovalRequired},
		"another admin":                    {&command.AddPrincipal{Principal: command.PrincipalRecord{Name: "mallory", Kind: lifecycle.Person, Grants: admin}}, state.ApprovalRequired},
		"a signer who becomes admin":       {&command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: "carl", Kind: lifecycle.Person, Grants: admin}}, state.ApprovalRequired},
		"an operator to ask in one's name": {role("puppet", lifecycle.Operator), state.ApprovalRequired},
		"an approver revoked":              {&command.RevokePrincipal{Name: "bob"}, ""}, // one person must be enough
		"a seal lifted":                    {&command.LiftSeal{Node: w.nodes[0], ID: sealID(1)}, state.ApprovalRequired},
		"a token in an approver's name":    {w.token("token-alice", "alice"), state.Denied},
		"a new key with milder rules": {func() command.Body {
			k := newKey("fresh", w.nodes...)
			k.Policy.Approvals = []lifecycle.ApprovalRule{{Verb: lifecycle.ApproveDestroy, Needs: 1, Approvers: []string{"alice"}}}
			return k
		}(), state.Invalid},

		"revocation":               {revoke(lifecycle.KeyCompromise), ""},
		"a hold":                   {revoke(lifecycle.CertificateHold), state.IllegalTransition},
		"a narrower policy":        {wide(func(p *lifecycle.Policy) { p.MaxTTL -= 1000 }), ""},
		"the same settings":        {w.settings(func(s *lifecycle.Settings) { s.PublicURL = "https://x.example" }), ""},
		"a signer":                 {role("carla", lifecycle.Signer), ""},
		"a signer revoked":         {&command.RevokePrincipal{Name: "carl"}, ""},
		"a token of a signer":      {w.token("token-carl", "carl"), ""},
		"one's own token":          {w.token("token-admin", ledgertest.Admin), ""},
		"quarantine":               {&command.SetNodeStatus{ID: w.nodes[0], Status: lifecycle.Quarantined}, ""},
		"a rotation":               {&command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes...)}, ""},
		"a destruction called off": {cancelDestroy(1), state.IllegalTransition},
	} {
		if o := state.Trial(w.l.View(), w.l.Command(c.body)); o.Code != c.code {
			t.Errorf("%s: %q (%s), want %q", what, o.Code, o.Detail, c.code)
		}
		if rule := w.l.View().RuleFor(c.body); (rule != nil) != (c.code == state.ApprovalRequired) {
			t.Errorf("%s: rule %+v", what, rule)
		}
	}
	if o, _ := state.RehearseApproved(w.l.View(), w.l.Command(resume(1))); !o.OK() {
		t.Errorf("what would come of it: %+v", o)
	}
}

// TestOnePersonRevokesAnybody: a stolen laptop waits for nobody.
func TestOnePersonRevokesAnybody(t *testing.T) {
	w := governed(t)
	boss := approver("boss")
	boss.Principal.Grants = []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}
	w.ok(w.opening(1, boss))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, boss))
	if c := w.l.View().Principal("boss").Created; len(c.Approvals) != 2 || c.Approvals[0].By != "alice" || c.Approvals[1].By != "bob" || c.Approvals[1].At == 0 {
		t.Errorf("made by %+v", c) // who agreed is remembered with what came of it
	}
	w.ok(&command.RevokePrincipal{Name: "boss"})
	w.ok(&command.RevokePrincipal{Name: "carol"}) // two of three are left
	o := w.no(state.NotEnoughApprovers, &command.RevokePrincipal{Name: "bob"})
	for _, say := range []string{"the cluster's rule for key.resume needs 2 approvers", "without bob 1 would be left", "break the glass"} {
		if !strings.Contains(o.Detail, say) {
			t.Errorf("%q does not say %q", o.Detail, say)
		}
	}
	w.no(state.PrincipalNotFound, &command.RevokePrincipal{Name: "nobody"})
	w.no(state.ApprovalNotNeeded, w.opening(2, &command.RevokePrincipal{Name: "bob"})) // approvals would not help: the rule must change
}

// TestRevocationSparesTheRulesOfKeys as it spares those of the cluster.
func TestRevocationSparesTheRulesOfKeys(t *testing.T) {
	w := governed(t)
	w.ok(w.change(func(p *lifecycle.Policy) {}))
	rule := w.change(func(p *lifecycle.Policy) {
		p.Approvals = []lifecycle.ApprovalRule{{Verb: lifecycle.ApproveDestroy, Needs: 3, Approvers: approverNames}}
	})
	w.ok(w.opening(1, rule))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, rule))
	o := w.no(state.NotEnoughApprovers, &command.RevokePrincipal{Name: "carol"})
	if !strings.Contains(o.Detail, "the key ci's rule for key.destroy needs 3 approvers") {
		t.Errorf("%q", o.Detail)
	}
}

// TestRevocationOfOneWhoCouldNotApprove leaves a rule no worse than it was.
func TestRevocationOfOneWhoCouldNotApprove(t *testing.T) {
	w := governed(t)
	without := replace(approver("carol"))
	w.ok(w.opening(1, without))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, without))
	w.ok(&command.RevokePrincipal{Name: "carol"})
}

func TestBrokenGlassRevokesAnybody(t *testing.T) {
	w := governed(t)
	set := w.settings(func(s *lifecycle.Settings) { s.BreakGlass = []string{ledgertest.Admin} })
	w.ok(w.opening(1, set))
	w.approvedBy(1, "alice", "bob")
	w.ok(w.execution(1, set))
	glass := func(name string) *command.BreakGlass {
		return &command.BreakGlass{Plan: command.PlanOf(&command.RevokePrincipal{Name: name}), Reason: "bob has left with his key"}
	}
	w.no(state.ApprovalNotNeeded, glass("carol"))
	w.ok(&command.RevokePrincipal{Name: "carol"})
	w.no(state.NotEnoughApprovers, &command.RevokePrincipal{Name: "bob"})
	w.ok(glass("bob"))
	if p := w.l.View().Principal("bob"); p.RevokedAt == 0 {
		t.Error("not revoked")
	}
	if b := w.l.View().Cluster().BrokenGlass; b == nil || b.Subject != "bob" {
		t.Errorf("status would say %+v", b)
	}
}
