package authority_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func leak(key string, versions ...uint64) authority.ReplaceSpec {
	return authority.ReplaceSpec{Key: key, Versions: versions, Reason: "keyCompromise", Comment: "keys in a public repository"}
}

// TestReplace: one request, one entry; a repeat is the same request.
func TestReplace(t *testing.T) {
	w := build(t)
	w.create("ci")
	req := as("op")
	before := w.ledger.View().Position().Index
	r, err := w.service.Replace(ctx, req, leak("ci"))
	if err != nil || fmt.Sprint(r.Outcome.Versions) != "[1 2]" || r.Outcome.Index != before+1 {
		t.Fatalf("%+v, %v", r, err)
	}
	again, err := w.service.Replace(ctx, req, leak("ci"))
	if err != nil || !again.Outcome.Replayed || again.Outcome.Index != r.Outcome.Index || w.ledger.View().Key("ci").Newest != 2 {
		t.Errorf("a repeat: %+v, %v", again, err)
	}
	req.Digest[0]++
	_, err = w.service.Replace(ctx, req, leak("ci", 1))
	code(t, err, string(state.RequestIDReused))

	v := w.ledger.View()
	if len(v.Instances("ci", 2)) != 2 || !v.Version("ci", 2).Emergency || v.Version("ci", 1).State != lifecycle.Compromised {
		t.Errorf("version 1 %+v, version 2 %+v", v.Version("ci", 1), v.Version("ci", 2))
	}
	if p := authority.ProgressOf(v, "ci", 2); p.ActiveAt != 0 || p.PublishedAt != 0 || p.Ended {
		t.Errorf("progress %+v", p)
	}
	w.ledger.Must(t, bindCommand(v.Instances("ci", 2)[1]))
	for _, l := range authority.Levels(command.KindReplace) {
		if _, reached := w.service.Await(ctx, r.Outcome, l); !reached {
			t.Errorf("%s is not reached", l)
		}
	}
}

// TestReplacePlan changes nothing, and says which fence it would open.
func TestReplacePlan(t *testing.T) {
	w := build(t)
	w.create("ci")
	req := as("op")
	req.DryRun = true
	before := w.ledger.View().Position()
	r, err := w.service.Replace(ctx, req, leak("ci"))
	if err != nil || !r.DryRun || r.Fence == nil || fmt.Sprint(r.Fence.Versions) != "[1]" || fmt.Sprint(r.Outcome.Versions) != "[1 2]" || w.ledger.View().Position() != before {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReplaceTwice: the second of two people who saw the same alarm does not throw the
// new keys away; who means them names them, and the next day is another alarm.
func TestReplaceTwice(t *testing.T) {
	w := build(t)
	w.create("ci")
	first := as("op")
	if _, err := w.service.Replace(ctx, first, leak("ci")); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		_, err := w.service.Replace(ctx, as("admin"), leak("ci"))
		code(t, err, authority.AlreadyReplaced)
		var refusal *authority.Refusal
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "by op (request "+first.RequestID) || !strings.Contains(refusal.Hint, "--version 2") {
			t.Errorf("it says %+v", refusal)
		}
	}
	refused() // while it is made
	w.bind("ci", 2)
	refused() // when it signs
	if _, err := w.service.Replace(ctx, as("admin"), leak("ci", 2)); err != nil {
		t.Errorf("named: %v", err)
	}
	w.bind("ci", 3)
	w.ledger.Clock().Advance(24 * time.Hour)
	if _, err := w.service.Replace(ctx, as("admin"), leak("ci")); err != nil {
		t.Errorf("the next day: %v", err)
	}
	if _, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.Replace(ctx, as("op"), leak("ci")); err != nil {
		t.Errorf("what the first one made is revoked: %v", err)
	}
}

