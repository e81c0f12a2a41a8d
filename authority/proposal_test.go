package authority_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// pens are the SSH keys of the approvers.
type pens map[string]ssh.Signer

// governed puts the resuming of keys under two of ann, ben and op, and people and
// rules under one of ann and ben.
func (w *world) governed() pens {
	w.t.Helper()
	keys := pens{}
	roles := map[string][]lifecycle.Grant{
		"ann": {{Role: lifecycle.Approver, Keys: "ci*"}}, "ben": {{Role: lifecycle.Approver, Keys: "*"}}, "dan": {{Role: lifecycle.Approver, Keys: "*"}},
		"op": {{Role: lifecycle.Operator, Keys: "ci*"}, {Role: lifecycle.Approver, Keys: "*"}},
	}
	for _, name := range []string{"ann", "ben", "dan", "op"} {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			w.t.Fatal(err)
		}
		if keys[name], err = ssh.NewSignerFromKey(private); err != nil {
			w.t.Fatal(err)
		}
		line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(keys[name].PublicKey())))
		w.ledger.Must(w.t, &command.AddPrincipal{Replace: name == "op", Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Person, SSHKeys: []string{line}, Grants: roles[name]}})
	}
	set := w.ledger.View().Cluster().Settings
	set.Approvals = []lifecycle.ApprovalRule{
		{Verb: lifecycle.ApproveResume, Needs: 2, Approvers: []string{"ann", "ben", "op"}},
		{Verb: lifecycle.ApproveDestroy, Needs: 1, Approvers: []string{"ann"}},
		{Verb: lifecycle.ApprovePrincipals, Needs: 1, Approvers: []string{"ann", "ben"}},
		{Verb: lifecycle.ApproveCluster, Needs: 1, Approvers: []string{"ann", "ben"}}}
	set.BreakGlass = []string{"admin"}
	w.ledger.Must(w.t, &command.SetSettings{Settings: set})
	return keys
}

// sign makes what ssh-keygen -Y sign -n chancery makes.
func (k pens) sign(t *testing.T, who string, text []byte) []byte {
	t.Helper()
	digest := sha512.Sum512(text)
	magic := [6]byte{'S', 'S', 'H', 'S', 'I', 'G'}
	sig, err := k[who].Sign(rand.Reader, ssh.Marshal(struct {
		Magic                     [6]byte
		Namespace, Reserved, Hash string
		Digest                    []byte
	}{magic, command.ApprovalNamespace, "", "sha512", digest[:]}))
	if err != nil {
		t.Fatal(err)
	}
	blob := ssh.Marshal(struct {
		Magic                     [6]byte
		Version                   uint32
		PublicKey                 []byte
		Namespace, Reserved, Hash string
		Signature                 []byte
	}{magic, 1, k[who].PublicKey().Marshal(), command.ApprovalNamespace, "", "sha512", ssh.Marshal(struct {
		Format string
		Blob   []byte
	}{sig.Format, sig.Blob})})
	b, text64 := []byte("-----BEGIN SSH SIGNATURE-----\n"), base64.StdEncoding.EncodeToString(blob)
	for len(text64) > 0 {
		n := min(70, len(text64))
		b, text64 = append(b, text64[:n]+"\n"...), text64[n:]
	}
	return append(b, "-----END SSH SIGNATURE-----\n"...)
}

// approve signs and brings the approval of who.
func (w *world) approve(k pens, who, id string) error {
	w.t.Helper()
	v := w.ledger.View()
	_, err := w.service.Approve(ctx, as(who), id, k.sign(w.t, who, state.Statement(v.Cluster(), v.Proposal(id))))
	return err
}

// suspended makes a key whose version 1 is suspended.
func (w *world) suspended(name string) {
	w.t.Helper()
	w.create(name)
	w.ledger.Must(w.t, &command.SuspendVersion{Key: lifecycle.KeyID(name), Version: 1})
}

// resume asks for a resume, which must become a proposal.
func (w *world) resume(key string) (authority.Request, *lifecycle.Proposal) {
	w.t.Helper()
	req := as("op")
	r, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: key, Comment: "over"})
	if err != nil {
		w.t.Fatal(err)
	}
	p := authority.ProposalOf(w.ledger.View(), r.Outcome)
	if p == nil || p.Status != lifecycle.ProposalOpen || p.RequestID != req.RequestID {
		w.t.Fatalf("the resume became %+v, proposal %+v", r.Outcome, p)
	}
	return req, p
}

func (w *world) stateOf(key string) lifecycle.State {
	return w.ledger.View().Version(lifecycle.KeyID(key), 1).State
}

