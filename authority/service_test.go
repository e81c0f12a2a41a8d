package authority_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestRecordBeforeAction(t *testing.T) {
	w := build(t)
	before := w.ledger.View().Position().Index
	req := as("admin")
	r, err := w.service.CreateKey(ctx, req, spec("ci"))
	if err != nil || r.Outcome.Key != "ci" || r.Outcome.Index != before+1 {
		t.Fatalf("create = %+v, %v", r, err)
	}
	rec, at := w.audit.last(t, audit.Decision)
	if at != before || !rec.Allowed || rec.Principal != "admin" || rec.Verb != string(access.KeyCreate) || rec.Key != "ci" || rec.RequestID != req.RequestID || rec.Remote == "" || len(rec.Digest) != 64 {
		t.Errorf("decision at %d = %+v", at, rec)
	}
	if rec, _ := w.audit.last(t, audit.Outcome); rec.Index != r.Outcome.Index || !rec.Allowed {
		t.Errorf("outcome = %+v", rec)
	}
}

func TestNoRecordNoAction(t *testing.T) {
	w := build(t)
	w.create("ci")
	before := w.ledger.View().Position().Index
	w.audit.fail = errDisk
	for name, do := range map[string]func() error{
		"create": func() error { _, err := w.service.CreateKey(ctx, as("admin"), spec("x")); return err },
		"principal": func() error {
			_, err := w.service.AddPrincipal(ctx, as("admin"), command.PrincipalRecord{Name: "p"}, false)
			return err
		},
		"token": func() error {
			_, s, err := w.service.CreateToken(ctx, as("admin"), "op", "", 0)
			return joinSecret(s, err)
		},
		"transfer": func() error { _, err := w.service.TransferLeadership(ctx, as("admin"), ""); return err },
		"join":     func() error { _, err := w.service.Join(ctx, "x", command.NodeRecord{}, nil, ""); return err },
		"report": func() error {
			_, err := w.service.Peer(w.node2, "").ReportCondition(ctx, &command.ReportCondition{Key: "ci", Version: 1, Node: w.node2, Condition: lifecycle.Lost})
			return err
		},
	} {
		if err := do(); !errors.Is(err, authority.ErrAudit) || !errors.Is(err, errDisk) {
			t.Errorf("%s without a journal = %v", name, err)
		}
	}
	if now := w.ledger.View().Position().Index; now != before || len(w.members.calls) != 0 {
		t.Errorf("something was done: index %d to %d, %v", before, now, w.members.calls)
	}
}

