package api

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// govern puts the resuming of keys, and more, under one approval, of ann.
func (n *node) govern(more ...lifecycle.ApprovalVerb) {
	n.t.Helper()
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti"
	n.ledger.Must(n.t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "ann", Kind: lifecycle.Person, SSHKeys: []string{key},
		Grants: []lifecycle.Grant{{Role: lifecycle.Approver, Keys: "*"}}}})
	set := n.ledger.View().Cluster().Settings
	for _, v := range append(more, lifecycle.ApproveResume, lifecycle.ApprovePolicy, lifecycle.ApprovePrincipals, lifecycle.ApproveCluster) {
		set.Approvals = append(set.Approvals, lifecycle.ApprovalRule{Verb: v, Needs: 1, Approvers: []string{"ann"}})
	}
	n.ledger.Must(n.t, &command.SetSettings{Settings: set})
}

// TestGovernedChange: what waits for people is 202 and says for whom, also when asked
// again; who may not see it learns nothing.
func TestGovernedChange(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	n.govern()
	resume := wire.Path(wire.PathResume, "ci")
	plan := get[wire.Operation](t, n.ask("admin", "POST", resume+"?plan=true", wire.VersionVerb{}))
	if !plan.Plan || len(plan.Effects) != 2 || !strings.Contains(plan.Effects[0], "1 of 1") || plan.Effects[1] != "ci/1 would sign again" {
		t.Errorf("plan = %+v", plan)
	}
	id := newID()
	r := n.ask("admin", "POST", resume, wire.VersionVerb{Comment: "over"}, wire.HeaderRequestID, id)
	op := get[wire.Operation](t, r)
	if r.status != http.StatusAccepted || op.Status != wire.PendingApproval || op.Needs != 1 || !strings.Contains(string(r.body), `"have":0`) || op.ExpiresAt == 0 || op.RequestID != id || op.Complete || op.Reached != "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	again := n.ask("admin", "POST", resume, wire.VersionVerb{Comment: "over"}, wire.HeaderRequestID, id)
	if got := get[wire.Operation](t, again); again.status != http.StatusAccepted || got.Proposal != op.Proposal || again.header.Get(wire.HeaderReplayed) != "true" {
		t.Errorf("a repeat = %d %s", again.status, again.body)
	}
	shown := get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, id), nil))
	if shown.Status != wire.PendingApproval || shown.Verb != "resume" || shown.Proposal != op.Proposal {
		t.Errorf("operation = %+v", shown)
	}
	held := n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+"?wait=approved&within=20ms", nil)
	if got := get[wire.Operation](t, held); held.status != http.StatusAccepted || got.Status != wire.PendingApproval {
		t.Errorf("held = %d %s", held.status, held.body)
	}

	one := wire.Path(wire.PathProposal, op.Proposal)
	p := get[wire.Proposal](t, n.ask("auditor", "GET", one, nil))
	if p.Status != lifecycle.ProposalOpen || p.Reason != "over" || len(p.Effects) != 1 || p.RequestedBy != "admin" || len(p.Approvers) != 1 || p.Key != "ci" {
		t.Errorf("proposal = %+v", p)
	}
	refused(t, n.ask("signer", "GET", one, nil), wire.Denied)
	refused(t, n.ask("auditor", "GET", wire.Path(wire.PathProposal, "p-000000000000"), nil), wire.ProposalNotFound)
	text := n.ask("auditor", "GET", wire.Path(wire.PathStatement, op.Proposal), nil)
	want := state.Statement(n.ledger.View().Cluster(), n.ledger.View().Proposal(op.Proposal))
	if !bytes.Equal(text.body, want) || text.header.Get("Content-Type") != wire.TypeText || !bytes.HasPrefix(want, []byte(wire.ApprovalPreamble)) {
		t.Errorf("statement = %q, want %q", text.body, want)
	}
	if l := get[wire.List[wire.Proposal]](t, n.ask("auditor", "GET", wire.PathProposals, nil)); len(l.Items) != 1 || l.Items[0].ID != op.Proposal {
		t.Errorf("list = %+v", l)
	}
	if l := get[wire.List[wire.Proposal]](t, n.ask("signer", "GET", wire.PathProposals, nil)); len(l.Items) != 0 {
		t.Errorf("the signer sees %+v", l)
	}
	refused(t, n.ask("auditor", "GET", wire.PathProposals+"?state=lost", nil), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathApprove, op.Proposal), wire.Approve{Signature: "yes"}), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathReject, op.Proposal), wire.EndProposal{}), wire.Denied)

	voted := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathWithdrawProposal, op.Proposal), wire.EndProposal{Comment: "no hurry"}))
	if voted.Verb != "proposal withdraw" || voted.Proposal != op.Proposal || !voted.Complete {
		t.Errorf("withdraw = %+v", voted)
	}
	shown = get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+"?wait=approved", nil))
	if shown.Error == nil || shown.Error.Code != wire.ProposalNotOpen || !strings.Contains(shown.Error.Message, "no hurry") || !shown.Complete {
		t.Errorf("after the withdrawal: %+v", shown)
	}
	if l := get[wire.List[wire.Proposal]](t, n.ask("auditor", "GET", wire.PathProposals+"?state=withdrawn", nil)); len(l.Items) != 1 || l.Items[0].EndedBy != "admin" {
		t.Errorf("withdrawn = %+v", l)
	}
}

