package state_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestTwoOfThree is a proposal's whole life.
func TestTwoOfThree(t *testing.T) {
	w := governed(t)
	w.no(state.ApprovalRequired, resume(1))
	cmd := w.request(uuid(w.l.Clock().At(), 1), "resume", w.opening(1, resume(1)))
	if o := w.propose(cmd); !o.OK() || o.Proposal != pid(1) {
		t.Fatalf("opened: %+v", o)
	}
	p := w.status(1, lifecycle.ProposalOpen)
	if p.Subject != "ci/1" || p.Key != ci || p.RequestedBy != ledgertest.Admin || p.Needs != 2 || len(p.Approvers) != 3 || p.Verb != lifecycle.ApproveResume {
		t.Errorf("proposal %+v", p)
	}
	w.refused(state.NotApproved, "system", w.execution(1, resume(1)))
	w.approvedBy(1, "alice")
	w.status(1, lifecycle.ProposalOpen)
	w.refused(state.NotApproved, "system", w.execution(1, resume(1)))
	w.approvedBy(1, "bob")
	w.status(1, lifecycle.ProposalApproved)
	w.refused(state.IntentMismatch, "system", w.execution(1, early(1)))
	w.refused(state.IntentMismatch, "system", w.execution(1, &command.ResumeVersion{Key: ci, Version: 1, Comment: "other"}))
	size := w.l.View().Position().LogSize
	o := w.as("system", w.execution(1, resume(1)))
	if !o.OK() || o.Proposal != pid(1) || o.Subject != "ci/1" {
		t.Fatalf("executed: %+v", o)
	}
	w.state(1, lifecycle.Active)
	p = w.status(1, lifecycle.ProposalExecuted)
	if p.EndedBy != "system" || p.EndedIndex != o.Index || !slices.Equal(p.Versions, []uint64{1}) {
		t.Errorf("ended %+v", p)
	}
	var kinds []string
	if err := w.l.View().Leaves(size, func(_ uint64, l *state.Leaf, _ []byte) bool {
		kinds = append(kinds, l.Kind+" by "+l.Actor)
		if l.Proposal != pid(1) || l.Index != o.Index {
			t.Errorf("leaf %+v does not say which proposal it came of", l)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"proposal.executed by system", "key.resumed by admin"}; !slices.Equal(kinds, want) {
		t.Errorf("leaves %q, want %q", kinds, want)
	}
	w.refused(state.ProposalNotOpen, "system", w.execution(1, resume(1))) // once
	w.no(state.AlreadyExists, w.opening(1, resume(1)))                    // its id is used for ever
	if again := w.propose(cmd); !again.Replayed || again.Proposal != pid(1) {
		t.Errorf("a repeat of the request: %+v", again)
	}
	if len(w.l.View().Proposals()) != 0 {
		t.Error("it still waits")
	}
	seen := 0
	w.l.View().EndedProposals("", func(*lifecycle.Proposal) bool { seen++; return true })
	if seen != 1 {
		t.Errorf("%d ended proposals", seen)
	}
}

// TestWhoMayApprove walks the signatures that must not count.
func TestWhoMayApprove(t *testing.T) {
	w := governed(t)
	alice := ed25519Key("alice")
	w.ok(w.opening(1, resume(1)))
	w.ok(w.opening(2, resume(1)))
	text := string(w.statement(1))
	for what, signed := range map[string][]byte{
		"another proposal":    alice.sign(w.statement(2)),
		"another cluster":     alice.sign([]byte(strings.Replace(text, "cluster: ", "cluster: f", 1))),
		"another epoch":       alice.sign([]byte(strings.Replace(text, "epoch: 1", "epoch: 2", 1))),
		"another intent":      alice.sign([]byte(strings.Replace(text, "version: 1", "version: 2", 1))),
		"another end":         alice.sign([]byte(strings.Replace(text, "not-after: 2", "not-after: 3", 1))),
		"another reason":      alice.sign([]byte(strings.Replace(text, "because", "Because", 1))),
		"no line break":       alice.sign([]byte(strings.TrimSuffix(text, "\n"))),
		"another namespace":   alice.signFor("chancery-login", []byte(text)),
		"a stranger":          ed25519Key("mallory").sign([]byte(text)),
		"nothing of the sort": []byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"),
	} {
		if o := w.l.Do(w, &command.Approve{Proposal: pid(1), Signature: signed}); o.Code != state.ApprovalInvalid {
			t.Errorf("%s: %q (%s)", what, o.Code, o.Detail)
		}
	}
	w.no(state.ProposalNotFound, &command.Approve{Proposal: pid(9), Signature: alice.sign([]byte(text))})
	w.approvedBy(1, "alice")
	w.no(state.AlreadyApproved, w.approval(1, alice))
	w.status(1, lifecycle.ProposalOpen)

	// Who asks does not approve, under whatever name.
	w.as("bob", w.opening(3, resume(1)))
	w.no(state.OwnProposal, w.approval(3, ed25519Key("bob")))
	w.approvedBy(3, "alice", "carol")
	w.status(3, lifecycle.ProposalApproved)

	w.refused(state.NotAnApprover, ledgertest.Admin, &command.RejectProposal{Proposal: pid(1)})
	w.refused(state.NotTheRequester, "alice", &command.WithdrawProposal{Proposal: pid(1)})
	if o := w.as("carol", &command.RejectProposal{Proposal: pid(1), Comment: "no"}); !o.OK() {
		t.Fatalf("rejected: %+v", o)
	}
	if p := w.status(1, lifecycle.ProposalRejected); p.EndedBy != "carol" || p.Comment != "no" {
		t.Errorf("rejected %+v", p)
	}
	w.no(state.ProposalNotOpen, w.approval(1, ed25519Key("bob")))
	w.ok(&command.WithdrawProposal{Proposal: pid(2)})
	w.no(state.ProposalNotOpen, w.approval(2, alice))
	w.status(2, lifecycle.ProposalWithdrawn)
}

// TestSharedKeys: a key that two approvers have is nobody's, and one that the requester
// has approves nothing, under any name.
func TestSharedKeys(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(suspend(1))
	own := &command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: ledgertest.Admin, Kind: lifecycle.Person,
		Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}, SSHKeys: []string{ed25519Key("own").line()}}}
	w.ok(own)
	w.ok(approver("alias", ed25519Key("own")))
	w.ok(approver("one", ed25519Key("shared"), ed25519Key("first")))
	w.ok(approver("two", ed25519Key("shared")))
	set := func(names ...string) *command.SetSettings {
		return w.settings(func(s *lifecycle.Settings) {
			s.Approvals = nil
			for _, v := range []lifecycle.ApprovalVerb{lifecycle.ApproveResume, lifecycle.ApprovePrincipals, lifecycle.ApproveCluster} {
				s.Approvals = append(s.Approvals, lifecycle.ApprovalRule{Verb: v, Needs: 1, Approvers: names})
			}
		})
	}
	w.ok(set("alias", "one", "two"))
	w.ok(w.opening(1, resume(1)))
	w.no(state.OwnProposal, w.approval(1, ed25519Key("own")))
	w.no(state.ApprovalInvalid, w.approval(1, ed25519Key("shared")))
	w.ok(w.approval(1, ed25519Key("first")))
	w.ok(w.execution(1, resume(1)))
	w.ok(suspend(1))

	w.ok(w.opening(2, set("alias", "two")))
	w.ok(w.approval(2, ed25519Key("first")))
	w.ok(w.execution(2, set("alias", "two")))
	if o := w.as("two", w.opening(3, resume(1))); !o.OK() {
		t.Errorf("alias may approve what two asks: %+v", o)
	}
	w.ok(w.opening(4, set("alias")))
	w.ok(w.approval(4, ed25519Key("shared"))) // it is one approver's alone now
	w.ok(w.execution(4, set("alias")))
	w.no(state.NotEnoughApprovers, w.opening(5, resume(1)))
}

