package api

import (
	"fmt"
	"strings"

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
		say("key %s would be made; %s would each make a key pair for version 1", a.key, signers)
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
	case command.KindScheduleDestroy:
		say("the private keys of version %v of %s would be erased after the waiting period", o.Versions, a.key)
	case command.KindSetNodeStatus, command.KindSetNodeRoles:
		nodeEffects(say, v, a)
	}
	if len(out) == 0 {
		say("%s would be accepted", a.verb)
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
	say("caches would have let go of the old JWKS within %s", longestCached(k))
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
	return names
}