// TestReplaceRaces: two requests that plan the same version number; the second plans
// again and sees the first.
func TestReplaceRaces(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.race.before = func() {
		w.race.before = nil
		if _, err := w.service.Replace(ctx, as("op"), leak("ci")); err != nil {
			t.Error(err)
		}
	}
	_, err := w.service.Replace(ctx, as("admin"), leak("ci"))
	code(t, err, authority.AlreadyReplaced)

	w.create("ci-2")
	w.race.before = func() {
		w.race.before = nil
		if _, err := w.service.RotateKey(ctx, as("op"), "ci-2"); err != nil {
			t.Error(err)
		}
	}
	r, err := w.service.Replace(ctx, as("admin"), leak("ci-2"))
	if err != nil || fmt.Sprint(r.Outcome.Versions) != "[1 2 3]" {
		t.Errorf("a rotation came between: %+v, %v", r, err)
	}
}

func TestReplaceRefused(t *testing.T) {
	w := build(t)
	w.create("ci")
	for name, c := range map[string]struct {
		req  authority.Request
		spec authority.ReplaceSpec
		want string
	}{
		"an auditor":         {as("aud"), leak("ci"), "denied"},
		"an unknown key":     {as("op"), leak("ci-none"), string(state.KeyNotFound)},
		"an unknown version": {as("op"), leak("ci", 7), string(state.VersionNotFound)},
		"no reason":          {as("op"), authority.ReplaceSpec{Key: "ci"}, "invalid"},
		"a hold":             {as("op"), authority.ReplaceSpec{Key: "ci", Reason: "certificateHold"}, "invalid"},
		"a compromise to come": {as("op"), authority.ReplaceSpec{Key: "ci", Reason: "keyCompromise",
			CompromisedSince: w.ledger.Clock().At().Add(lifecycle.Hour)}, "invalid"},
		"a time of no compromise": {as("op"), authority.ReplaceSpec{Key: "ci", Reason: "superseded", CompromisedSince: 1}, string(state.Invalid)},
	} {
		t.Run(name, func(t *testing.T) {
			before := w.ledger.View().Position().LogSize
			_, err := w.service.Replace(ctx, c.req, c.spec)
			code(t, err, c.want)
			if w.ledger.View().Position().LogSize != before || w.ledger.View().Version("ci", 1).State != lifecycle.Active {
				t.Error("it was refused, and something was changed")
			}
		})
	}
}

// TestReplaceASingleton whose node is gone: what to do is said, nothing is half done.
func TestReplaceASingleton(t *testing.T) {
	w := build(t)
	root := spec("ci-root")
	root.Custody, root.Node = "singleton", "node2"
	if _, err := w.service.CreateKey(ctx, as("admin"), root); err != nil {
		t.Fatal(err)
	}
	w.bind("ci-root", 1)
	w.ledger.Must(t, &command.ActivateVersion{Key: "ci-root", Version: 1})
	w.ledger.Must(t, &command.SetNodeStatus{ID: w.node2, Status: lifecycle.Quarantined, Reason: "stolen"})
	_, err := w.service.Replace(ctx, as("op"), leak("ci-root"))
	code(t, err, string(state.NotReady))
	var refusal *authority.Refusal
	if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "node node2 alone, which is quarantined") || !strings.Contains(refusal.Hint, "chancery key revoke ci-root --reason keyCompromise") {
		t.Errorf("it says %+v", refusal)
	}
	if w.ledger.View().Version("ci-root", 1).State != lifecycle.Active {
		t.Error("it was revoked all the same")
	}
	w.ledger.Must(t, &command.SetNodeStatus{ID: w.node2, Status: lifecycle.Member})
	r, err := w.service.Replace(ctx, as("op"), leak("ci-root"))
	if err != nil || len(w.ledger.View().Instances("ci-root", 2)) != 1 {
		t.Errorf("its node is back: %+v, %v", r, err)
	}
}

// TestReplaceWithoutAudit: a full disk keeps no compromised key alive.
func TestReplaceWithoutAudit(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.audit.fail = errDisk
	if _, err := w.service.Replace(ctx, as("op"), leak("ci")); err != nil {
		t.Error(err)
	}
}

// TestReplaceNeedsNoApprovals, whatever rules the key has: they are for widening.
func TestReplaceNeedsNoApprovals(t *testing.T) {
	if _, _, _, ok := command.IntentOf(&command.Replace{Key: "ci", Version: 2}); ok {
		t.Error("a rule could make a replacement wait")
	}
}
