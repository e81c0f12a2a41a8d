package state_test

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestGrounds: what a right to sign rests on stands until one of its rows is written,
// whatever else happens.
func TestGrounds(t *testing.T) {
	w := newWorld(t)
	w.ok(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "*"}}}})
	w.ok(&command.AddToken{ID: "token-robot", Principal: "robot", Hash: make([]byte, 32), ExpiresAt: w.l.Clock().At().Add(lifecycle.Day)})
	for _, k := range []lifecycle.KeyID{ci, "other"} {
		for _, c := range life(k, w.nodes) {
			w.ok(c)
		}
	}
	here := w.nodes[0]
	find := func() (*state.View, state.Grounds) {
		v := w.l.View()
		g := v.Grounds(state.PrincipalRow(v.Principal("robot")), state.TokenRow(v.Token("token-robot")), state.KeyRow(v.Key(ci)),
			state.VersionRow(v.Version(ci, 1)), state.InstanceRow(v.Instance(ci, 1, here)), state.NodeRow(v.Node(here)))
		return v, g
	}
	v, g := find()
	if none := (&state.Grounds{}); none.Stand(v) || !g.Stand(v) {
		t.Error("rows do not stand in their own view, or none do")
	}
	policy := v.Key(ci).Policy
	policy.VerifyOneIn = 7
	for _, c := range []struct {
		what  string
		do    command.Body
		stand bool
	}{
		{"nothing but the clock", &command.MarkCheckpoint{}, true},
		{"a signature", &command.RecordSignatures{Node: here, Groups: []command.SignatureGroup{{Key: ci, Version: 1, KID: v.Instance(ci, 1, here).KID, Principal: "robot",
			RequestID: "0197-ground", Items: []command.SignatureItem{{TBS: make([]byte, 32), Sig: make([]byte, 32)}}}}}, true},
		{"another principal", &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "robot2", Kind: lifecycle.Service}}, true},
		{"another key", &command.SuspendVersion{Key: "other", Version: 1}, true},
		{"another node's instance", &command.ReportCondition{Key: ci, Version: 1, Node: w.nodes[1], Condition: lifecycle.Lost}, true},
		{"another node", &command.ReportSeal{Node: w.nodes[1], ID: "0011223344556677", By: "uid 0", SealedAt: 1}, true},
		{"the key", &command.SetPolicy{Key: ci, Policy: policy}, false},
		{"the node", &command.ReportSeal{Node: here, ID: "0011223344556677", By: "uid 0", SealedAt: 1}, false},
		{"the token", &command.RevokeToken{ID: "token-robot"}, false},
		{"the version", &command.SuspendVersion{Key: ci, Version: 1}, false},
		{"the instance", &command.ReportCondition{Key: ci, Version: 1, Node: here, Condition: lifecycle.Lost}, false},
		{"the principal", &command.RevokePrincipal{Name: "robot"}, false},
	} {
		before, g := find()
		w.ok(c.do)
		if after := w.l.View(); g.Stand(after) != c.stand {
			t.Errorf("%s was written, and the rows stand: %v", c.what, !c.stand)
		}
		if !g.Stand(before) {
			t.Errorf("%s was written, and the rows left the view they were found in", c.what)
		}
	}
	_, g = find()
	restored, err := state.LoadMachine(ledgertest.Restore(w.l.Rows()))
	if err != nil {
		t.Fatal(err)
	}
	if g.Stand(state.NewView(restored.Root(), nil)) {
		t.Error("rows of another state with the same revisions are taken for the same")
	}
}

// TestStandingCostsNothing: it is done under the lock of the release gate.
func TestStandingCostsNothing(t *testing.T) {
	w := newWorld(t)
	for _, c := range life(ci, w.nodes) {
		w.ok(c)
	}
	v := w.l.View()
	g := v.Grounds(state.KeyRow(v.Key(ci)), state.VersionRow(v.Version(ci, 1)), state.TokenRow(nil))
	w.ok(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: "other", Kind: lifecycle.Service}})
	v = w.l.View()
	if n := testing.AllocsPerRun(100, func() {
		if !g.Stand(v) {
			t.Fatal("the rows do not stand")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
