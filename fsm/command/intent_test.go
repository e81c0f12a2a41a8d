package command

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// approvable holds every command that a rule can ask approvals for, with every field
// set.
func approvable() []Body {
	rules := []lifecycle.ApprovalRule{{Verb: lifecycle.ApproveDestroy, Needs: 2, Approvers: []string{"ada", "bob"}}}
	var out []Body
	for _, b := range examples() {
		switch c := b.(type) {
		case *SetPolicy:
			c.Policy.Strict, c.Policy.Approvals = true, rules
			c.Policy.AllowedCallers, c.Policy.ConfirmActivate, c.Policy.ConfirmWithdraw, c.Policy.DestroyRetired = []string{"ci-*"}, true, true, true
			out = append(out, c)
		case *SetSettings:
			c.Settings.Lease, c.Settings.RequestAge, c.Settings.BreakGlass = 5000, 2000, []string{"eve"}
			c.Settings.Approvals = append(rules, lifecycle.ApprovalRule{Verb: lifecycle.ApproveCluster, Needs: 1, Approvers: []string{"ada"}},
				lifecycle.ApprovalRule{Verb: lifecycle.ApprovePrincipals, Needs: 1, Approvers: []string{"ada"}})
			c.Settings.Webhooks = []lifecycle.Webhook{{Name: "chat", URL: "https://chat.test/hook", Kinds: []string{"key.revoked", "key.fenced"}, CA: "pem"}}
			out = append(out, c)
		case *LiftSeal:
			c.Reason = "over"
			out = append(out, c)
		case *CreateIssuer:
			c.Key.Labels, c.Key.ConfirmBy = []lifecycle.Label{{Name: "team", Value: "pki"}}, 1767355200000
			c.Key.Policy.Approvals = rules
			c.Terms.Names = everyName()
			out = append(out, c)
		case *SetIssuer:
			c.Terms.Names = everyName()
			out = append(out, c)
		case *SetProfile:
			c.Terms.Names = []lifecycle.NameRule{{Requester: "web-*", DNS: []string{"*.a.test", "b.test"}, IPs: []string{"10.0.0.0/8"}, URIs: []string{"spiffe://a/*"}, Emails: []string{"*@a.test"}},
				{Requester: "*", DNS: []string{"c.test"}, IPs: []string{"::/0"}, URIs: []string{"https://c.test"}, Emails: []string{"c@c.test"}}}
			out = append(out, c)
		case *BindCACert:
			c.Above = [][]byte{exampleCertificate()}
			out = append(out, c)
		case *DropProfile:
			out = append(out, c)
		case *UpdateConsumer, *RetireConsumer, *WaiveConsumer, *ResumeVersion, *ActivateVersion, *ScheduleDestroy, *AddPrincipal, *RevokePrincipal, *SkipGate:
			out = append(out, c)
		}
	}
	return out
}

// everyName has every name constraint, twice.
func everyName() (n lifecycle.NameConstraints) {
	for _, l := range []*[]string{&n.PermittedDNS, &n.ExcludedDNS, &n.PermittedIPs, &n.ExcludedIPs, &n.PermittedEmails, &n.ExcludedEmails, &n.PermittedURIs, &n.ExcludedURIs} {
		*l = []string{"one", "two"}
	}
	return n
}

// TestIntentHoldsEveryParameter changes one field of a command after the other: people
// who approved the one must not have approved the other. A field that is new in a policy
// or in the settings and has no line yet fails here.
func TestIntentHoldsEveryParameter(t *testing.T) {
	planned := []string{"ScheduleDestroy.DestroyAt", "ScheduleDestroy.Cancel", "ActivateVersion.Early"} // a planned time; and what is no intent at all
	for _, body := range approvable() {
		if err := body.Check(); err != nil {
			t.Fatalf("%s: %v", body.Kind(), err)
		}
		_, _, before, ok := IntentOf(body)
		if !ok {
			t.Fatalf("%s has no intent", body.Kind())
		}
		var walk func(path string, v reflect.Value)
		changed := func(path string, v reflect.Value, to any) {
			if slices.Contains(planned, path) {
				return
			}
			old := reflect.New(v.Type()).Elem()
			old.Set(v)
			v.Set(reflect.ValueOf(to).Convert(v.Type()))
			if _, _, after, _ := IntentOf(body); slices.Equal(before, after) {
				t.Errorf("%s = %v stands in no line of the intent", path, to)
			}
			v.Set(old)
		}
		walk = func(path string, v reflect.Value) {
			if strings.HasPrefix(path, "CreateIssuer.Key.Instances") {
				return // where, and under which CKA_IDs: planned too
			}
			switch v.Kind() {
			case reflect.Pointer:
				walk(path, v.Elem())
			case reflect.Struct:
				for f := range v.NumField() {
					walk(path+"."+v.Type().Field(f).Name, v.Field(f))
				}
			case reflect.Slice:
				if v.Len() == 0 && strings.HasPrefix(path, "CreateIssuer.Key.Policy") {
					return // an issuer's key has no such policy; the lines are those of SetPolicy
				}
				if v.Len() == 0 {
					t.Errorf("%s is empty in the example: its intent is not tested", path)
				}
				for n := range v.Len() {
					walk(path, v.Index(n))
				}
				old := v.Interface()
				changed(path, v, v.Slice(0, v.Len()-1).Interface())
				v.Set(reflect.ValueOf(old))
			case reflect.String:
				changed(path, v, v.String()+"x")
			case reflect.Bool:
				changed(path, v, !v.Bool())
			case reflect.Int, reflect.Int64:
				changed(path, v, v.Int()+1)
			case reflect.Uint64, reflect.Uint8:
				changed(path, v, v.Uint()+1)
			default:
				t.Errorf("%s is of kind %s, which no intent has had yet", path, v.Kind())
			}
		}
		walk(body.Kind().String(), reflect.ValueOf(body).Elem())
	}
}