// TestSignatureTwins: whoever sees an ECDSA signature can make another one of it.
func TestSignatureTwins(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(suspend(1))
	key := ecdsaKey(w)
	for _, name := range approverNames {
		k := ed25519Key(name)
		if name == "alice" {
			k = key
		}
		w.ok(approver(name, k))
	}
	w.ok(w.settings(func(s *lifecycle.Settings) { s.Approvals = allRules() }))
	w.ok(w.opening(1, resume(1)))
	w.ok(w.approval(1, key))
	key.twin = true
	w.no(state.AlreadyApproved, w.approval(1, key))
	w.status(1, lifecycle.ProposalOpen)
	w.approvedBy(1, "bob")
	w.ok(w.execution(1, resume(1)))
}

// TestLateChanges: what happens between approval and execution.
func TestLateChanges(t *testing.T) {
	carry := func(w *world, n int, body command.Body) {
		w.Helper()
		w.ok(w.opening(n, body))
		w.approvedBy(n, "bob", "carol")
		w.ok(w.execution(n, body))
	}
	revoked := func(w *world, _ int, body command.Body) { w.ok(body) } // one person does
	for what, change := range map[string]struct {
		body command.Body
		do   func(*world, int, command.Body)
	}{
		"revoked":     {&command.RevokePrincipal{Name: "alice"}, revoked},
		"another key": {replace(approver("alice", ed25519Key("alice's new"))), carry},
		"no SSH key":  {replace(approver("alice")), carry},
	} {
		t.Run(what, func(t *testing.T) {
			w := governed(t)
			w.ok(w.opening(1, resume(1)))
			w.approvedBy(1, "alice", "bob")
			change.do(w, 2, change.body)
			w.status(1, lifecycle.ProposalApproved)
			if n := w.l.View().Standing(w.proposal(1)); n != 1 {
				t.Errorf("%d approvals count", n)
			}
			w.no(state.NotApproved, w.execution(1, resume(1)))
			w.approvedBy(1, "carol") // somebody else steps in
			w.ok(w.execution(1, resume(1)))
		})
	}
	t.Run("a stricter rule", func(t *testing.T) {
		w := governed(t)
		w.ok(w.opening(1, resume(1)))
		w.approvedBy(1, "alice", "bob")
		carry(w, 2, w.settings(func(s *lifecycle.Settings) { s.Approvals[0].Needs = 3 }))
		w.no(state.NotApproved, w.execution(1, resume(1)))
	})
	t.Run("the frozen approvers", func(t *testing.T) {
		w := governed(t)
		w.ok(w.opening(1, resume(1)))
		carry(w, 2, approver("dave", ed25519Key("dave")))
		carry(w, 3, w.settings(func(s *lifecycle.Settings) { s.Approvals[0].Approvers = append(s.Approvals[0].Approvers, "dave") }))
		w.no(state.ApprovalInvalid, w.approval(1, ed25519Key("dave")))
	})
	t.Run("the policy it replaces", func(t *testing.T) {
		w := governed(t)
		wider := w.change(func(p *lifecycle.Policy) { p.MaxTTL++ })
		w.ok(w.opening(1, wider))
		w.approvedBy(1, "alice", "bob")
		w.ok(w.change(func(p *lifecycle.Policy) { p.MaxTTL -= lifecycle.Minute })) // narrower: at once
		w.no(state.IntentMismatch, w.execution(1, wider))
	})
	t.Run("time", func(t *testing.T) {
		w := governed(t)
		w.ok(w.opening(1, resume(1)))
		w.ok(w.opening(2, resume(1)))
		w.approvedBy(1, "alice")
		w.approvedBy(2, "alice", "bob")
		w.no(state.ProposalNotOpen, &command.ExpireProposals{IDs: []string{pid(1), pid(2), pid(7)}})
		w.pass(lifecycle.DefaultProposalLife)
		w.ok(&command.MarkCheckpoint{})
		w.pass(1)
		w.no(state.ProposalExpired, w.approval(1, ed25519Key("bob")))
		w.no(state.ProposalExpired, w.execution(2, resume(1)))
		if o := w.as("system", &command.ExpireProposals{IDs: []string{pid(1), pid(2), pid(7)}}); !o.OK() {
			t.Errorf("expired: %+v", o)
		}
		w.status(1, lifecycle.ProposalExpired)
		w.status(2, lifecycle.ProposalExpired)
	})
}

