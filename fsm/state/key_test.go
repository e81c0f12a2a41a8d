package state_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestCreateKey(t *testing.T) {
	w := newWorld(t)
	c := newKey(ci, w.nodes...)
	c.Labels = []lifecycle.Label{{Name: "team", Value: "build"}}
	o := w.ok(c)
	if o.Key != ci || len(o.Versions) != 1 || o.Versions[0] != 1 || o.Subject != "ci/1" {
		t.Errorf("outcome %+v", o)
	}
	k := w.l.View().Key(ci)
	if k.Newest != 1 || k.Active != 0 || k.Owner != "platform" || k.PolicyVersion != 1 || k.Rev != o.Index || len(k.Labels) != 1 {
		t.Errorf("key %+v", k)
	}
	if k.Created.By != ledgertest.Admin || k.Created.At != w.l.Clock().At() || k.Created.Index != o.Index {
		t.Errorf("created %+v", k.Created)
	}
	w.state(1, lifecycle.PreActivation)
	for node := range w.nodes {
		if i := w.instance(1, node); i.Condition != lifecycle.Pending || i.CKAID == (lifecycle.CKAID{}) {
			t.Errorf("instance %+v", i)
		}
	}
	w.signs(1)
	w.trusts(1)
	w.no(state.AlreadyExists, newKey(ci, w.nodes...))
}

func TestCreateKeyRefusals(t *testing.T) {
	w := newWorld(t)
	w.no(state.NodeNotFound, newKey(ci, ledgertest.NodeID("stranger")))
	w.ok(&command.SetNodeRoles{ID: w.nodes[1]})
	w.no(state.NodeNotMember, newKey(ci, w.nodes...))
	w.quarantine(2)
	w.no(state.NodeNotMember, newKey(ci, w.nodes[2]))
	w.ok(&command.SetNodeStatus{ID: w.nodes[2], Status: lifecycle.Removed})
	w.no(state.NodeNotMember, newKey(ci, w.nodes[2]))
	for what, change := range map[string]func(*command.CreateKey){
		"no owner":         func(c *command.CreateKey) { c.Owner = "" },
		"no reason":        func(c *command.CreateKey) { c.Reason = "" },
		"a bad name":       func(c *command.CreateKey) { c.Name = "CI" },
		"no instance":      func(c *command.CreateKey) { c.Instances = nil },
		"an unusable alg":  func(c *command.CreateKey) { c.Alg = "HS256" },
		"an unusable lead": func(c *command.CreateKey) { c.Policy.Lead = -1 },
	} {
		c := newKey(ci, w.nodes[0])
		change(c)
		if o := w.no(state.Invalid, c); o.Code != state.Invalid {
			t.Errorf("%s: %+v", what, o)
		}
	}
	w.ok(newKey(ci, w.nodes[0]))
}

func TestSingleton(t *testing.T) {
	w := newWorld(t)
	c := newKey(ci, w.nodes[1])
	c.Custody, c.Node = lifecycle.Singleton, w.nodes[1]
	w.ok(c)
	w.no(state.Invalid, &command.PlanInstances{Key: ci, Version: 1, Instances: intents(ci, 1, w.nodes[0])})
	w.ok(bind(ci, 1, w.nodes[1]))
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.signs(1, 1)
	w.no(state.Invalid, &command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes[0])})
	w.ok(&command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes[1])})
}

func TestPrepareVersion(t *testing.T) {
	w := newWorld(t)
	next := &command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, w.nodes...)}
	w.no(state.KeyNotFound, next)
	w.bound(1)
	w.no(state.RotationOpen, next)
	w.ok(&command.ActivateVersion{Key: ci, Version: 1})
	w.no(state.Conflict, &command.PrepareVersion{Key: ci, Version: 3, Instances: intents(ci, 3, w.nodes...)})
	w.no(state.Conflict, &command.PrepareVersion{Key: ci, Version: 1, Instances: intents(ci, 1, w.nodes...)})
	w.no(state.NodeNotFound, &command.PrepareVersion{Key: ci, Version: 2, Instances: intents(ci, 2, ledgertest.NodeID("stranger"))})
	w.ok(next)
	if k := w.l.View().Key(ci); k.Newest != 2 || k.Active != 1 {
		t.Errorf("key %+v", k)
	}
	w.no(state.RotationOpen, &command.PrepareVersion{Key: ci, Version: 3, Instances: intents(ci, 3, w.nodes...)})
}