func TestIntentLeavesPlannedTimesOut(t *testing.T) {
	_, _, a, _ := IntentOf(&ScheduleDestroy{Key: "ci", Version: 1, DestroyAt: 5})
	_, _, b, _ := IntentOf(&ScheduleDestroy{Key: "ci", Version: 1, DestroyAt: 6})
	if !slices.Equal(a, b) {
		t.Errorf("%q and %q are two intents", a, b)
	}
}

// TestIntentBytes: people signed these lines. They are never written in another way.
func TestIntentBytes(t *testing.T) {
	for _, c := range []struct {
		body    Body
		verb    lifecycle.ApprovalVerb
		subject string
		lines   string
	}{
		{&ResumeVersion{Key: "ci", Version: 2, Comment: "false alarm"}, "key.resume", "ci/2",
			"verb: key.resume|command: ResumeVersion|key: ci|version: 2|comment: false alarm"},
		{&ActivateVersion{Key: "ci", Version: 2, Early: true, Comment: "now"}, "key.activate", "ci/2",
			"verb: key.activate|command: ActivateVersion|key: ci|version: 2|early: true|comment: now"},
		{&ScheduleDestroy{Key: "ci", Version: 1, DestroyAt: 9}, "key.destroy", "ci/1", "verb: key.destroy|command: ScheduleDestroy|key: ci|version: 1"},
		{&SkipGate{Key: "ci", Version: 3, Gate: "activate", Comment: "a verifier is gone"}, "key.skip", "ci/3",
			"verb: key.skip|command: SkipGate|key: ci|version: 3|gate: activate|comment: a verifier is gone"},
		{&RevokePrincipal{Name: "bob"}, "principal.write", "bob", "verb: principal.write|command: RevokePrincipal|principal: bob"},
		{&LiftSeal{Node: "ab", ID: "01", Reason: "over"}, "node.unseal", "ab", "verb: node.unseal|command: LiftSeal|node: ab|seal: 01|comment: over"},
		{&AddPrincipal{Principal: PrincipalRecord{Name: "bob", Kind: lifecycle.Person, Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}},
			SSHKeys: []string{"ssh-ed25519 AAAA bob"}}, Replace: true}, "principal.write", "bob",
			"verb: principal.write|command: AddPrincipal|principal: bob|kind: person|replace: true|role: admin:*|ssh-key: ssh-ed25519 AAAA bob"},
		{&SetPolicy{Key: "ci", Owner: "ops", Policy: lifecycle.Policy{Lead: 90 * lifecycle.Minute, MinReady: 2, Inputs: []string{"jws"},
			Approvals: []lifecycle.ApprovalRule{{Verb: "key.destroy", Needs: 2, Approvers: []string{"ada", "bob"}}}}}, "key.policy", "ci",
			"verb: key.policy|command: SetPolicy|key: ci|owner: ops|lead: 1h30m|min-ready: 2|input: jws|approval: key.destroy needs 2 of ada bob"},
		{&SetSettings{Settings: lifecycle.Settings{Lease: 5000, BreakGlass: []string{"eve"}}}, "cluster.write", "",
			"verb: cluster.write|command: SetSettings|lease: 5s|break-glass: eve"},
		{&RetireConsumer{Name: "deploy-eu", Comment: "closed"}, "consumer.write", "deploy-eu", "verb: consumer.write|command: RetireConsumer|consumer: deploy-eu|comment: closed"},
		{&WaiveConsumer{Consumer: "deploy-eu", Key: "ci", Version: 2, Gate: "activate", Until: 1767614400000, Comment: "down"}, "consumer.waive", "deploy-eu",
			"verb: consumer.waive|command: WaiveConsumer|key: ci|version: 2|consumer: deploy-eu|gate: activate|until: 2026-01-05T12:00:00.000Z|comment: down"},
		{&UpdateConsumer{Consumer: ConsumerRecord{Name: "deploy-eu", Owner: "deploy", Class: "advisory", Expect: 3, Keys: []lifecycle.KeyID{"cd", "ci"}, Lifetime: lifecycle.Day},
			Enrolment: &Enrolment{Hash: []byte{1, 2}, ExpiresAt: 1767614400000}}, "consumer.write", "deploy-eu",
			"verb: consumer.write|command: UpdateConsumer|consumer: deploy-eu|owner: deploy|class: advisory|expect: 3|key: cd|key: ci|lifetime: 1d|enrolment: 0102|enrolment-until: 2026-01-05T12:00:00.000Z"},
	} {
		verb, subject, lines, ok := IntentOf(c.body)
		if got := strings.Join(lines, "|"); !ok || verb != c.verb || subject != c.subject || got != c.lines {
			t.Errorf("%s: %t %s %q\n%s\nwant %s", c.body.Kind(), ok, verb, subject, got, c.lines)
		}
	}
	if got := IntentDigest([]string{"a: 1", "b: 2"}); len(got) != 64 || got == IntentDigest([]string{"a: 1\nb: 2", ""}) {
		t.Errorf("digest %s", got)
	}
}

