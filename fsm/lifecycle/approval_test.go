package lifecycle

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestApprovalRules(t *testing.T) {
	good := ApprovalRule{Verb: ApproveDestroy, Needs: 2, Approvers: []string{"ada", "bob"}}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*ApprovalRule){
		"an unknown verb":        func(r *ApprovalRule) { r.Verb = "key.sign" },
		"nobody needed":          func(r *ApprovalRule) { r.Needs = 0 },
		"ten needed":             func(r *ApprovalRule) { r.Needs = 10 },
		"more needed than named": func(r *ApprovalRule) { r.Needs = 3 },
		"a name twice":           func(r *ApprovalRule) { r.Approvers[1] = "ada" },
		"a malformed name":       func(r *ApprovalRule) { r.Approvers[1] = "Bob\n" },
		"too many": func(r *ApprovalRule) {
			for i := range maxApprovers {
				r.Approvers = append(r.Approvers, fmt.Sprint("p", i))
			}
		},
	} {
		r := ApprovalRule{Verb: good.Verb, Needs: good.Needs, Approvers: append([]string(nil), good.Approvers...)}
		change(&r)
		if err := r.Check(); err == nil {
			t.Errorf("a rule with %s is allowed", what)
		}
	}
	for _, v := range onePersonVerbs {
		r := good
		r.Verb = v
		if err := r.Check(); err == nil || !strings.Contains(err.Error(), "alone") {
			t.Errorf("%s: %v", v, err)
		}
	}
}