// TestBrokenGlassIsAProblem for a day, in every status.
func TestBrokenGlassIsAProblem(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	set := n.ledger.View().Cluster().Settings
	set.BreakGlass = []string{"admin"}
	n.ledger.Must(t, &command.SetSettings{Settings: set})
	n.govern()
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathResume, "ci")+"?break_glass=asleep", wire.VersionVerb{}))
	if !op.Complete || op.Proposal != "" {
		t.Errorf("broken glass = %+v", op)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathSuspend, "ci")+"?break_glass=asleep", wire.VersionVerb{}), wire.Invalid)
	has := func() bool {
		for _, p := range get[wire.Status](t, n.ask("auditor", "GET", wire.PathStatus, nil)).Problems {
			if p.Code == "glass_broken" {
				return strings.Contains(p.Message, "asleep")
			}
		}
		return false
	}
	if !has() {
		t.Error("status says nothing of it")
	}
}

// TestEffectsNameEachField: a plan of a policy, of settings or of a principal says what
// changes, and not what stays.
func TestEffectsNameEachField(t *testing.T) {
	n := start(t)
	n.create(createCI)
	v := n.ledger.View()
	policy := v.Key("ci").Policy
	policy.JWKSMaxAge = lifecycle.Minute
	policy.Approvals = []lifecycle.ApprovalRule{{Verb: lifecycle.ApproveResume, Needs: 1, Approvers: []string{"ann"}}}
	got := effects(v, asked{body: &command.SetPolicy{Key: "ci", Policy: policy, Owner: "new@example.com"}}, state.Outcome{})
	want := []string{`policy of ci: approvals would become [{"verb":"key.resume","needs":1,"approvers":["ann"]}], now none`,
		`policy of ci: jwks_max_age would become "1m", now "5m"`, "the owner of ci would be new@example.com, now rel@example.com"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("effects = %q", got)
	}
	was := v.Principal("signer")
	rec := command.PrincipalRecord{Name: was.Name, Kind: was.Kind, Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}, SSHKeys: []string{"a"}}
	got = effects(v, asked{body: &command.AddPrincipal{Principal: rec, Replace: true}}, state.Outcome{})
	if strings.Join(got, "\n") != "signer would have the roles admin:*, now signer:ci*\nsigner would get the SSH key a" {
		t.Errorf("effects = %q", got)
	}
}

// TestGovernedProfile: where a rule says so, a wider profile waits for people, who read
// in plain words what it would allow; a narrower one does not.
func TestGovernedProfile(t *testing.T) {
	n := start(t)
	in := wire.SetProfile{Comment: "web needs them", Terms: lifecycle.ProfileTerms{Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"serverAuth"}, Keys: []string{"P-256"},
		DefaultValidity: lifecycle.Day, MaxValidity: 7 * lifecycle.Day, Names: []lifecycle.NameRule{{Requester: "web-*", DNS: []string{"*.a.test"}}}}}
	path := wire.Path(wire.PathProfile, "web")
	n.ledger.Must(t, &command.SetProfile{Name: "web", Terms: in.Terms})
	n.govern(lifecycle.ApproveProfiles, lifecycle.ApproveIssuers)
	waits := func(r reply, says ...string) {
		t.Helper()
		op := get[wire.Operation](t, r)
		if r.status != http.StatusAccepted || op.Status != wire.PendingApproval || op.Proposal == "" {
			t.Fatalf("%d %s", r.status, r.body)
		}
		p := get[wire.Proposal](t, n.ask("auditor", "GET", wire.Path(wire.PathProposal, op.Proposal), nil))
		for _, s := range says {
			if !strings.Contains(strings.Join(p.Effects, "\n"), s) {
				t.Errorf("the approvers read %q, not %q", p.Effects, s)
			}
		}
		if p.Verb != "profile.write" {
			t.Errorf("proposal %+v", p)
		}
	}
	waits(n.ask("admin", "POST", wire.Path(wire.PathProfile, "new"), in), "profile new would be added", "for serverAuth", "live at most 7d", "web-* could have the names *.a.test")
	in.Terms.MaxValidity = lifecycle.Day
	if r := n.ask("admin", "POST", path, in); r.status != http.StatusOK {
		t.Errorf("a narrower profile: %d %s", r.status, r.body)
	}
	in.Terms.MaxValidity = 30 * lifecycle.Day
	waits(n.ask("admin", "POST", path, in), "profile web: max_validity would become \"30d\", now \"1d\"")
	waits(n.ask("admin", "POST", wire.Path(wire.PathDropProfile, "web"), wire.DropProfile{Comment: "unused"}), "profile web would end")
}
