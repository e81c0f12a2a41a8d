package state

import (
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// guard refuses a command that somebody gives directly although a rule asks approvals
// for it. Only an executed proposal and broken glass pass it by.
func (x *tx) guard(body command.Body) Outcome {
	switch c := body.(type) {
	case *command.AddToken:
		return x.guardToken(c)
	case *command.RevokePrincipal:
		return x.guardRevocation(c)
	}
	rule := x.ruleFor(body)
	if rule == nil {
		return Outcome{}
	}
	verb, subject, _, _ := command.IntentOf(body)
	return refuse(ApprovalRequired, subject, "%s needs %d of %d approvals", verb, rule.Needs, len(rule.Approvers))
}

// guardToken keeps a rule about people from being passed by with somebody's name: a
// token of another person is that person, and would ask for what its maker approves.
// Nobody can approve it either, for who made the secret would have it.
func (x *tx) guardToken(c *command.AddToken) Outcome {
	if x.consumerRule(c.Principal, func(*lifecycle.Consumer) bool { return c.Principal != x.head.Actor }) != nil {
		return refuse(Denied, c.Principal, "while a rule guards %s a required consumer gets its tokens by enrolling", lifecycle.ApproveConsumers)
	}
	p := x.principal(c.Principal)
	if p == nil || p.Name == x.head.Actor || !governs(p.Grants) || x.clusterRule(lifecycle.ApprovePrincipals) == nil {
		return Outcome{}
	}
	return refuse(Denied, p.Name, "while a rule guards %s nobody makes a token for another admin, operator or approver: %s uses chancery login --ssh-key", lifecycle.ApprovePrincipals, p.Name)
}

// guardRevocation lets one person revoke anybody, as it must be when a laptop is stolen,
// but for one thing: a rule in force must be left with as many approvers as it needs, or
// what it guards could never be approved again, the change of the rule among it.
func (x *tx) guardRevocation(c *command.RevokePrincipal) Outcome {
	if x.principal(c.Name) == nil {
		return Outcome{} // the handler says it better
	}
	refusal := func(of string, r *lifecycle.ApprovalRule) Outcome {
		left := x.ableWithout(r, c.Name)
		if left >= r.Needs || left+1 < r.Needs || !r.Names(c.Name) || !approves(x.principal(c.Name)) {
			return Outcome{}
		}
		return refuse(NotEnoughApprovers, c.Name, "%s rule for %s needs %d approvers, and without %s %d would be left who can: name others in the rule first, or break the glass", of, r.Verb, r.Needs, c.Name, left)
	}
	for i := range x.cluster().Settings.Approvals {
		if o := refusal("the cluster's", &x.cluster().Settings.Approvals[i]); !o.OK() {
			return o
		}
	}
	var o Outcome
	ascend(x.hot.freeze(), TableKeys, "", func(k *lifecycle.Key) bool {
		for i := 0; i < len(k.Policy.Approvals) && o.OK(); i++ {
			o = refusal("the key "+string(k.ID)+"'s", &k.Policy.Approvals[i])
		}
		return o.OK()
	})
	return o
}

// ableWithout counts the rule's approvers who could approve if one of them were revoked.
func (x *tx) ableWithout(r *lifecycle.ApprovalRule, name string) (n int) {
	for _, a := range r.Approvers {
		if a != name && approves(x.principal(a)) {
			n++
		}
	}
	return n
}

// approves reports whether a principal could approve anything at all.
func approves(p *lifecycle.Principal) bool {
	return p != nil && len(sshKeys(p)) > 0 && slices.ContainsFunc(p.Grants, func(g lifecycle.Grant) bool { return g.Role == lifecycle.Approver })
}

// ruleFor is the rule in force, as the state is before the command, that asks approvals
// for it; nil when none does. What a command would change about rules, approvers and
// roles is judged by those there are, never by those it brings.
func (x *tx) ruleFor(body command.Body) *lifecycle.ApprovalRule {
	switch c := body.(type) {
	case *command.SetPolicy:
		return x.policyRule(c)
	case *command.AddPrincipal:
		old := get[lifecycle.Principal](x, TablePrincipals, c.Principal.Name)
		if governs(c.Principal.Grants) || old != nil && governs(old.Grants) {
			return x.clusterRule(lifecycle.ApprovePrincipals)
		}
		return nil
	case *command.RevokePrincipal:
		return nil // taking rights away needs one person; see guardRevocation
	case *command.SetSettings:
		old := x.cluster().Settings
		if !lifecycle.SameRules(old.Approvals, c.Settings.Approvals) || !slices.Equal(old.BreakGlass, c.Settings.BreakGlass) {
			return x.clusterRule(lifecycle.ApproveCluster)
		}
		return nil
	case *command.LiftSeal:
		return x.clusterRule(lifecycle.ApproveUnseal)
	case *command.UpdateConsumer:
		r := c.Consumer
		return x.consumerRule(r.Name, func(old *lifecycle.Consumer) bool {
			return old.Eases(r.Class, r.Expect, r.Keys, r.Lifetime, c.Enrolment != nil)
		})
	case *command.RetireConsumer:
		return x.consumerRule(c.Name, func(*lifecycle.Consumer) bool { return true })
	case *command.WaiveConsumer:
		return x.waiveRule(c)
	case *command.CreateIssuer, *command.SetIssuer, *command.BindCACert, *command.SetProfile, *command.DropProfile:
		return x.pkiRule(c)
	}
	verb, _, _, ok := command.IntentOf(body)
	key, _ := command.Target(body)
	if k := x.key(key); ok && k != nil {
		return x.keyRule(k, verb)
	}
	return nil
}

// pkiRule is about what certificates will look like, and who vouches for an issuer: the
// CA above it, which every verifier believes already. The CA certificates that the cluster
// makes by itself need nobody, nor does a profile that only becomes narrower.
func (x *tx) pkiRule(body command.Body) *lifecycle.ApprovalRule {
	switch c := body.(type) {
	case *command.SetProfile:
		var old *lifecycle.ProfileTerms
		if p := x.profile(c.Name); p != nil {
			old = &p.ProfileTerms
		}
		if !c.Terms.Widens(old) {
			return nil
		}
		return x.clusterRule(lifecycle.ApproveProfiles)
	case *command.DropProfile:
		return x.clusterRule(lifecycle.ApproveProfiles)
	case *command.CreateIssuer:
		if c.Parent == "" {
			return nil
		}
	case *command.BindCACert:
		if is := x.issuer(c.Issuer); is == nil || is.Kind != lifecycle.ExternalIssuer {
			return nil
		}
	}
	return x.clusterRule(lifecycle.ApproveIssuers)
}

// policyRule is about a change of a key's policy. A change of the key's own approval
// rules is always guarded where anything is: by the key's rule for its policy, or by
// the cluster's for its rules.
func (x *tx) policyRule(c *command.SetPolicy) *lifecycle.ApprovalRule {
	k := x.key(c.Key)
	if k == nil {
		return nil
	}
	rules := !lifecycle.SameRules(k.Policy.Approvals, c.Policy.Approvals)
	if !rules && !c.Policy.Widens(k.Policy) {
		return nil
	}
	if r := x.keyRule(k, lifecycle.ApprovePolicy); r != nil || !rules {
		return r
	}
	return x.clusterRule(lifecycle.ApproveCluster)
}

// keyRule is the key's own rule for the verb, or else the cluster's.
func (x *tx) keyRule(k *lifecycle.Key, verb lifecycle.ApprovalVerb) *lifecycle.ApprovalRule {
	if r := lifecycle.Rule(k.Policy.Approvals, verb); r != nil {
		return r
	}
	return x.clusterRule(verb)
}

func (x *tx) clusterRule(verb lifecycle.ApprovalVerb) *lifecycle.ApprovalRule {
	return lifecycle.Rule(x.cluster().Settings.Approvals, verb)
}

// governs reports whether the grants let somebody ask for, approve or arrange what
// rules guard.
func governs(grants []lifecycle.Grant) bool {
	return slices.ContainsFunc(grants, func(g lifecycle.Grant) bool {
		return g.Role == lifecycle.Admin || g.Role == lifecycle.Operator || g.Role == lifecycle.Approver
	})
}

// knownApprovers refuses rules that name somebody who could not approve.
func (x *tx) knownApprovers(rules []lifecycle.ApprovalRule) Outcome {
	for _, r := range rules {
		for _, name := range r.Approvers {
			p := x.principal(name)
			switch {
			case p == nil:
				return refuse(PrincipalNotFound, name, "the rule for %s names an approver who does not exist or was revoked", r.Verb)
			case !slices.ContainsFunc(p.Grants, func(g lifecycle.Grant) bool { return g.Role == lifecycle.Approver }):
				return refuse(Invalid, name, "the rule for %s names somebody without the role approver: give it to them first", r.Verb)
			case len(sshKeys(p)) == 0:
				return refuse(Invalid, name, "the rule for %s names an approver without a usable SSH key (ed25519 or ecdsa-p256): add one first", r.Verb)
			}
		}
	}
	return Outcome{}
}

// checkSettings validates rules against the people there are. Names that stood there
// before are not asked about again: a departed approver must not keep other settings
// from being changed.
func (x *tx) checkSettings(old, now lifecycle.Settings) Outcome {
	if !lifecycle.SameRules(old.Approvals, now.Approvals) {
		if o := x.knownApprovers(now.Approvals); !o.OK() {
			return o
		}
	}
	if len(old.Approvals) > 0 && len(now.Approvals) == 0 {
		if k := x.ruledKey(); k != nil {
			return refuse(Invalid, string(k.ID), "the key has approval rules of its own, which nothing would guard without the cluster's: take those away first")
		}
	}
	for _, name := range now.BreakGlass {
		if p := x.principal(name); !slices.Contains(old.BreakGlass, name) && (p == nil || !administers(p.Grants)) {
			return refuse(Invalid, name, "break_glass names somebody who is no admin of all keys")
		}
	}
	return Outcome{}
}

// ruledKey finds a key with approval rules of its own, nil when there is none.
func (x *tx) ruledKey() (found *lifecycle.Key) {
	ascend(x.hot.freeze(), TableKeys, "", func(k *lifecycle.Key) bool {
		if len(k.Policy.Approvals) > 0 {
			found = k
		}
		return found == nil
	})
	return found
}

// checkKeyRules validates a key's own rules. They stand on the cluster's: where one
// person could become every approver, a key's rules would bind nobody.
func (x *tx) checkKeyRules(key lifecycle.KeyID, old, now []lifecycle.ApprovalRule) Outcome {
	if len(now) == 0 || lifecycle.SameRules(old, now) {
		return Outcome{}
	}
	if x.clusterRule(lifecycle.ApprovePrincipals) == nil {
		return refuse(Invalid, string(key), "a key's approval rules need the cluster's for %s and %s: chancery cluster set comes first", lifecycle.ApproveCluster, lifecycle.ApprovePrincipals)
	}
	return x.knownApprovers(now)
}

// checkNewKey keeps a key from being made with milder rules than the cluster's.
func (x *tx) checkNewKey(c *command.CreateKey) Outcome {
	for _, r := range c.Policy.Approvals {
		if all := x.clusterRule(r.Verb); all != nil && !lifecycle.SameRules([]lifecycle.ApprovalRule{r}, []lifecycle.ApprovalRule{*all}) {
			return refuse(Invalid, string(c.Name), "the cluster has a rule for %s: make the key without one of its own, then change its policy, which its approvers see", r.Verb)
		}
	}
	return x.checkKeyRules(c.Name, nil, c.Policy.Approvals)
}
