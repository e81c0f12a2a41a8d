package api

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// effects says in sentences what a change that was only tried would do. v is the
// state before it.
func effects(v *state.View, a asked, o state.Outcome) []string {
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	id := lifecycle.KeyID(a.key)
	k := v.Key(id)
	signers := strings.Join(signingNodes(v), ", ")
	switch a.kind {
	case command.KindCreateKey:
		if a.holder != "" {
			say("key %s would be made; %s would make its only key pair", a.key, a.holder)
		} else {
			say("key %s would be made; %s would each make a key pair for version 1", a.key, signers)
		}
		say("version 1 would sign as soon as its instances are ready")
	case command.KindPrepareVersion:
		say("%s would each make a key pair for the next version of %s", signers, a.key)
		if k != nil {
			say("it would be published when ready, and sign %s later at the earliest", k.Policy.Lead)
		}
	case command.KindActivateVersion:
		say("version %v of %s would sign from now on", o.Versions, a.key)
		if k != nil && k.Active != 0 {
			say("version %d would stop signing, and still be verified", k.Active)
		}
	case command.KindRevoke:
		revokeEffects(say, k, a, o)
	case command.KindReplace:
		replaceEffects(say, v, k, a, o)
	case command.KindScheduleDestroy:
		say("the private keys of version %v of %s would be erased after the waiting period", o.Versions, a.key)
	case command.KindSetNodeStatus, command.KindSetNodeRoles:
		nodeEffects(say, v, a)
	case command.KindResumeVersion:
		say("%s would sign again", versionsText(a.key, o.Versions))
	case command.KindPauseRotation:
		say("no version of %s would be prepared, published, activated or withdrawn until somebody resumes its rotation", a.key)
	case command.KindResumeRotation:
		resumeEffects(say, v, k)
	case command.KindSkipGate:
		skipEffects(say, v, k, o.Versions)
	case command.KindRollBack:
		say("%s would never sign, and its public keys would leave the JWKS at once", versionsText(a.key, o.Versions))
		if k != nil && k.Policy.RotateEvery > 0 {
			say("the rotation of %s would be paused, or the next version would be made at once", a.key)
		}
	case command.KindRevokePrincipal:
		say("%s would be nobody from then on: its tokens end, its certificates and SSH keys are refused, and the name never comes back", a.subject)
	}
	bodyEffects(say, v, a.body)
	if len(out) == 0 {
		say("%s would be accepted", a.verb)
	}
	return out
}

// bodyEffects says what a change would replace, field by field.
func bodyEffects(say func(string, ...any), v *state.View, body command.Body) {
	switch c := body.(type) {
	case *command.SetPolicy:
		k := v.Key(c.Key)
		if k == nil {
			return
		}
		differences(say, "policy of "+string(k.ID), k.Policy, c.Policy)
		if n := len(signingNodes(v)); c.Policy.MinReady > n {
			say("no version could be activated: min_ready asks for %d ready instances, and %d nodes sign", c.Policy.MinReady, n)
		}
		if c.Owner != "" && c.Owner != k.Owner {
			say("the owner of %s would be %s, now %s", k.ID, c.Owner, k.Owner)
		}
		if c.Reason != "" && c.Reason != k.Reason {
			say("the business reason of %s would be %q, now %q", k.ID, c.Reason, k.Reason)
		}
	case *command.SetSettings:
		differences(say, "settings", v.Cluster().Settings, c.Settings)
	case *command.AddPrincipal:
		principalEffects(say, v.Principal(c.Principal.Name), c.Principal)
	case *command.RegisterConsumer:
		say("consumer %s (%s, owner %s) would be registered for %s, with a service principal of that name", c.Consumer.Name, c.Consumer.Class, c.Consumer.Owner, keyNames(c.Consumer.Keys))
	case *command.UpdateConsumer:
		consumerEffects(say, v.Consumer(c.Consumer.Name), c)
	case *command.RetireConsumer:
		say("nothing would wait for consumer %s any more, and it could not confirm: its principal and tokens end, and the name never comes back", c.Name)
	case *command.WaiveConsumer:
		say("gate %s of %s version %d would pass without consumer %s until %s", c.Gate, c.Key, c.Version, c.Consumer, c.Until)
	case *command.LiftSeal:
		if n := v.Node(c.Node); n != nil {
			say("node %s would sign again what seal %s keeps it from signing", n.Name, c.ID)
		}
	default:
		pkiEffects(say, v, body)
	}
}

// pkiEffects says what would change about issuers and profiles. What was issued stays.
func pkiEffects(say func(string, ...any), v *state.View, body command.Body) {
	switch c := body.(type) {
	case *command.CreateIssuer:
		say("issuer %s would be made below %s: whoever trusts that trusts what %s signs, for %s", c.Key.Name, c.Parent, c.Key.Name, namesText(&c.Terms.Names))
	case *command.SetIssuer:
		if is := v.Issuer(c.Issuer); is != nil {
			differences(say, "issuer "+string(is.Name), is.IssuerTerms, c.Terms)
		}
	case *command.BindCACert:
		say("the instance of %s version %d on %s would issue as CN=%s: whoever trusts the CA above it trusts what it signs", c.Issuer, c.Version, nodeName(v, c.Node), c.Subject)
	case *command.SetProfile:
		old := v.Profile(c.Name)
		if old == nil {
			newProfile(say, c)
			return
		}
		differences(say, "profile "+c.Name, old.ProfileTerms, c.Terms)
	case *command.DropProfile:
		say("profile %s would end: nobody gets certificates by it, except by a built-in one of that name, which would count again", c.Name)
	}
}

