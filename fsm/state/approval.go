package state

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/sshsig"
)

// Statement is the text that approvers sign, byte for byte: what the proposal would
// do, and everything that keeps the signature from being good for anything else. It
// is frozen: signatures over it stand in the rows.
func Statement(c *lifecycle.Cluster, p *lifecycle.Proposal) []byte {
	b := []byte("chancery-approval/1\n")
	line := func(name, value string) { b = append(b, name+": "+value+"\n"...) }
	line("cluster", c.ID)
	line("epoch", strconv.FormatUint(c.Epoch, 10))
	line("proposal", p.ID)
	line("intent", command.IntentDigest(p.Intent))
	for _, l := range p.Intent {
		b = append(b, l+"\n"...)
	}
	line("requested-by", p.RequestedBy)
	line("reason", p.Reason)
	line("not-after", p.ExpiresAt.String())
	return b
}

// principal finds a principal that has not been revoked.
func (x *tx) principal(name string) *lifecycle.Principal {
	if p := get[lifecycle.Principal](x, TablePrincipals, name); p != nil && p.RevokedAt == 0 {
		return p
	}
	return nil
}

// sshKeys are the keys of a principal that can sign approvals.
func sshKeys(p *lifecycle.Principal) (out []sshsig.Key) {
	if p == nil {
		return nil
	}
	for _, line := range p.SSHKeys {
		if k, err := sshsig.ParseAuthorizedKey(line); err == nil && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// freeze lists the rule's approvers as they are now.
func (x *tx) freeze(rule *lifecycle.ApprovalRule) (out []lifecycle.FrozenApprover) {
	for _, name := range rule.Approvers {
		if keys := keyLines(x.principal(name)); len(keys) > 0 {
			out = append(out, lifecycle.FrozenApprover{Principal: name, SSHKeys: keys})
		}
	}
	return out
}

// keyLines are sshKeys as text, without comments.
func keyLines(p *lifecycle.Principal) (out []string) {
	for _, k := range sshKeys(p) {
		out = append(out, k.String())
	}
	return out
}

// able counts the approvers who could approve: two that share a key count as none,
// as it could not be said whose signature it is.
func (x *tx) able(p *lifecycle.Proposal) (n int) {
	for _, a := range p.Approvers {
		for _, line := range a.SSHKeys {
			k, err := sshsig.ParseAuthorizedKey(line)
			if err == nil && x.mayApprove(p, a.Principal, k).OK() && len(holders(p, k)) == 1 {
				n++
				break
			}
		}
	}
	return n
}

// holders are the frozen approvers to whom a key belonged.
func holders(p *lifecycle.Proposal, k sshsig.Key) (out []string) {
	for _, a := range p.Approvers {
		if slices.Contains(a.SSHKeys, k.String()) {
			out = append(out, a.Principal)
		}
	}
	return out
}

// signer says which of the approvers made the signature, with which key.
func (x *tx) signer(p *lifecycle.Proposal, armored []byte) (who string, key sshsig.Key, o Outcome) {
	statement := Statement(x.cluster(), p)
	for _, a := range p.Approvers {
		for _, line := range a.SSHKeys {
			k, err := sshsig.ParseAuthorizedKey(line)
			if err != nil || sshsig.Verify(k, command.ApprovalNamespace, statement, armored) != nil {
				continue
			}
			if len(holders(p, k)) != 1 {
				return "", k, refuse(ApprovalInvalid, p.ID, "the key %s belongs to more than one approver: it cannot be said whose approval it is", k.Fingerprint())
			}
			return a.Principal, k, Outcome{}
		}
	}
	return "", key, refuse(ApprovalInvalid, p.ID, "the signature is not by a key of an approver over this proposal's statement: sign what `chancery proposal show %s --statement` prints with ssh-keygen -Y sign -n %s", p.ID, command.ApprovalNamespace)
}

// mayApprove says whether the principal's signature with this key would count now.
func (x *tx) mayApprove(p *lifecycle.Proposal, who string, key sshsig.Key) Outcome {
	if p.Approval(who) != nil {
		return refuse(AlreadyApproved, p.ID, "%s has approved it: each approver counts once", who)
	}
	return x.still(p, who, key)
}

// still says whether the approver is another person than the requester, and they and
// the key they sign with are what they were when the proposal was made.
func (x *tx) still(p *lifecycle.Proposal, who string, key sshsig.Key) Outcome {
	row := x.principal(who)
	switch {
	case who == p.RequestedBy, slices.Contains(p.OwnKeys, key.String()), slices.Contains(sshKeys(get[lifecycle.Principal](x, TablePrincipals, p.RequestedBy)), key):
		return refuse(OwnProposal, p.ID, "%s asked for it: somebody else has to approve it, with a key of their own", p.RequestedBy)
	case p.Approver(who) == nil:
		return refuse(NotAnApprover, p.ID, "%s is no approver of this proposal", who)
	case row == nil:
		return refuse(NotAnApprover, p.ID, "%s was revoked", who)
	case !slices.Contains(sshKeys(row), key):
		return refuse(NotAnApprover, p.ID, "the key %s was taken from %s since the proposal was made", key.Fingerprint(), who)
	}
	return Outcome{}
}

// standing counts the approvals that count now. The signatures are checked again: a
// row alone carries nothing out.
func (x *tx) standing(p *lifecycle.Proposal) (n int) {
	for _, a := range p.Approvals {
		if x.counts(p, &a) {
			n++
		}
	}
	return n
}

func (x *tx) counts(p *lifecycle.Proposal, a *lifecycle.Approval) bool {
	who, key, o := x.signer(p, a.Signature)
	return o.OK() && who == a.Principal && x.still(p, who, key).OK()
}

// approvedNow says whether the approvals carry the execution: as many as the rule asked
// for when the proposal was made, and as the rule asks for that is in force now.
func (x *tx) approvedNow(p *lifecycle.Proposal, body command.Body) Outcome {
	if requester := get[lifecycle.Principal](x, TablePrincipals, p.RequestedBy); requester != nil && requester.RevokedAt != 0 {
		return refuse(NotApproved, p.ID, "%s, who asked for it, was revoked: somebody else has to ask", p.RequestedBy)
	}
	if n := x.standing(p); n < p.Needs {
		return refuse(NotApproved, p.ID, "%d of the %d approvals it needs count now", n, p.Needs)
	}
	rule := x.ruleFor(body)
	if rule == nil {
		return Outcome{}
	}
	n := 0
	for _, a := range p.Approvals {
		if rule.Names(a.Principal) && x.counts(p, &a) {
			n++
		}
	}
	if n < rule.Needs {
		return refuse(NotApproved, p.ID, "the rule for %s has changed since: it asks for %d approvals now, and %d of its approvers gave theirs; withdraw the proposal and ask again", rule.Verb, rule.Needs, n)
	}
	return Outcome{}
}

// base is a digest of what the command replaces as a whole: if that has changed since
// somebody approved, they approved something else. "" when it replaces nothing.
func (x *tx) base(body command.Body) string {
	var old any
	switch c := body.(type) {
	case *command.SetPolicy:
		if k := x.key(c.Key); k != nil {
			old = &command.SetPolicy{Key: k.ID, Policy: k.Policy, Owner: k.Owner, Reason: k.Reason, ConfirmBy: k.ConfirmBy, Labels: k.Labels}
		}
	case *command.AddPrincipal:
		if p := get[lifecycle.Principal](x, TablePrincipals, c.Principal.Name); p != nil {
			old = &command.PrincipalRecord{Name: p.Name, Kind: p.Kind, Grants: p.Grants, SSHKeys: p.SSHKeys, Certs: p.Certs}
		}
	case *command.SetSettings:
		old = &x.cluster().Settings
	case *command.BindCACert: // it was compared with these terms
		if is := x.issuer(c.Issuer); is != nil {
			old = &command.SetIssuer{Issuer: is.Name, Terms: is.IssuerTerms}
		}
	case *command.SetIssuer:
		if is := x.issuer(c.Issuer); is != nil {
			old = &command.SetIssuer{Issuer: is.Name, Terms: is.IssuerTerms}
		}
	case *command.SetProfile:
		if p := x.profile(c.Name); p != nil {
			old = &command.SetProfile{Name: p.Name, Terms: p.ProfileTerms}
		}
	case *command.DropProfile:
		if p := x.profile(c.Name); p != nil {
			old = &command.SetProfile{Name: p.Name, Terms: p.ProfileTerms}
		}
	case *command.UpdateConsumer:
		if c := x.consumer(c.Consumer.Name); c != nil {
			old = &command.ConsumerRecord{Name: c.Name, Owner: c.Owner, Contact: c.Contact, Class: c.Class, Expect: c.Expect, Keys: c.Keys, Lifetime: c.Lifetime}
		}
	}
	if old == nil {
		return ""
	}
	sum := sha256.Sum256(command.Marshal(old))
	return hex.EncodeToString(sum[:])
}