// TestApprovedChangeIsCarriedOut walks a change through two approvals; a repeat of the
// request never makes a second proposal.
func TestApprovedChangeIsCarriedOut(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	req, p := w.resume("ci")
	again, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci", Comment: "over"})
	if err != nil || !again.Outcome.Replayed || again.Outcome.Proposal != p.ID || len(w.ledger.View().Proposals()) != 1 {
		t.Errorf("a repeat = %+v, %v", again, err)
	}
	code(t, w.approve(k, "op", p.ID), string(state.OwnProposal))
	code(t, w.approve(k, "dan", p.ID), "denied") // an approver, but not of this
	if err := w.approve(k, "ann", p.ID); err != nil {
		t.Fatal(err)
	}
	code(t, w.approve(k, "ann", p.ID), string(state.AlreadyApproved))
	if w.stateOf("ci") != lifecycle.Suspended {
		t.Fatal("one approval of two was enough")
	}
	if _, reached := w.service.Await(ctx, again.Outcome, authority.Fenced); reached {
		t.Error("a proposal is fenced")
	}
	if err := w.approve(k, "ben", p.ID); err != nil {
		t.Fatal(err)
	}
	v, reached := w.service.Await(ctx, again.Outcome, authority.Approved)
	if done := v.Proposal(p.ID); !reached || done.Status != lifecycle.ProposalExecuted || w.stateOf("ci") != lifecycle.Active {
		t.Errorf("after two approvals: %+v, version %s", done, w.stateOf("ci"))
	}
	if r, _ := w.audit.last(t, audit.Decision); r.Verb != string(access.KeyResume) || r.Principal != "op" || !strings.Contains(r.Detail, p.ID) {
		t.Errorf("the execution is on record as %+v", r)
	}
}

func TestPlanOfAGovernedChange(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	w.governed()
	req := as("op")
	req.DryRun = true
	r, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci"})
	if err != nil || !strings.Contains(r.Approvals, "2 of 3") || r.Outcome.Key != "ci" || len(r.Outcome.Versions) != 1 || len(w.ledger.View().Proposals()) != 0 {
		t.Errorf("plan = %+v, %v", r, err)
	}
}

// TestASignatureIsForOneProposal: of two equal requests each needs its own.
func TestASignatureIsForOneProposal(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	_, first := w.resume("ci")
	_, second := w.resume("ci")
	old := k.sign(t, "ann", state.Statement(w.ledger.View().Cluster(), first))
	_, err := w.service.Approve(ctx, as("ann"), second.ID, old)
	code(t, err, string(state.ApprovalInvalid))
	_, err = w.service.Approve(ctx, as("ann"), first.ID, k.sign(t, "ann", []byte("something else\n")))
	code(t, err, string(state.ApprovalInvalid))
}

func TestRejectAndWithdraw(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	_, p := w.resume("ci")
	_, err := w.service.Reject(ctx, as("dan"), p.ID, "")
	code(t, err, "denied")
	if _, err := w.service.Reject(ctx, as("ann"), p.ID, "not now"); err != nil {
		t.Fatal(err)
	}
	code(t, w.approve(k, "ben", p.ID), string(state.ProposalNotOpen))
	_, p = w.resume("ci")
	_, err = w.service.Withdraw(ctx, as("admin"), p.ID, "")
	code(t, err, "denied")
	if _, err := w.service.Withdraw(ctx, as("op"), p.ID, ""); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.Reject(ctx, as("ann"), "p-000000000000", "")
	code(t, err, string(state.ProposalNotFound))
}

// TestWhoAskedMustStillBeAllowed: approvals do not stand in for a role that was lost.
func TestWhoAskedMustStillBeAllowed(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	_, p := w.resume("ci")
	op := *w.ledger.View().Principal("op")
	change := &command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: "op", Kind: op.Kind, SSHKeys: op.SSHKeys, Grants: []lifecycle.Grant{{Role: lifecycle.Approver, Keys: "*"}}}}
	r, err := w.service.AddPrincipal(ctx, as("admin"), change.Principal, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.approve(k, "ben", r.Outcome.Proposal); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"ann", "ben"} {
		if err := w.approve(k, who, p.ID); err != nil {
			t.Fatal(err)
		}
	}
	if now := w.ledger.View().Proposal(p.ID); now.Status != lifecycle.ProposalApproved || w.stateOf("ci") != lifecycle.Suspended {
		t.Errorf("carried out for somebody who may not ask: %s, version %s", now.Status, w.stateOf("ci"))
	}
}

