package state

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Holdout is one consumer and how far it is with a gate.
type Holdout struct {
	Consumer *lifecycle.Consumer
	Have     int               // instances that confirm what the gate asks for
	Expect   int               // instances that must
	LastAt   lifecycle.Instant // any instance's last confirmation for the key, whatever it said; 0 = none is known
	Lapsed   bool              // it has confirmed before, and no confirmation of it counts any more
	Still    int               // withdraw: instances that said they still have a kid of the version
	Waiver   *lifecycle.Waiver // that lets the gate pass without it, nil = none
}

// Holds reports whether the gate waits for this consumer.
func (h *Holdout) Holds() bool { return h.Waiver == nil && !h.met() }

func (h *Holdout) met() bool { return h.Have >= h.Expect && h.Still == 0 }

// Consumer by name, nil when there is none. Retired ones are found too.
func (v *View) Consumer(name string) *lifecycle.Consumer {
	return viewGet[lifecycle.Consumer](v, TableConsumers, name)
}

// Consumers in name order, retired ones included.
func (v *View) Consumers() []*lifecycle.Consumer {
	return viewList[lifecycle.Consumer](v, TableConsumers, "")
}

// ConsumersOf lists the consumers that list the key and are not retired, in name order.
func (v *View) ConsumersOf(key lifecycle.KeyID) (out []*lifecycle.Consumer) {
	for _, r := range viewList[NameRow](v, TableDependents, string(key)+"\x00") {
		if c := v.Consumer(r.Name); c != nil {
			out = append(out, c)
		}
	}
	return out
}

// Confirmations of a consumer by key and instance, lapsed ones included.
func (v *View) Confirmations(consumer string) []*lifecycle.Confirmation {
	return viewList[lifecycle.Confirmation](v, TableConfirmations, consumer+"\x00")
}

// ConfirmationsOf a consumer for one key by instance, lapsed ones included.
func (v *View) ConfirmationsOf(consumer string, key lifecycle.KeyID) []*lifecycle.Confirmation {
	return viewList[lifecycle.Confirmation](v, TableConfirmations, confirmationPrefix(consumer, key))
}

// Confirmation of one instance for one key, nil when there is none.
func (v *View) Confirmation(consumer string, key lifecycle.KeyID, instance string) *lifecycle.Confirmation {
	return viewGet[lifecycle.Confirmation](v, TableConfirmations, confirmationKey(consumer, key, instance))
}

// EachConfirmation calls fn for every confirmation until fn returns false.
func (v *View) EachConfirmation(fn func(*lifecycle.Confirmation) bool) {
	ascend(v.root.hot, TableConfirmations, "", fn)
}

// ConfirmedBy counts the instances of c with a confirmation that stands at now, of
// exactly the trust set with this digest, and says how many there must be.
func (v *View) ConfirmedBy(c *lifecycle.Consumer, key lifecycle.KeyID, digest string, now lifecycle.Instant) (have, expect int) {
	ascend(v.root.hot, TableConfirmations, confirmationPrefix(c.Name, key), func(r *lifecycle.Confirmation) bool {
		if r.Standing(now) && r.Digest == digest {
			have++
		}
		return true
	})
	return have, c.Expect
}

// Holdouts are the required consumers of the key for which a gate of the version still
// waits at now, in name order. None: the gate is open.
func (v *View) Holdouts(key lifecycle.KeyID, gate lifecycle.Gate, version uint64, now lifecycle.Instant) (out []Holdout) {
	for _, h := range v.RequiredOf(key, gate, version, now) {
		if h.Holds() {
			out = append(out, h)
		}
	}
	return out
}

// RequiredOf is how far each required consumer of the key is with a gate of the
// version, those included that are through or waived.
func (v *View) RequiredOf(key lifecycle.KeyID, gate lifecycle.Gate, version uint64, now lifecycle.Instant) (out []Holdout) {
	var want gateKIDs
	looked := false
	for _, c := range v.ConsumersOf(key) {
		if c.Class != lifecycle.Required {
			continue
		}
		if !looked {
			want, looked = v.gateKIDs(key, version), true
		}
		out = append(out, v.standing(c, key, gate, version, want, now))
	}
	return out
}