// TestStatementBytes: people signed this text, and their signatures stand in rows.
func TestStatementBytes(t *testing.T) {
	c := &lifecycle.Cluster{ID: "00112233445566778899aabbccddeeff", Epoch: 2}
	p := &lifecycle.Proposal{ID: "p-00112233aabb", Intent: []string{"verb: key.resume", "command: ResumeVersion", "key: ci", "version: 2"},
		RequestedBy: "ada", Reason: "the alarm was false", ExpiresAt: 1767355200123}
	const want = "chancery-approval/1\n" +
		"cluster: 00112233445566778899aabbccddeeff\n" +
		"epoch: 2\n" +
		"proposal: p-00112233aabb\n" +
		"intent: DIGEST\n" +
		"verb: key.resume\n" +
		"command: ResumeVersion\n" +
		"key: ci\n" +
		"version: 2\n" +
		"requested-by: ada\n" +
		"reason: the alarm was false\n" +
		"not-after: 2026-01-02T12:00:00.123Z\n"
	if got := string(state.Statement(c, p)); got != strings.Replace(want, "DIGEST", command.IntentDigest(p.Intent), 1) {
		t.Errorf("the statement is now\n%s", got)
	}
}

// TestOpenSSHApproves: a signature that the installed ssh-keygen makes.
func TestOpenSSHApproves(t *testing.T) {
	keygen, err := exec.LookPath("ssh-keygen")
	if err != nil {
		if os.Getenv("CHANCERY_TEST_NO_SSH") == "1" {
			t.Skip("CHANCERY_TEST_NO_SSH=1")
		}
		t.Fatal("ssh-keygen is missing: install openssh-client, or set CHANCERY_TEST_NO_SSH=1")
	}
	file := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command(keygen, "-t", "ed25519", "-q", "-N", "", "-C", "alice", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t).active(1)
	w.ok(suspend(1))
	alice := approver("alice")
	alice.Principal.SSHKeys = []string{strings.TrimSpace(string(public))}
	w.ok(alice)
	w.ok(w.settings(func(s *lifecycle.Settings) {
		s.Approvals = allRules()
		for i := range s.Approvals {
			s.Approvals[i].Needs, s.Approvals[i].Approvers = 1, []string{"alice"}
		}
	}))
	w.ok(w.opening(1, resume(1)))
	sign := exec.Command(keygen, "-q", "-Y", "sign", "-n", command.ApprovalNamespace, "-f", file)
	sign.Stdin = bytes.NewReader(w.statement(1))
	armored, err := sign.Output()
	if err != nil {
		t.Fatal(err)
	}
	w.ok(&command.Approve{Proposal: pid(1), Signature: armored})
	w.ok(w.execution(1, resume(1)))
	w.state(1, lifecycle.Active)
}
