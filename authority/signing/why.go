package signing

import (
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// whyNotActive explains why a key signs nowhere.
func whyNotActive(v *state.View, k *lifecycle.Key) error {
	versions := v.Versions(k.ID)
	for i := len(versions) - 1; i >= 0; i-- {
		ver := versions[i]
		switch ver.State {
		case lifecycle.Suspended:
			return refuse("key_suspended", "chancery key resume "+string(k.ID), "%s version %d is suspended since %s", k.ID, ver.Number, ver.SinceAt)
		case lifecycle.PreActivation:
			if ver.Emergency {
				return refuse("being_replaced", "chancery wait "+ver.Created.RequestID+" --for active", "%s was replaced at %s and version %d is being made: try again in a moment", k.ID, ver.Created.At, ver.Number)
			}
			return refuse("no_active_version", "chancery key show "+string(k.ID), "%s has no active version; version %d waits to be activated", k.ID, ver.Number)
		case lifecycle.Compromised, lifecycle.Deactivated, lifecycle.Destroyed:
			if r := ver.Revocation; r != nil {
				return refuse("key_revoked", afterRevocation(k.ID, r.Reason), "%s version %d was revoked (%s) at %s", k.ID, ver.Number, r.Reason, r.At)
			}
			return refuse("no_active_version", "chancery key rotate "+string(k.ID), "%s has no active version; version %d is %s since %s", k.ID, ver.Number, ver.State, ver.SinceAt)
		}
	}
	return refuse("no_active_version", "chancery key show "+string(k.ID), "%s has no active version", k.ID)
}

// afterRevocation is the command that gives a revoked key a version to sign with: at
// once after a compromise, according to its policy otherwise.
func afterRevocation(key lifecycle.KeyID, r lifecycle.Reason) string {
	if r.IsCompromise() {
		return "chancery key replace " + string(key) + " --emergency --reason " + string(r)
	}
	return "chancery key rotate " + string(key)
}

// whyNotHere explains why this node cannot sign with a version that is active,
// and names the nodes that can.
func whyNotHere(v *state.View, k *lifecycle.Key, ver *lifecycle.Version, mine *lifecycle.Instance, n *lifecycle.Node) error {
	hint := "try another node"
	var can []string
	for _, i := range v.Instances(k.ID, ver.Number) {
		if other := v.Node(i.Node); i.MaySign(ver) && other != nil && other.Signs() && other.SealedFor(k.ID) == nil {
			can = append(can, other.Name)
		}
	}
	if len(can) > 0 {
		hint = "try another node: " + strings.Join(can, ", ")
	}
	switch {
	case mine == nil:
		return refuse("instance_not_here", hint, "%s has no instance of %s version %d", n.Name, k.ID, ver.Number)
	case mine.Condition == lifecycle.Ready && mine.PublishedAt != 0:
		return refuse("instance_not_here", hint, "the instance of %s on %s was published at %s and may sign from %s", k.ID, n.Name, mine.PublishedAt, mine.PublishedAt.Add(k.Policy.Lead))
	case mine.Condition == lifecycle.InstanceBad:
		return refuse("instance_not_here", hint, "the instance of %s version %d on %s was revoked", k.ID, ver.Number, n.Name)
	}
	standing := mine.Condition.String()
	if mine.Condition == lifecycle.Pending {
		standing += ", its key pair is being made"
	}
	if mine.Detail != "" {
		standing += ": " + mine.Detail
	}
	return refuse("instance_not_here", hint, "the instance of %s version %d on %s is %s", k.ID, ver.Number, n.Name, standing)
}
