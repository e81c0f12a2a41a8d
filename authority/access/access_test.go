package access

import (
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func person(grants ...string) *lifecycle.Principal {
	p := &lifecycle.Principal{Name: "alice"}
	for _, s := range grants {
		g, err := lifecycle.ParseGrant(s)
		if err != nil {
			panic(err)
		}
		p.Grants = append(p.Grants, g)
	}
	return p
}

func TestDecide(t *testing.T) {
	for _, c := range []struct {
		who  *lifecycle.Principal
		verb Verb
		key  lifecycle.KeyID
		want bool
	}{
		{nil, KeyRead, "ci", false},
		{person(), KeyRead, "ci", false},
		{person(), StatusRead, "", false},
		{person("signer:ci-*"), KeySign, "ci-artifacts", true},
		{person("signer:ci-*"), KeySign, "prod", false},
		{person("signer:ci-*"), KeySign, "", false},
		{person("signer:ci-*"), KeyRevoke, "ci-artifacts", false},
		{person("signer:ci-*"), KeyRead, "ci-artifacts", true},
		{person("signer:ci-*"), KeyRead, "prod", false},
		{person("admin"), KeySign, "ci", false},
		{person("admin"), KeyCreate, "ci", true},
		{person("admin:ci-*"), KeyCreate, "ci-x", true},
		{person("admin:ci-*"), KeyCreate, "x", false},
		{person("admin:ci-*"), PrincipalEdit, "", false},
		{person("admin"), PrincipalEdit, "", true},
		{person("operator"), PrincipalEdit, "", false},
		{person("operator"), NodeEdit, "", false},
		{person("auditor"), AuditRead, "", true},
		{person("auditor:ci"), AuditRead, "", false},
		{person("auditor"), KeyRotate, "ci", false},
		{person("approver:ci"), KeySuspend, "ci", true},
		{person("approver:ci"), KeyResume, "ci", false},
		{person("consumer:ci"), KeyRead, "ci", true},
		{person("approver:ci-*"), ProposalApprove, "ci-x", true},
		{person("approver:ci-*"), ProposalApprove, "x", false},
		{person("approver:ci-*"), ProposalApprove, "", true}, // of the cluster: the proposal itself names who may
		{person("admin"), ProposalApprove, "ci-x", false},
		{person("signer"), ProposalRead, "ci-x", false},
		{person("operator:ci-*"), ProposalBreak, "", false},
		{person("admin"), "key.obliterate", "ci", false},
	} {
		d := Decide(c.who, c.verb, c.key)
		if d.Allowed != c.want {
			t.Errorf("Decide(%v, %s, %q) = %v, want %v", c.who, c.verb, c.key, d, c.want)
		}
		if !d.Allowed && d.Why == "" {
			t.Errorf("Decide(%v, %s, %q) denies without saying why", c.who, c.verb, c.key)
		}
	}
}

func TestRevokedPrincipalMayDoNothing(t *testing.T) {
	p := person("admin", "operator", "approver", "signer", "auditor", "consumer")
	for _, v := range Verbs {
		if !Decide(p, v, "ci").Allowed {
			t.Errorf("%s is denied even with every role", v)
		}
	}
	p.RevokedAt = 1
	for _, v := range Verbs {
		if Decide(p, v, "ci").Allowed {
			t.Errorf("%s is allowed to a revoked principal", v)
		}
	}
}

func TestEveryVerbHasARule(t *testing.T) {
	for _, v := range Verbs {
		if r, ok := rules[v]; !ok || r.scope == 0 || len(r.roles) == 0 {
			t.Errorf("%s has no rule", v)
		}
	}
	if len(rules) != len(Verbs) {
		t.Errorf("%d rules for %d verbs", len(rules), len(Verbs))
	}
}