// TestClerk carries out what an earlier leader left, and ends what is too old.
func TestClerk(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	_, p := w.resume("ci")
	for _, who := range []string{"ann", "ben"} { // as if the leader had gone between the last approval and the execution
		v := w.ledger.View()
		w.ledger.Must(t, &command.Approve{Proposal: p.ID, Signature: k.sign(t, who, state.Statement(v.Cluster(), v.Proposal(p.ID)))})
	}
	clerk := authority.NewClerk(w.service)
	clerk.Tend(ctx, w.ledger.View())
	if now := w.ledger.View().Proposal(p.ID); now.Status != lifecycle.ProposalExecuted || w.stateOf("ci") != lifecycle.Active {
		t.Fatalf("left over: %+v", now)
	}
	w.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	_, late := w.resume("ci")
	if nap := clerk.Tend(ctx, w.ledger.View()); nap <= 0 || nap > time.Minute {
		t.Errorf("sleeps %s", nap)
	}
	if now := w.ledger.View().Proposal(late.ID); now.Status != lifecycle.ProposalOpen {
		t.Errorf("ended early: %s", now.Status)
	}
	for range 4 { // the state's clock takes a day at a time
		w.ledger.Clock().Advance(23 * time.Hour)
		w.ledger.Must(t, &command.MarkCheckpoint{})
	}
	clerk.Tend(ctx, w.ledger.View())
	if now := w.ledger.View().Proposal(late.ID); now.Status != lifecycle.ProposalExpired {
		t.Errorf("after %s: %s", lifecycle.DefaultProposalLife, now.Status)
	}
	code(t, w.approve(k, "ann", late.ID), string(state.ProposalNotOpen))
}

// TestClerkIsNotAlone: the request of the last approval may carry the change out at the
// same time. That is no refusal to try again after.
func TestClerkIsNotAlone(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	k := w.governed()
	_, p := w.resume("ci")
	for _, who := range []string{"ann", "ben"} {
		v := w.ledger.View()
		w.ledger.Must(t, &command.Approve{Proposal: p.ID, Signature: k.sign(t, who, state.Statement(v.Cluster(), v.Proposal(p.ID)))})
	}
	w.race.before = func() {
		w.race.before = nil
		w.ledger.Must(t, &command.ExecuteProposal{Proposal: p.ID, Plan: command.Plan{Kind: command.Kind(p.PlanKind), Body: p.PlanBody}})
	}
	nap := authority.NewClerk(w.service).Tend(ctx, w.ledger.View())
	if w.race.before != nil || w.stateOf("ci") != lifecycle.Active || nap <= 10*time.Second {
		t.Errorf("version %s, tries again after %s", w.stateOf("ci"), nap)
	}
}

// TestDestructionWaitsFromItsExecution: the waiting period is the policy's, from when
// it was carried out and not from when it was asked for.
func TestDestructionWaitsFromItsExecution(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.ledger.Must(t, &command.DeactivateVersion{Key: "ci", Version: 1})
	k := w.governed()
	r, err := w.service.DestroyVersion(ctx, as("op"), authority.DestroySpec{VersionSpec: authority.VersionSpec{Key: "ci", Version: 1}})
	if err != nil {
		t.Fatal(err)
	}
	w.ledger.Clock().Advance(20 * time.Hour)
	if err := w.approve(k, "ann", r.Outcome.Proposal); err != nil {
		t.Fatal(err)
	}
	v := w.ledger.View()
	if at, least := v.Version("ci", 1).DestroyAt, w.service.Now().Add(v.Key("ci").Policy.DestroyWait); at < least {
		t.Errorf("destroyed at %s, not before %s", at, least)
	}
}

func TestBreakGlass(t *testing.T) {
	w := build(t)
	w.suspended("ci")
	w.governed()
	req := as("op")
	req.BreakGlass = "everybody is asleep"
	_, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci"})
	code(t, err, "denied")
	if r, _ := w.audit.last(t, audit.BreakGlass); r.Allowed || r.Principal != "op" {
		t.Errorf("the denial is on record as %+v", r)
	}
	req = as("admin")
	req.BreakGlass = "everybody is asleep"
	if _, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci"}); err != nil {
		t.Fatal(err)
	}
	r, at := w.audit.last(t, audit.BreakGlass)
	if g := w.ledger.View().Cluster().BrokenGlass; g == nil || g.By != "admin" || at >= g.Index || !strings.Contains(r.Detail, req.BreakGlass) || w.stateOf("ci") != lifecycle.Active {
		t.Errorf("broken glass = %+v, record %+v at %d", g, r, at)
	}
	w.ledger.Must(t, &command.SuspendVersion{Key: "ci", Version: 1})
	w.audit.fail = errDisk
	req = as("admin")
	req.BreakGlass = "no disk"
	if _, err := w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci"}); err == nil || w.stateOf("ci") != lifecycle.Suspended {
		t.Errorf("broken without a record: %v", err)
	}
}
