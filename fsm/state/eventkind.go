package state

import (
	"fmt"
	"slices"
	"strings"
)

// eventKinds are the kinds of all leaves, ascending. Kinds are never renamed: they are
// part of what was hashed.
var eventKinds = []string{
	"cert.expiring", "cert.issued", "cert.released", "cert.revoked",
	"cluster.created", "cluster.fenced", "cluster.format_raised", "cluster.gossip_key_rotated", "cluster.settings_changed", "cluster.settled",
	"consumer.changed", "consumer.confirmed", "consumer.enrolled", "consumer.lapsed", "consumer.loaded", "consumer.registered", "consumer.retired",
	"consumer.silent", "consumer.waived",
	"crl.allocated", "crl.pruned",
	"instance.admitted", "instance.compromised", "instance.erased", "instance.lost", "instance.planned", "instance.ready",
	"issuer.certified", "issuer.changed", "issuer.created",
	"key.activated", "key.confirmed", "key.created", "key.deactivated", "key.destroy_cancelled", "key.destroy_scheduled", "key.destroyed", "key.erasing",
	"key.fenced", "key.policy_changed", "key.prepared", "key.published", "key.replaced", "key.resumed", "key.revoked", "key.rolled_back", "key.settled",
	"key.suspended", "key.withdrawn",
	"node.fenced", "node.joined", "node.quarantined", "node.readmitted", "node.rebuilt", "node.removed", "node.roles_changed", "node.sealed", "node.settled",
	"node.token_created", "node.unsealed", "node.updated",
	"principal.added", "principal.changed", "principal.fenced", "principal.revoked", "principal.settled",
	"profile.dropped", "profile.set",
	"proposal.approved", "proposal.break_glass", "proposal.executed", "proposal.expired", "proposal.opened", "proposal.rejected", "proposal.withdrawn",
	"responder.announced", "responder.bound",
	"rotation.paused", "rotation.resumed", "rotation.skipped", "rotation.waiting",
	"signature.recorded", "signature.tallied",
	"token.created", "token.fenced", "token.revoked", "token.settled",
}

// CheckEventKind validates what somebody asks for: a kind of event, or a group of them
// ("key"). Whoever waited for another would wait for ever.
func CheckEventKind(kind string) error {
	group, _, single := strings.Cut(kind, ".")
	var groups []string
	for _, k := range eventKinds {
		if k == kind {
			return nil
		}
		if g, _, _ := strings.Cut(k, "."); !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	switch {
	case group == "hsm":
		return fmt.Errorf("there are no events of kind %.60q: an event is an entry of the log, and what a node finds in its key store is in chancery status and in its metrics; a key pair that is given up is instance.lost", kind)
	case group == "epoch":
		return fmt.Errorf("there are no events of kind %.60q: only a restore raises the epoch, and this build has none", kind)
	case single && slices.Contains(groups, group):
		return fmt.Errorf("there are no events of kind %.60q: those of %s are %s", kind, group, strings.Join(kindsOf(group), ", "))
	case single || !slices.Contains(groups, group):
		return fmt.Errorf("there are no events of kind %.60q: they begin with one of %s", kind, strings.Join(groups, ", "))
	}
	return nil
}

func kindsOf(group string) (out []string) {
	for _, k := range eventKinds {
		if strings.HasPrefix(k, group+".") {
			out = append(out, k)
		}
	}
	return out
}