func TestPrepareAfterTheWholeKeyWasRevoked(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(revoke(lifecycle.KeyCompromise))
	w.state(1, lifecycle.Compromised)
	w.active(2)
	w.signs(2, 0, 1, 2)
	w.signs(1)
	w.trusts(1)
}

func TestSetPolicy(t *testing.T) {
	w := newWorld(t)
	p := policy()
	p.Lead = 2 * lifecycle.Hour
	w.no(state.KeyNotFound, &command.SetPolicy{Key: ci, Policy: p})
	w.prepared(1)
	w.ok(&command.SetPolicy{Key: ci, Policy: p})
	k := w.l.View().Key(ci)
	if k.Policy.Lead != p.Lead || k.PolicyVersion != 2 || k.Owner != "platform" || k.Reason != "signs build tokens" {
		t.Errorf("key %+v", k)
	}
	w.ok(&command.SetPolicy{Key: ci, Policy: p, Owner: "security", Reason: "audit", ConfirmBy: 99, Labels: []lifecycle.Label{{Name: "a"}}})
	k = w.l.View().Key(ci)
	if k.Owner != "security" || k.Reason != "audit" || k.ConfirmBy != 99 || len(k.Labels) != 1 || k.PolicyVersion != 3 {
		t.Errorf("key %+v", k)
	}
	p.Inputs = []string{lifecycle.InputDigest}
	w.no(state.Invalid, &command.SetPolicy{Key: ci, Policy: p})
}

// TestVersionsSortPastOneByte: row keys must list version 2 before 10 and 256.
func TestVersionsSortPastOneByte(t *testing.T) {
	w := newWorld(t)
	w.prepared(1)
	for n := uint64(2); n <= 260; n++ {
		w.ok(revoke(lifecycle.Superseded, n-1))
		w.prepared(n)
	}
	vs := w.l.View().Versions(ci)
	if len(vs) != 260 {
		t.Fatalf("%d versions", len(vs))
	}
	for i, v := range vs {
		if v.Number != uint64(i+1) {
			t.Fatalf("version %d stands at place %d", v.Number, i+1)
		}
		if got := len(w.l.View().Instances(ci, v.Number)); got != 3 {
			t.Fatalf("version %d has %d instances", v.Number, got)
		}
	}
	v := w.version(200)
	w.no(state.Conflict, &command.SuspendVersion{Key: ci, Version: 260}, command.RowRef{Table: "versions", Key: state.RefVersion(v).Key, Rev: v.Rev + 1})
	w.ok(&command.SuspendVersion{Key: ci, Version: 260}, state.RefVersion(v))
}

// TestNeighbouringNamesStayApart: "ci" must not list what belongs to "ci-2".
func TestNeighbouringNamesStayApart(t *testing.T) {
	w := newWorld(t)
	for _, name := range []lifecycle.KeyID{"ci", "ci-2", "ci0", "c"} {
		w.ok(newKey(name, w.nodes[0]))
	}
	var names []string
	w.l.View().EachKey("", func(k *lifecycle.Key) bool { names = append(names, string(k.ID)); return true })
	if got := strings.Join(names, " "); got != "c ci ci-2 ci0" {
		t.Errorf("keys %q", got)
	}
	if got := len(w.l.View().Versions("ci")); got != 1 {
		t.Errorf("ci has %d versions", got)
	}
	o := w.ok(&command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	if fmt.Sprint(o.Versions) != "[1]" || w.l.View().Version("ci-2", 1).State != lifecycle.PreActivation {
		t.Error("the wrong key was revoked")
	}
}