func TestSettingsApprovals(t *testing.T) {
	rule := func(v ApprovalVerb) ApprovalRule { return ApprovalRule{Verb: v, Needs: 1, Approvers: []string{"ada"}} }
	guards := []ApprovalRule{rule(ApproveCluster), rule(ApprovePrincipals)}
	for what, c := range map[string]struct {
		s  Settings
		ok bool
	}{
		"none":                    {Settings{}, true},
		"the two that guard":      {Settings{Approvals: guards}, true},
		"all":                     {Settings{Approvals: append(guards, rule(ApproveDestroy)), BreakGlass: []string{"ada", "bob"}}, true},
		"no guard of the rules":   {Settings{Approvals: []ApprovalRule{rule(ApprovePrincipals), rule(ApproveDestroy)}}, false},
		"no guard of the people":  {Settings{Approvals: []ApprovalRule{rule(ApproveCluster), rule(ApproveDestroy)}}, false},
		"two for one verb":        {Settings{Approvals: append(guards, rule(ApproveCluster))}, false},
		"a name twice":            {Settings{BreakGlass: []string{"ada", "ada"}}, false},
		"a malformed name":        {Settings{BreakGlass: []string{"Ada"}}, false},
		"a crowd with the hammer": {Settings{BreakGlass: make([]string, maxApprovers+1)}, false},
	} {
		if err := c.s.CheckApprovals(); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := DefaultPolicy(ForToken, ES256)
	p.Approvals = []ApprovalRule{rule(ApproveDestroy)}
	if err := p.Check(ForToken, ES256); err != nil {
		t.Error(err)
	}
	p.Approvals[0].Verb = ApproveCluster
	if p.Check(ForToken, ES256) == nil {
		t.Error("a key's policy has a rule about the cluster")
	}
}

// TestEveryPolicyFieldWidens: each field of a policy has a change that widens it; a new
// field without one fails here until Widens knows it.
func TestEveryPolicyFieldWidens(t *testing.T) {
	base := Policy{RotateEvery: Day, MaxAge: 2 * Day, Lead: Hour, VerifyWindow: 2 * Hour, JWKSMaxAge: Minute, MaxTTL: Hour, DestroyWait: Day,
		MinReady: 2, Inputs: []string{InputMessage}, Types: []string{"JWT"}, Audiences: []string{"a"}, Issuer: "i", VerifyOneIn: 2, Strict: true,
		AllowedCallers: []string{"ci-a*"}, ConfirmActivate: true}
	wider := map[string]func(*Policy){
		"RotateEvery": func(p *Policy) { p.RotateEvery = 0 }, "MaxAge": func(p *Policy) { p.MaxAge++ }, "Lead": func(p *Policy) { p.Lead-- },
		"VerifyWindow": func(p *Policy) { p.VerifyWindow++ }, "JWKSMaxAge": func(p *Policy) { p.JWKSMaxAge++ }, "MaxTTL": func(p *Policy) { p.MaxTTL++ },
		"DestroyWait": func(p *Policy) { p.DestroyWait-- }, "MinReady": func(p *Policy) { p.MinReady-- }, "Publish": func(p *Policy) { p.Publish = true },
		"Inputs": func(p *Policy) { p.Inputs = append([]string{InputDigest}, p.Inputs...) }, "Types": func(p *Policy) { p.Types = []string{"JWT", "x"} },
		"Audiences": func(p *Policy) { p.Audiences = nil }, "Issuer": func(p *Policy) { p.Issuer = "" }, "VerifyOneIn": func(p *Policy) { p.VerifyOneIn++ },
		"Strict": func(p *Policy) { p.Strict = false }, "AllowedCallers": func(p *Policy) { p.AllowedCallers = []string{"ci-*"} },
		"ConfirmActivate": func(p *Policy) { p.ConfirmActivate = false }, "ConfirmWithdraw": func(p *Policy) { p.ConfirmWithdraw = true },
		"DestroyRetired": func(p *Policy) { p.DestroyRetired = true },
	}
	for i := range reflect.TypeOf(base).NumField() {
		name := reflect.TypeOf(base).Field(i).Name
		change := wider[name]
		if name == "Approvals" { // judged apart from what the policy allows
			continue
		}
		if change == nil {
			t.Errorf("no change of %s is known to widen a policy: teach Widens", name)
			continue
		}
		p := base
		change(&p)
		if !p.Widens(base) {
			t.Errorf("%s: %+v is not wider than %+v", name, p, base)
		}
	}
	for what, change := range map[string]func(*Policy){
		"nothing": func(*Policy) {}, "rotation sooner": func(p *Policy) { p.RotateEvery = Hour; p.MaxAge = Hour }, "a longer lead": func(p *Policy) { p.Lead++ },
		"a longer wait": func(p *Policy) { p.DestroyWait++ }, "more ready": func(p *Policy) { p.MinReady++ }, "a shorter life": func(p *Policy) { p.MaxTTL-- },
		"more checks": func(p *Policy) { p.VerifyOneIn-- }, "fewer inputs": func(p *Policy) { p.Inputs = nil }, "shorter caching": func(p *Policy) { p.JWKSMaxAge-- },
		"fewer callers": func(p *Policy) { p.AllowedCallers = []string{"ci-ab"} },
	} {
		p := base
		change(&p)
		if p.Widens(base) {
			t.Errorf("%s counts as wider", what)
		}
	}
}

// TestEveryProfileFieldWidens: likewise, of the terms of a profile.
func TestEveryProfileFieldWidens(t *testing.T) {
	base := func() *ProfileTerms {
		return &ProfileTerms{Usage: []string{"digitalSignature"}, ExtendedUsage: []string{"serverAuth", "clientAuth"}, Keys: []string{"P-256", "P-384"},
			DefaultValidity: Day, MaxValidity: 7 * Day, Backdate: Minute, CommonName: "none",
			Names: []NameRule{{Requester: "web-*", DNS: []string{"*.a.test", "b.test"}, IPs: []string{"10.0.0.0/8"}}, {Requester: "*", DNS: []string{"c.test"}}}}
	}
	wider := map[string][]func(*ProfileTerms){
		"Usage":           {func(p *ProfileTerms) { p.Usage = append(p.Usage, "keyEncipherment") }},
		"ExtendedUsage":   {func(p *ProfileTerms) { p.ExtendedUsage = []string{"codeSigning"} }, func(p *ProfileTerms) { p.ExtendedUsage = nil }},
		"Keys":            {func(p *ProfileTerms) { p.Keys = []string{"RSA-2048"} }},
		"DefaultValidity": {func(p *ProfileTerms) { p.DefaultValidity++ }}, "MaxValidity": {func(p *ProfileTerms) { p.MaxValidity++ }},
		"Backdate": {func(p *ProfileTerms) { p.Backdate++ }}, "CommonName": {func(p *ProfileTerms) { p.CommonName = "request" }},
		"Names": {func(p *ProfileTerms) { p.Names[0].DNS = []string{"**.test"} }, func(p *ProfileTerms) { p.Names[0].Requester = "*" },
			func(p *ProfileTerms) { p.Names = p.Names[1:] }, func(p *ProfileTerms) { p.Names[1].IPs = []string{"::/0"} },
			func(p *ProfileTerms) { p.Names[1].URIs = []string{"**"} }, func(p *ProfileTerms) { p.Names[1].Emails = []string{"*"} }},
		"NamesOptional": {func(p *ProfileTerms) { p.NamesOptional = true }}, "NoRevocation": {func(p *ProfileTerms) { p.NoRevocation = true }},
		"OCSPNoCheck": {func(p *ProfileTerms) { p.OCSPNoCheck = true }},
	}
	for i := range reflect.TypeFor[ProfileTerms]().NumField() {
		name := reflect.TypeFor[ProfileTerms]().Field(i).Name
		if len(wider[name]) == 0 {
			t.Errorf("no change of %s is known to widen a profile: teach Widens", name)
		}
		for n, change := range wider[name] {
			p := base()
			if change(p); !p.Widens(base()) {
				t.Errorf("%s, change %d: %+v is not wider", name, n, p)
			}
		}
	}
	if !base().Widens(nil) {
		t.Error("the first profile of a name is nothing new")
	}
	for what, change := range map[string]func(*ProfileTerms){
		"nothing": func(*ProfileTerms) {}, "a shorter life": func(p *ProfileTerms) { p.MaxValidity, p.DefaultValidity = Day, Hour },
		"fewer keys": func(p *ProfileTerms) { p.Keys = p.Keys[:1] }, "fewer names": func(p *ProfileTerms) { p.Names[0].DNS = p.Names[0].DNS[1:] },
		"for servers only": func(p *ProfileTerms) { p.ExtendedUsage = p.ExtendedUsage[:1] },
	} {
		p := base()
		if change(p); p.Widens(base()) {
			t.Errorf("%s counts as wider", what)
		}
	}
}
