package state_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestTrialAgreesWithApplyAndChangesNothing along a whole life of a key, with
// commands that are accepted and commands that are refused.
func TestTrialAgreesWithApplyAndChangesNothing(t *testing.T) {
	l := ledgertest.New(t)
	ids := ledgertest.Genesis(t, l, "alpha", "beta")
	for _, b := range []command.Body{
		activate(1), newKey(ci, ids...), newKey(ci, ids...), bind(ci, 1, ids[0]), bind(ci, 1, ids[0]), publish(1), activate(1), suspend(1), resume(1),
		&command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, ids...)}, bind(ci, 2, ids[1]), publish(2), activate(2), early(2),
		withdraw(1), revoke(lifecycle.KeyCompromise, 1), revoke(lifecycle.CertificateHold, 1), person("bob", certA), person("bob"),
		&command.RevokePrincipal{Name: "bob"}, &command.RevokePrincipal{Name: ledgertest.Admin}, &command.MarkCheckpoint{},
		&command.RaiseFormat{Format: 7}, &command.SetNodeStatus{ID: ids[1], Status: lifecycle.Quarantined}, deactivate(2), &command.SetSettings{},
		&command.Replace{Key: ci, Version: 3, Instances: intents(ci, 3, ids...), Reason: lifecycle.KeyCompromise}, bind(ci, 3, ids[0]),
		&command.Replace{Key: ci, Version: 3, Instances: intents(ci, 3, ids...), Reason: lifecycle.KeyCompromise},
		&command.RotateGossipKey{Digest: bytes.Repeat([]byte{7}, 32)}, &command.RotateGossipKey{Digest: bytes.Repeat([]byte{7}, 32)},
	} {
		view, rows, pos := l.View(), dump(l.Rows()), l.View().Position()
		trial := state.Trial(view, l.Command(b))
		if view.Position() != pos || dump(l.Rows()) != rows || !sameHot(t, view, l) {
			t.Fatalf("trying %s changed the state", b.Kind())
		}
		again := state.Trial(view, l.Command(b))
		o, err := l.Propose(context.Background(), l.Command(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, tr := range []state.Outcome{trial, again} {
			if tr.Code != o.Code || tr.Subject != o.Subject || tr.Detail != o.Detail || tr.Key != o.Key || len(tr.Versions) != len(o.Versions) {
				t.Errorf("%s: the trial said %+v, Apply %+v", b.Kind(), tr, o)
			}
		}
	}
}

// sameHot compares what the view holds in memory with what a load from the rows gives.
func sameHot(t *testing.T, v *state.View, l *ledgertest.Ledger) bool {
	t.Helper()
	m, err := state.LoadMachine(l.Rows())
	if err != nil {
		t.Fatal(err)
	}
	return hotDump(v) == hotDump(state.NewView(m.Root(), nil))
}

// hotDump is every hot row a View shows, re-encoded.
func hotDump(v *state.View) string {
	var out []byte
	add := func(row any) { out = append(out, command.Marshal(row)...) }
	if c := v.Cluster(); c != nil {
		add(c)
	}
	for _, n := range v.Nodes() {
		add(n)
	}
	v.EachKey("", func(k *lifecycle.Key) bool {
		add(k)
		for _, ver := range v.Versions(k.ID) {
			add(ver)
			for _, i := range v.Instances(k.ID, ver.Number) {
				add(i)
			}
		}
		return true
	})
	for _, i := range v.ByKID("") {
		add(i)
	}
	for _, p := range v.Principals() {
		add(p)
	}
	for _, tok := range v.Tokens() {
		add(tok)
	}
	return string(out)
}

// TestTrialBeforeGenesis needs no rows at all.
func TestTrialBeforeGenesis(t *testing.T) {
	l := ledgertest.New(t)
	if o := state.Trial(l.View(), l.Command(genesis())); !o.OK() {
		t.Errorf("outcome %+v", o)
	}
	if o := state.Trial(l.View(), l.Command(newKey(ci, l.NodeID()))); o.Code != state.NotInitialised {
		t.Errorf("outcome %+v", o)
	}
	if l.View().Cluster() != nil {
		t.Error("the trial made a cluster")
	}
}
