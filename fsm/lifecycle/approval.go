package lifecycle

import "fmt"

// ApprovalVerb names what can be put under an approval rule.
type ApprovalVerb string

const (
	ApproveResume     ApprovalVerb = "key.resume"      // end a suspension
	ApproveActivate   ApprovalVerb = "key.activate"    // activate early, out of plan
	ApproveDestroy    ApprovalVerb = "key.destroy"     // schedule the erasure of private keys
	ApprovePolicy     ApprovalVerb = "key.policy"      // widen a policy, or change its approval rules
	ApproveSkip       ApprovalVerb = "key.skip"        // pass a gate of a rotation before its time
	ApprovePrincipals ApprovalVerb = "principal.write" // who is admin, operator or approver, and with which keys
	ApproveCluster    ApprovalVerb = "cluster.write"   // the cluster's approval rules and who may break glass
	ApproveUnseal     ApprovalVerb = "node.unseal"     // let a node sign again that was sealed by hand
	ApproveWaive      ApprovalVerb = "consumer.waive"  // let a gate of a rotation pass without a required consumer
	ApproveConsumers  ApprovalVerb = "consumer.write"  // ask less of a required consumer, retire it, or give out new credentials for it
	ApproveIssuers    ApprovalVerb = "issuer.write"    // make an issuer below another, change an issuer's terms, or import a CA certificate
	ApproveProfiles   ApprovalVerb = "profile.write"   // add or widen a profile, or drop one
)

// ApprovalVerbs lists every verb that a rule may name.
var ApprovalVerbs = []ApprovalVerb{ApproveResume, ApproveActivate, ApproveDestroy, ApprovePolicy, ApproveSkip,
	ApprovePrincipals, ApproveCluster, ApproveUnseal, ApproveWaive, ApproveConsumers, ApproveIssuers, ApproveProfiles}

// onePersonVerbs are those that take trust away. In an incident the first who sees it
// must be able to act, so no rule may make them wait.
var onePersonVerbs = []ApprovalVerb{"key.revoke", "key.suspend", "key.replace", "key.deactivate", "token.revoke", "node.seal", "node.quarantine", "cert.revoke"}

// OfKey reports whether the verb acts on one key, so that the key's own policy may
// have a rule for it.
func (v ApprovalVerb) OfKey() bool { return v == ApproveWaive || len(v) > 4 && v[:4] == "key." }

// ApprovalRule asks for Needs of the Approvers before the verb is carried out.
type ApprovalRule struct {
	Verb      ApprovalVerb `cbor:"1,keyasint" json:"verb"`
	Needs     int          `cbor:"2,keyasint" json:"needs"`
	Approvers []string     `cbor:"3,keyasint" json:"approvers"` // names of principals
}

// Limits of approval rules, each with its reason.
const (
	maxNeeds     = 9  // a change that needs more people does not happen
	maxApprovers = 32 // each may have MaxSSHKeys keys, and a proposal keeps them all
)

// Check validates the rule alone.
func (r ApprovalRule) Check() error {
	known := false
	for _, v := range ApprovalVerbs {
		known = known || v == r.Verb
	}
	for _, v := range onePersonVerbs {
		if r.Verb == v {
			return fmt.Errorf("%s cannot need approvals: whoever sees an incident must be able to stop it alone", v)
		}
	}
	if !known {
		return fmt.Errorf("an approval rule for %q: choose one of %v", string(r.Verb), ApprovalVerbs)
	}
	if r.Needs < 1 || r.Needs > maxNeeds {
		return fmt.Errorf("the approval rule for %s needs %d: allowed are 1 to %d", r.Verb, r.Needs, maxNeeds)
	}
	if len(r.Approvers) > maxApprovers {
		return fmt.Errorf("the approval rule for %s names %d approvers: at most %d are allowed", r.Verb, len(r.Approvers), maxApprovers)
	}
	if r.Needs > len(r.Approvers) {
		return fmt.Errorf("the approval rule for %s needs %d and names %d approvers: it could never be met", r.Verb, r.Needs, len(r.Approvers))
	}
	for i, name := range r.Approvers {
		if err := CheckName("approver", name); err != nil {
			return err
		}
		if contains(r.Approvers[:i], name) {
			return fmt.Errorf("the approval rule for %s names %s twice", r.Verb, name)
		}
	}
	return nil
}

// Names reports whether the principal is one of the rule's approvers.
func (r *ApprovalRule) Names(principal string) bool { return contains(r.Approvers, principal) }

// Rule finds the rule of a verb, nil when there is none.
func Rule(rules []ApprovalRule, verb ApprovalVerb) *ApprovalRule {
	for i := range rules {
		if rules[i].Verb == verb {
			return &rules[i]
		}
	}
	return nil
}

// checkRules validates a list of rules, one for each verb at most.
func checkRules(rules []ApprovalRule) error {
	for i, r := range rules {
		if err := r.Check(); err != nil {
			return err
		}
		if Rule(rules[:i], r.Verb) != nil {
			return fmt.Errorf("two approval rules for %s", r.Verb)
		}
	}
	return nil
}

// CheckApprovals validates the cluster's rules. Rules without one for cluster.write
// and one for principal.write would bind nobody: one person could take them away, or
// become all the approvers.
func (s Settings) CheckApprovals() error {
	if err := checkRules(s.Approvals); err != nil {
		return err
	}
	for _, v := range []ApprovalVerb{ApproveCluster, ApprovePrincipals} {
		if len(s.Approvals) > 0 && Rule(s.Approvals, v) == nil {
			return fmt.Errorf("approvals have no rule for %s: without it one person alone could undo the other rules", v)
		}
	}
	if len(s.BreakGlass) > maxApprovers {
		return fmt.Errorf("break_glass names %d principals: at most %d are allowed", len(s.BreakGlass), maxApprovers)
	}
	for i, name := range s.BreakGlass {
		if err := CheckName("principal", name); err != nil {
			return err
		}
		if contains(s.BreakGlass[:i], name) {
			return fmt.Errorf("break_glass names %s twice", name)
		}
	}
	return nil
}

// CheckApprovals validates the policy's own rules, which are about the key alone.
func (p Policy) CheckApprovals() error {
	if err := checkRules(p.Approvals); err != nil {
		return err
	}
	for _, r := range p.Approvals {
		if !r.Verb.OfKey() {
			return fmt.Errorf("a key's policy has no say about %s: chancery cluster set is the place", r.Verb)
		}
	}
	return nil
}

// SameRules reports whether two lists ask for the same, in the same order.
func SameRules(a, b []ApprovalRule) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Verb != b[i].Verb || a[i].Needs != b[i].Needs || !sameTexts(a[i].Approvers, b[i].Approvers) {
			return false
		}
	}
	return true
}

func sameTexts(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