// TestWhatNeverNeedsApprovals: whoever sees an incident must be able to stop it alone.
func TestWhatNeverNeedsApprovals(t *testing.T) {
	var with []Kind
	for _, b := range approvable() {
		with = append(with, b.Kind())
	}
	for _, b := range append(examples(), &ActivateVersion{Key: "ci", Version: 1}, &ScheduleDestroy{Key: "ci", Version: 1, Cancel: true}) {
		switch c := b.(type) {
		case *ActivateVersion:
			if c.Early {
				continue
			}
		case *ScheduleDestroy:
			if !c.Cancel {
				continue
			}
		default:
			if slices.Contains(with, b.Kind()) {
				continue
			}
		}
		if _, _, _, ok := IntentOf(b); ok {
			t.Errorf("%s could be made to wait for approvals", b.Kind())
		}
		if err := PlanOf(b).check(); err == nil {
			t.Errorf("%s passes as a plan", b.Kind())
		}
	}
}

func TestProposalChecks(t *testing.T) {
	ids := []string{"", "p-", "p-00112233aab", "p-00112233aabbc", "q-00112233aabb", "p-00112233AABB", "p-00112233aab\n"}
	for _, id := range ids {
		bad(t, "an id "+id, func(c *OpenProposal) { c.ID = id })
		bad(t, "an id "+id, func(c *Approve) { c.Proposal = id })
		bad(t, "an id "+id, func(c *RejectProposal) { c.Proposal = id })
		bad(t, "an id "+id, func(c *WithdrawProposal) { c.Proposal = id })
		bad(t, "an id "+id, func(c *ExecuteProposal) { c.Proposal = id })
		bad(t, "an id "+id, func(c *ExpireProposals) { c.IDs = []string{id} })
	}
	bad(t, "no reason", func(c *OpenProposal) { c.Reason = "" })
	bad(t, "no reason", func(c *BreakGlass) { c.Reason = "" })
	bad(t, "no end", func(c *OpenProposal) { c.ExpiresAt = 0 })
	bad(t, "an end past 9999", func(c *OpenProposal) { c.ExpiresAt = MaxInstant + 1 })
	bad(t, "no signature", func(c *Approve) { c.Signature = nil })
	bad(t, "a huge signature", func(c *Approve) { c.Signature = make([]byte, MaxArmorBytes+1) })
	bad(t, "no proposals", func(c *ExpireProposals) { c.IDs = nil })
	bad(t, "a proposal twice", func(c *ExpireProposals) { c.IDs[1] = c.IDs[0] })
	bad(t, "an empty plan", func(c *OpenProposal) { c.Plan.Body = nil })
	bad(t, "a plan with a byte left over", func(c *OpenProposal) { c.Plan.Body = append(c.Plan.Body, 0) })
	bad(t, "a plan of an unknown kind", func(c *ExecuteProposal) { c.Plan.Kind = 65535 })
	bad(t, "a plan of another kind", func(c *ExecuteProposal) { c.Plan.Kind = KindSetPolicy })
	bad(t, "a plan that fails Check", func(c *BreakGlass) { c.Plan = PlanOf(&ResumeVersion{Key: "ci"}) })
	bad(t, "a proposal of a proposal", func(c *OpenProposal) { c.Plan = PlanOf(example[*OpenProposal](t)) })
	bad(t, "durations below all numbers", func(c *OpenProposal) {
		c.Plan = PlanOf(&SetPolicy{Key: "ci\n", Policy: lifecycle.Policy{Lead: -1 << 63}})
	})
}