// TestRevokeWithoutJournal: a full audit disk must not keep a compromised key alive.
func TestRevokeWithoutJournal(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.audit.fail = errDisk
	if _, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"}); err != nil {
		t.Errorf("revoke = %v", err)
	}
	if v := w.ledger.View().Version("ci", 1); v.State != lifecycle.Compromised {
		t.Errorf("the key is %s", v.State)
	}
	_, err := w.service.Revoke(ctx, as("aud"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"})
	code(t, err, "denied") // access still counts
}

// TestFullDisk: what the reserve leaves is for whatever takes a right away, and for those
// who must consent to that.
func TestFullDisk(t *testing.T) {
	w := build(t)
	for _, k := range []string{"ci", "ci-2", "ci-3"} {
		w.create(k)
	}
	w.full = true
	before := w.ledger.View().Position().Index
	for name, do := range map[string]func() error{
		"create": func() error { _, err := w.service.CreateKey(ctx, as("admin"), spec("new")); return err },
		"rotate": func() error { _, err := w.service.RotateKey(ctx, as("op"), "ci-2"); return err },
		"token": func() error {
			_, s, err := w.service.CreateToken(ctx, as("admin"), "op", "", 0)
			return joinSecret(s, err)
		},
	} {
		if err := do(); !errors.Is(err, authority.ErrFull) {
			t.Errorf("%s on a full disk = %v", name, err)
		}
	}
	if now := w.ledger.View().Position().Index; now != before {
		t.Errorf("index %d became %d", before, now)
	}
	for name, do := range map[string]func() error{
		"revoke": func() error {
			_, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"})
			return err
		},
		"suspend": func() error {
			_, err := w.service.SuspendVersion(ctx, as("op"), authority.VersionSpec{Key: "ci-2", Version: 1})
			return err
		},
		"revoke principal": func() error { _, err := w.service.RevokePrincipal(ctx, as("admin"), "aud"); return err },
	} {
		if err := do(); err != nil {
			t.Errorf("%s on a full disk = %v", name, err)
		}
	}
	w.full = false
	if _, err := w.service.RotateKey(ctx, as("op"), "ci-3"); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func joinSecret(s string, err error) error {
	if s != "" {
		return errors.New("a secret came with an error")
	}
	return err
}

func TestDenied(t *testing.T) {
	w := build(t)
	w.create("ci")
	before := w.ledger.View().Position().Index
	for _, c := range []struct {
		who string
		do  func(req authority.Request) error
	}{
		{"op", func(r authority.Request) error { _, err := w.service.CreateKey(ctx, r, spec("other")); return err }},
		{"aud", func(r authority.Request) error { _, err := w.service.RotateKey(ctx, r, "ci"); return err }},
		{"gone", func(r authority.Request) error { _, err := w.service.RotateKey(ctx, r, "ci"); return err }},
		{"ghost", func(r authority.Request) error { _, err := w.service.RotateKey(ctx, r, "ci"); return err }},
		{"op", func(r authority.Request) error { _, err := w.service.RevokePrincipal(ctx, r, "aud"); return err }},
		{"op", func(r authority.Request) error { _, _, err := w.service.CreateJoinToken(ctx, r, 0); return err }},
		{"op", func(r authority.Request) error { _, err := w.service.TransferLeadership(ctx, r, ""); return err }},
	} {
		code(t, c.do(as(c.who)), "denied")
		if rec, _ := w.audit.last(t, audit.Decision); rec.Allowed || rec.Principal != c.who || rec.Detail == "" {
			t.Errorf("a denial is recorded as %+v", rec)
		}
	}
	if w.ledger.View().Position().Index != before {
		t.Error("a denied request reached the log")
	}
	if err := w.service.Check(ctx, w.ledger.View(), authority.Caller{Principal: "aud"}, access.KeySign, "ci"); err == nil {
		t.Error("an auditor may sign")
	}
	if rec, _ := w.audit.last(t, audit.Decision); rec.Verb != string(access.KeySign) || rec.Allowed {
		t.Errorf("a denied read is recorded as %+v", rec)
	}
}

func TestReplay(t *testing.T) {
	w := build(t)
	req := as("admin")
	first, err := w.service.CreateKey(ctx, req, spec("ci"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := w.service.CreateKey(ctx, req, spec("ci"))
	if err != nil || !again.Outcome.Replayed || again.Outcome.Index != first.Outcome.Index {
		t.Errorf("repeat = %+v, %v", again, err)
	}
	req.Digest[0] ^= 1
	_, err = w.service.CreateKey(ctx, req, spec("ci"))
	code(t, err, string(state.RequestIDReused))
	// A refusal by Apply is an outcome too, and stays it.
	req = as("admin")
	_, err = w.service.RevokePrincipal(ctx, req, "nobody-here")
	code(t, err, string(state.PrincipalNotFound))
	// The same id of another principal is another request.
	other := as("op")
	other.RequestID = req.RequestID
	if _, err := w.service.RotateKey(ctx, other, "ci"); err != nil && strings.Contains(err.Error(), "request id") {
		t.Errorf("ids of two principals clash: %v", err)
	}
}

func TestPlanChangesNothing(t *testing.T) {
	w := build(t)
	w.create("ci")
	before := w.ledger.View().Position().Index
	req := as("admin")
	req.DryRun = true
	r, err := w.service.Revoke(ctx, req, authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"})
	if err != nil || !r.DryRun || len(r.Outcome.Versions) != 1 {
		t.Errorf("plan = %+v, %v", r, err)
	}
	if _, secret, err := w.service.CreateToken(ctx, req, "op", "", 0); err != nil || secret != "" {
		t.Errorf("a planned token has a secret: %v", err)
	}
	if _, err := w.service.RemoveNode(ctx, req, authority.RemoveSpec{Node: "node2", Lost: true}); err != nil {
		t.Error(err)
	}
	if _, err := w.service.TransferLeadership(ctx, req, ""); err != nil {
		t.Error(err)
	}
	_, err = w.service.ResumeVersion(ctx, req, authority.VersionSpec{Key: "ci", Version: 1})
	code(t, err, string(state.IllegalTransition))
	if w.ledger.View().Position().Index != before || len(w.members.calls) != 0 {
		t.Error("a plan changed something")
	}
}

func TestPlansAgainOnConflict(t *testing.T) {
	w := build(t)
	w.create("ci")
	moves := 0
	w.race.before = func() { // the key's row moves once under the plan
		if moves++; moves == 1 {
			k := w.ledger.View().Key("ci")
			w.ledger.Must(t, &command.SetPolicy{Key: "ci", Policy: k.Policy, Owner: "somebody@else"})
		}
	}
	r, err := w.service.RotateKey(ctx, as("admin"), "ci")
	if err != nil || r.Outcome.Versions[0] != 2 || moves != 2 {
		t.Errorf("after one move: %+v, %v, %d proposals", r, err, moves)
	}
	w.race.before = func() {
		moves++
		k := w.ledger.View().Key("ci")
		w.ledger.Must(t, &command.SetPolicy{Key: "ci", Policy: k.Policy})
	}
	w.ledger.Must(t, &command.Revoke{Key: "ci", Versions: []uint64{2}, Reason: lifecycle.Superseded})
	moves = 0
	_, err = w.service.RotateKey(ctx, as("admin"), "ci")
	if code(t, err, string(state.Conflict)); moves != 3 {
		t.Errorf("%d plans were made of at most 3", moves)
	}
	// A revocation is never held up by such a race.
	if _, err := w.service.Revoke(ctx, as("admin"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"}); err != nil {
		t.Errorf("revoke = %v", err)
	}
}

func TestCallerRevokedWhilePlanning(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.race.before = func() {
		w.race.before = nil
		w.ledger.Must(t, &command.RevokePrincipal{Name: "op"})
	}
	_, err := w.service.RotateKey(ctx, as("op"), "ci")
	code(t, err, "denied")
	if w.ledger.View().Key("ci").Newest != 1 {
		t.Error("a principal revoked between decision and entry had its way")
	}
	// The same with the token it came with.
	hash := authority.HashToken("chy_t")
	w.ledger.Must(t, &command.AddToken{ID: "token-id", Principal: "admin", Hash: hash[:], ExpiresAt: w.ledger.Clock().At().Add(lifecycle.Hour)})
	w.race.before = func() {
		w.race.before = nil
		w.ledger.Must(t, &command.RevokeToken{ID: "token-id"})
	}
	req := as("admin")
	req.Caller.TokenID = "token-id"
	if _, err = w.service.RotateKey(ctx, req, "ci"); err == nil || w.ledger.View().Key("ci").Newest != 1 {
		t.Errorf("a token revoked between decision and entry had its way: %v", err)
	}
	again := as("admin")
	again.Caller.TokenID = "token-id"
	_, err = w.service.RotateKey(ctx, again, "ci")
	code(t, err, "denied")
}

func TestNotLeader(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.ledger.SetLeader(false)
	for name, do := range map[string]func() error{
		"create":    func() error { _, err := w.service.CreateKey(ctx, as("admin"), spec("x")); return err },
		"challenge": func() error { _, _, _, err := w.service.Challenge("admin"); return err },
		"transfer":  func() error { _, err := w.service.TransferLeadership(ctx, as("admin"), ""); return err },
		"join":      func() error { _, err := w.service.Join(ctx, "x", command.NodeRecord{}, nil, ""); return err },
		"bind": func() error {
			_, err := w.service.Peer(w.node2, "").BindInstance(ctx, &command.BindInstance{Node: w.node2}, nil)
			return err
		},
	} {
		if err := do(); !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("%s = %v", name, err)
		}
	}
}

// TestTwins: a request that was sent to two nodes, because the first was slow, is
// carried out while the second one is being decided.
func TestTwins(t *testing.T) {
	w := build(t)
	req := as("admin")
	var first authority.Result
	w.audit.after = func() {
		var err error
		if first, err = w.service.CreateKey(ctx, req, spec("ci")); err != nil {
			t.Error(err)
		}
	}
	r, err := w.service.CreateKey(ctx, req, spec("ci"))
	if err != nil || !r.Outcome.Replayed || r.Outcome.Index != first.Outcome.Index || first.Outcome.Index == 0 {
		t.Errorf("the twin = %+v, %v", r, err)
	}
}

func TestUnknownOutcomeIsRecordedAsSuch(t *testing.T) {
	w := build(t)
	w.ledger.LoseNextAnswer()
	req := as("admin")
	if _, err := w.service.CreateKey(ctx, req, spec("ci")); !errors.Is(err, ledger.ErrIndeterminate) {
		t.Fatalf("a lost answer = %v", err)
	}
	if rec, _ := w.audit.last(t, audit.Outcome); rec.Code != "unknown_outcome" {
		t.Errorf("recorded as %+v", rec)
	}
	r, err := w.service.CreateKey(ctx, req, spec("ci"))
	if err != nil || !r.Outcome.Replayed {
		t.Errorf("the repeat = %+v, %v", r, err)
	}
	w.ledger.FailNext(ledger.ErrBusy)
	if _, err := w.service.Revoke(ctx, as("admin"), authority.RevokeSpec{Key: "ci", Reason: "superseded"}); !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("a full queue = %v", err)
	}
}

func TestAwait(t *testing.T) {
	w := build(t)
	if _, err := w.service.CreateKey(ctx, as("admin"), spec("ci")); err != nil {
		t.Fatal(err)
	}
	for _, l := range []authority.Level{authority.Prepared, authority.Published, authority.Activated, authority.Destroyed} {
		if at := authority.ProgressOf(w.ledger.View(), "ci", 1).At(l); at != 0 {
			t.Errorf("%s is reached at once: %s", l, at)
		}
	}
	reached := make(chan bool, 1)
	go func() {
		_, ok := w.service.Await(ctx, state.Outcome{Key: "ci", Versions: []uint64{1}}, authority.Activated)
		reached <- ok
	}()
	w.bind("ci", 1)
	if p := authority.ProgressOf(w.ledger.View(), "ci", 1); p.PreparedAt == 0 || p.PublishedAt != 0 {
		t.Errorf("bound = %+v", p)
	}
	w.ledger.Must(t, &command.ActivateVersion{Key: "ci", Version: 1})
	if !<-reached {
		t.Error("active, and not noticed")
	}
	if _, err := w.service.RotateKey(ctx, as("admin"), "ci"); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, ok := w.service.Await(ctx, state.Outcome{Key: "ci", Versions: []uint64{2}}, authority.Activated)
		reached <- ok
	}()
	w.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	if <-reached {
		t.Error("a revoked version counts as active")
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if _, ok := w.service.Await(short, state.Outcome{Key: "ci", Versions: []uint64{9}}, authority.Activated); ok {
		t.Error("a version that does not exist was reached")
	}
}

// TestRefusalOfDeposedLeader: a leader that was frozen still believes that it leads,
// and its state is old. What it would refuse may be right by now, so it refuses
// nothing before the voters have confirmed it.
func TestRefusalOfDeposedLeader(t *testing.T) {
	w := build(t)
	w.race.read = ledger.ErrNotLeader
	for name, call := range map[string]func() error{
		"by the plan": func() error { _, err := w.service.RotateKey(ctx, as("admin"), "no-such-key"); return err },
		"by access":   func() error { _, err := w.service.CreateKey(ctx, as("aud"), spec("ci")); return err },
		"by the trial": func() error {
			_, err := w.service.QuarantineNode(ctx, as("admin"), "node2", "", true)
			return err
		},
	} {
		if err := call(); !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("refused %s: %v, want %v", name, err, ledger.ErrNotLeader)
		}
	}
	if _, err := w.service.CreateKey(ctx, as("admin"), spec("ci")); err != nil {
		t.Errorf("a change is confirmed by its own entry: %v", err)
	}
}