// StillTrusting lists the consumers of the key, of any class, that have not confirmed
// to be without the versions: those who say that they have them, and those of whom
// nothing is known. Versions that were never published nobody trusts.
func (v *View) StillTrusting(key lifecycle.KeyID, versions []uint64, now lifecycle.Instant) (out []Holdout) {
	var want gateKIDs
	for _, n := range versions {
		want.ever = append(want.ever, v.gateKIDs(key, n).ever...)
	}
	if len(want.ever) == 0 {
		return nil
	}
	slices.Sort(want.ever)
	for _, c := range v.ConsumersOf(key) {
		if h := v.standing(c, key, lifecycle.GateWithdraw, 0, want, now); !h.met() {
			out = append(out, h)
		}
	}
	return out
}

// gateKIDs are the kids of a version that its gates ask about, ascending.
type gateKIDs struct {
	trusted  []string // verifiers must accept them now
	provable []string // of these: a canary can be signed
	ever     []string // were published at some time
}

func (v *View) gateKIDs(key lifecycle.KeyID, number uint64) (g gateKIDs) {
	version := v.Version(key, number)
	if version == nil {
		return g
	}
	for _, i := range v.Instances(key, number) {
		if i.KID == "" || i.PublishedAt == 0 {
			continue
		}
		g.ever = append(g.ever, i.KID)
		if i.InTrustSet(version) {
			g.trusted = append(g.trusted, i.KID)
		}
		if provable(version, i, v.Node(i.Node)) {
			g.provable = append(g.provable, i.KID)
		}
	}
	slices.Sort(g.trusted)
	slices.Sort(g.provable)
	slices.Sort(g.ever)
	return g
}

// Provable reports whether the instance can sign canaries: it is published and not yet
// past, its key pair is there, and its node may use it. Of an instance that cannot,
// nobody is asked for a proof: it could not have one.
func (v *View) Provable(i *lifecycle.Instance) bool {
	return provable(v.Version(i.Key, i.Version), i, v.Node(i.Node))
}

func provable(v *lifecycle.Version, i *lifecycle.Instance, n *lifecycle.Node) bool {
	return v != nil && i != nil && n != nil && (v.State == lifecycle.PreActivation || v.State == lifecycle.Active) &&
		i.Condition == lifecycle.Ready && i.InTrustSet(v) && n.Signs() && n.SealedFor(i.Key) == nil
}

// standing is how far one consumer is.
func (v *View) standing(c *lifecycle.Consumer, key lifecycle.KeyID, gate lifecycle.Gate, version uint64, want gateKIDs, now lifecycle.Instant) Holdout {
	h := Holdout{Consumer: c, Expect: c.Expect, Waiver: c.Waiver(key, version, gate, now)}
	known, counts := false, false
	ascend(v.root.hot, TableConfirmations, confirmationPrefix(c.Name, key), func(r *lifecycle.Confirmation) bool {
		known, h.LastAt = true, max(h.LastAt, r.At)
		if !r.Standing(now) {
			return true
		}
		counts = true
		switch {
		case gate == lifecycle.GateActivate:
			if len(want.trusted) > 0 && contains(r.KIDs, want.trusted) && contains(r.Proven, want.provable) {
				h.Have++
			}
		case slices.ContainsFunc(want.ever, func(kid string) bool { return listed(r.KIDs, kid) }):
			h.Still++
		default:
			h.Have++
		}
		return true
	})
	h.Lapsed = known && !counts
	return h
}

// contains reports whether an ascending list has all of some.
func contains(list, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !listed(list, s) })
}

func listed(list []string, s string) bool {
	_, found := slices.BinarySearchFunc(list, s, strings.Compare)
	return found
}
