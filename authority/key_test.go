package authority_test

import (
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestCreateKey(t *testing.T) {
	w := build(t)
	r, err := w.service.CreateKey(ctx, as("op"), authority.KeySpec{Name: "ci-rsa", Purpose: "code", Alg: "PS256", Owner: "o", Reason: "r",
		Labels: []lifecycle.Label{{Name: "b", Value: "2"}, {Name: "a", Value: "1"}}})
	if err != nil {
		t.Fatal(err)
	}
	k := w.ledger.View().Key("ci-rsa")
	if k.Bits != lifecycle.DefaultRSABits || k.ConfirmBy == 0 || k.Labels[0].Name != "a" || k.Created.By != "op" || k.Custody != lifecycle.Distributed || r.Outcome.Versions[0] != 1 {
		t.Errorf("key = %+v", k)
	}
	seen := map[lifecycle.CKAID]bool{}
	for _, i := range w.ledger.View().Instances("ci-rsa", 1) {
		seen[i.CKAID] = true
	}
	if len(seen) != 2 {
		t.Errorf("%d instances with CKA_IDs of their own, of 2 nodes", len(seen))
	}
	one := spec("root")
	one.Custody, one.Node = "singleton", "node2"
	if _, err := w.service.CreateKey(ctx, as("admin"), one); err != nil {
		t.Fatal(err)
	}
	if is := w.ledger.View().Instances("root", 1); len(is) != 1 || is[0].Node != w.node2 {
		t.Errorf("a singleton has %d instances", len(is))
	}
	for name, c := range map[string]struct {
		change func(*authority.KeySpec)
		want   string
	}{
		"bad name":         {func(s *authority.KeySpec) { s.Name = "UPPER" }, "invalid"},
		"no owner":         {func(s *authority.KeySpec) { s.Owner = "" }, "invalid"},
		"no reason":        {func(s *authority.KeySpec) { s.Reason = "" }, "invalid"},
		"no purpose":       {func(s *authority.KeySpec) { s.Purpose = "" }, "invalid"},
		"purpose of later": {func(s *authority.KeySpec) { s.Purpose = "certificate" }, "invalid"},
		"no algorithm":     {func(s *authority.KeySpec) { s.Alg = "HS256" }, "invalid"},
		"odd bits":         {func(s *authority.KeySpec) { s.Alg, s.Bits = "RS256", 1024 }, "invalid"},
		"bits of a curve":  {func(s *authority.KeySpec) { s.Bits = 256 }, "invalid"},
		"odd custody":      {func(s *authority.KeySpec) { s.Custody = "shared" }, "invalid"},
		"singleton":        {func(s *authority.KeySpec) { s.Custody = "singleton" }, string(state.NodeNotFound)},
		"unknown holder":   {func(s *authority.KeySpec) { s.Custody, s.Node = "singleton", "ghost" }, string(state.NodeNotFound)},
		"node":             {func(s *authority.KeySpec) { s.Node = "n1" }, "invalid"},
		"bad policy":       {func(s *authority.KeySpec) { s.Policy = &lifecycle.Policy{} }, string(state.Invalid)},
		"taken":            {func(s *authority.KeySpec) { s.Name = "root" }, string(state.AlreadyExists)},
	} {
		s := spec("ci-x")
		c.change(&s)
		_, err := w.service.CreateKey(ctx, as("admin"), s)
		t.Run(name, func(t *testing.T) { code(t, err, c.want) })
		if s.Node == "ghost" && !strings.Contains(err.Error(), `no node "ghost"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCreateIfAbsent(t *testing.T) {
	w := build(t)
	s := spec("ci")
	s.IfAbsent = true
	if r, err := w.service.CreateKey(ctx, as("admin"), s); err != nil || r.Existing {
		t.Fatalf("%+v, %v", r, err)
	}
	if r, err := w.service.CreateKey(ctx, as("admin"), s); err != nil || !r.Existing || r.Outcome.Key != "ci" {
		t.Errorf("%+v, %v", r, err)
	}
	s.Purpose = "code"
	_, err := w.service.CreateKey(ctx, as("admin"), s)
	code(t, err, string(state.AlreadyExists))
}

func TestNoNodeSigns(t *testing.T) {
	w := build(t)
	w.ledger.Must(t, &command.SetNodeRoles{ID: w.ledger.NodeID(), Voter: true})
	w.ledger.Must(t, &command.SetNodeStatus{ID: w.node2, Status: lifecycle.Quarantined})
	_, err := w.service.CreateKey(ctx, as("admin"), spec("ci"))
	code(t, err, "not_ready")
}

func TestVersionVerbs(t *testing.T) {
	w := build(t)
	w.create("ci")
	do := func(name string, r authority.Result, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if v := w.ledger.View().Version("ci", r.Outcome.Versions[0]); v == nil {
			t.Fatalf("%s is about no version", name)
		}
	}
	at := func(n uint64) lifecycle.State { return w.ledger.View().Version("ci", n).State }
	v := authority.VersionSpec{Key: "ci"}
	r, err := w.service.SuspendVersion(ctx, as("op"), v)
	if do("suspend", r, err); at(1) != lifecycle.Suspended {
		t.Errorf("suspended = %s", at(1))
	}
	r, err = w.service.ResumeVersion(ctx, as("op"), v)
	if do("resume", r, err); at(1) != lifecycle.Active {
		t.Errorf("resumed = %s", at(1))
	}
	r, err = w.service.RotateKey(ctx, as("op"), "ci")
	do("rotate", r, err)
	_, err = w.service.RotateKey(ctx, as("op"), "ci")
	code(t, err, string(state.RotationOpen))
	w.bind("ci", 2)
	_, err = w.service.ActivateVersion(ctx, as("op"), v)
	code(t, err, string(state.NotPublished))
	_, err = w.service.ActivateVersion(ctx, as("op"), authority.VersionSpec{Key: "ci", Early: true})
	code(t, err, "invalid") // nobody said why
	r, err = w.service.ActivateVersion(ctx, as("op"), authority.VersionSpec{Key: "ci", Early: true, Comment: "drill"})
	if do("activate", r, err); at(1) != lifecycle.Deactivated || at(2) != lifecycle.Active {
		t.Errorf("after rotation: %s, %s", at(1), at(2))
	}
	_, err = w.service.ResumeVersion(ctx, as("op"), v)
	code(t, err, string(state.IllegalTransition)) // no version it could mean
	_, err = w.service.SuspendVersion(ctx, as("op"), authority.VersionSpec{Key: "ci", Version: 9})
	code(t, err, string(state.VersionNotFound))
	_, err = w.service.SuspendVersion(ctx, as("op"), authority.VersionSpec{Key: "ci-none"})
	code(t, err, string(state.KeyNotFound))
	r, err = w.service.DeactivateVersion(ctx, as("op"), v)
	do("deactivate", r, err)
	_, err = w.service.DestroyVersion(ctx, as("op"), authority.DestroySpec{VersionSpec: v})
	code(t, err, "invalid") // two versions could be meant
	r, err = w.service.DestroyVersion(ctx, as("op"), authority.DestroySpec{VersionSpec: authority.VersionSpec{Key: "ci", Version: 1}})
	do("destroy", r, err)
	if due := w.ledger.View().Version("ci", 1).DestroyAt; due < w.ledger.Clock().At().Add(7*lifecycle.Day) {
		t.Errorf("destruction is due at %s, within the waiting period", due)
	}
	r, err = w.service.DestroyVersion(ctx, as("op"), authority.DestroySpec{VersionSpec: authority.VersionSpec{Key: "ci", Version: 1}, Cancel: true})
	if do("cancel", r, err); w.ledger.View().Version("ci", 1).DestroyAt != 0 {
		t.Error("a cancelled destruction is still due")
	}
}

func TestRevoke(t *testing.T) {
	w := build(t)
	w.create("ci")
	i := w.ledger.View().Instance("ci", 1, w.node2)
	r, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Instance: i.KID[:10], Reason: "keyCompromise", CompromisedSince: 5})
	if err != nil || w.ledger.View().Fence(r.Outcome.Index) == nil {
		t.Fatalf("revoke one instance: %v, no fence", err)
	}
	v := w.ledger.View()
	if v.Instance("ci", 1, w.node2).Condition != lifecycle.InstanceBad || v.Instance("ci", 1, w.ledger.NodeID()).Condition != lifecycle.Ready || v.Version("ci", 1).State != lifecycle.Active {
		t.Error("more or less than one instance was revoked")
	}
	_, err = w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise", CompromisedSince: w.ledger.Clock().At().Add(lifecycle.Hour)})
	code(t, err, "invalid") // what the thief signs until then would count as signed before
	for want, s := range map[string]authority.RevokeSpec{
		"invalid":                      {Key: "ci", Reason: "bored"},
		string(state.KeyNotFound):      {Key: "ci-none", Reason: "superseded"},
		string(state.NodeNotFound):     {Key: "ci", Reason: "superseded", Node: "ghost"},
		string(state.InstanceNotFound): {Key: "ci", Reason: "superseded", Instance: "AAAAAAAAAA"},
		string(state.VersionNotFound):  {Key: "ci", Reason: "superseded", Versions: []uint64{9}},
	} {
		_, err := w.service.Revoke(ctx, as("op"), s)
		code(t, err, want)
	}
	_, err = w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Instance: "short", Reason: "superseded"})
	code(t, err, "invalid")
	if _, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Node: "n1", Reason: "superseded"}); err != nil {
		t.Errorf("revoke a node's instances: %v", err)
	}
	ahead := w.service.Now().Add(2 * lifecycle.Minute) // "now", by a clock that runs ahead
	if _, err := w.service.Revoke(ctx, as("op"), authority.RevokeSpec{Key: "ci", Reason: "keyCompromise", CompromisedSince: ahead}); err != nil {
		t.Fatal(err)
	}
	if v := w.ledger.View().Version("ci", 1); v.State != lifecycle.Compromised || v.Revocation.By != "op" || v.Revocation.CompromisedSince == 0 || v.Revocation.CompromisedSince > w.service.Now() {
		t.Errorf("revoked = %+v", v)
	}
}

func TestSetPolicy(t *testing.T) {
	w := build(t)
	w.create("ci")
	k := w.ledger.View().Key("ci")
	p := k.Policy
	p.RotateEvery = 10 * lifecycle.Day
	_, err := w.service.SetPolicy(ctx, as("op"), "ci", k.PolicyVersion+1, command.SetPolicy{Policy: p})
	code(t, err, "precondition_failed")
	if _, err := w.service.SetPolicy(ctx, as("op"), "ci", k.PolicyVersion, command.SetPolicy{Policy: p}); err != nil {
		t.Fatal(err)
	}
	if now := w.ledger.View().Key("ci"); now.Policy.RotateEvery != p.RotateEvery || now.Owner != k.Owner || now.PolicyVersion == k.PolicyVersion {
		t.Errorf("key = %+v", now)
	}
	p.Strict = true
	if r, err := w.service.SetPolicy(ctx, as("op"), "ci", 0, command.SetPolicy{Policy: p}); err != nil || w.ledger.View().Fence(r.Outcome.Index) == nil {
		t.Errorf("strict switched on: %v, and no fence", err)
	}
	p.RotateEvery = -1
	_, err = w.service.SetPolicy(ctx, as("op"), "ci", 0, command.SetPolicy{Policy: p})
	code(t, err, string(state.Invalid))
	_, err = w.service.SetPolicy(ctx, as("admin"), "none", 0, command.SetPolicy{Policy: p})
	code(t, err, string(state.KeyNotFound))
}