// namesText is what CA certificates permit.
func namesText(n *lifecycle.NameConstraints) string {
	permitted := slices.Concat(n.PermittedDNS, n.PermittedIPs, n.PermittedEmails, n.PermittedURIs)
	text := "any name"
	if len(permitted) > 0 {
		text = strings.Join(permitted, ", ") + " and names of other forms"
	}
	if excluded := slices.Concat(n.ExcludedDNS, n.ExcludedIPs, n.ExcludedEmails, n.ExcludedURIs); len(excluded) > 0 {
		text += ", but not " + strings.Join(excluded, ", ")
	}
	return text
}

// newProfile says what a profile allows that takes no other's place, but a built-in one's.
func newProfile(say func(string, ...any), c *command.SetProfile) {
	t := &c.Terms
	use := "any extended use"
	if len(t.ExtendedUsage) > 0 {
		use = strings.Join(t.ExtendedUsage, ", ")
	}
	place := ""
	if pki.Builtin(c.Name) != nil {
		place = " in place of the built-in one"
	}
	say("profile %s would be added%s: certificates for %s (%s), for keys %s, that live at most %s",
		c.Name, place, use, strings.Join(t.Usage, ", "), strings.Join(t.Keys, ", "), t.MaxValidity)
	for _, r := range t.Names {
		say("%s could have the names %s", r.Requester, strings.Join(slices.Concat(r.DNS, r.IPs, r.URIs, r.Emails), ", "))
	}
}

func principalEffects(say func(string, ...any), old *lifecycle.Principal, now command.PrincipalRecord) {
	if old == nil {
		say("%s would be added with the roles %s", now.Name, grantText(now.Grants))
		say("%s would log in and approve with %d SSH keys, and call with %d certificates", now.Name, len(now.SSHKeys), len(now.Certs))
		return
	}
	if was, is := grantText(old.Grants), grantText(now.Grants); was != is {
		say("%s would have the roles %s, now %s", now.Name, is, was)
	}
	exchanged(say, now.Name, "SSH key", old.SSHKeys, now.SSHKeys)
	exchanged(say, now.Name, "certificate", old.Certs, now.Certs)
}

func exchanged(say func(string, ...any), who, what string, old, now []string) {
	for _, key := range now {
		if !slices.Contains(old, key) {
			say("%s would get the %s %s", who, what, key)
		}
	}
	for _, key := range old {
		if !slices.Contains(now, key) {
			say("%s would lose the %s %s", who, what, key)
		}
	}
}

func grantText(grants []lifecycle.Grant) string {
	if len(grants) == 0 {
		return "none"
	}
	var parts []string
	for _, g := range grants {
		parts = append(parts, g.String())
	}
	return strings.Join(parts, " ")
}

// differences compares two rows of the wire by the names that people know them by.
func differences(say func(string, ...any), what string, old, now any) {
	was, is := fieldsOf(old), fieldsOf(now)
	for _, name := range slices.Sorted(maps.Keys(is)) {
		if was[name] != is[name] {
			say("%s: %s would become %s, now %s", what, name, is[name], orNone(was[name]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		if _, kept := is[name]; !kept {
			say("%s: %s would go, now %s", what, name, was[name])
		}
	}
}

// versionsText names versions of a key: ci/3.
func versionsText(key string, versions []uint64) string {
	var parts []string
	for _, n := range versions {
		parts = append(parts, key+"/"+strconv.FormatUint(n, 10))
	}
	return strings.Join(parts, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// fieldsOf are the members of a row as JSON text.
func fieldsOf(row any) map[string]string {
	b, err := json.Marshal(row)
	var raws map[string]json.RawMessage
	if err != nil || json.Unmarshal(b, &raws) != nil {
		return nil // rows are plain values: this cannot be
	}
	out := map[string]string{}
	for name, value := range raws {
		out[name] = string(value)
	}
	return out
}

func revokeEffects(say func(string, ...any), k *lifecycle.Key, a asked, o state.Outcome) {
	next := map[lifecycle.Verb]string{lifecycle.Compromise: "compromised", lifecycle.Suspend: "suspended", lifecycle.Retire: "deactivated"}[a.reason.Verb()]
	say("versions %v of %s would become %s and stop signing", o.Versions, a.key, next)
	if a.reason.IsCompromise() {
		say("their public keys would leave the JWKS at once")
	}
	if k == nil {
		return
	}
	say("caches would have let go of the old JWKS within %s", k.Policy.LongestCached())
	for _, n := range o.Versions {
		if n == k.Active {
			say("nothing would sign for %s until another version is active", a.key)
		}
	}
}

func nodeEffects(say func(string, ...any), v *state.View, a asked) {
	n := v.NodeByName(a.subject)
	if n == nil {
		return
	}
	only := 0
	v.EachInstance(func(i *lifecycle.Instance) bool {
		if ver := v.Version(i.Key, i.Version); i.Node == n.ID && ver != nil && i.MaySign(ver) {
			only++
		}
		return true
	})
	say("node %s holds %d instances that sign now", n.Name, only)
}

func signingNodes(v *state.View) (names []string) {
	for _, n := range v.Nodes() {
		if n.Signs() {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}
