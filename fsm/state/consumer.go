package state

import (
	"bytes"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// dependentKey is the index from a key to the consumers that list it.
func dependentKey(key lifecycle.KeyID, consumer string) string {
	return string(key) + "\x00" + consumer
}

func confirmationPrefix(consumer string, key lifecycle.KeyID) string {
	return consumer + "\x00" + string(key) + "\x00"
}

func confirmationKey(consumer string, key lifecycle.KeyID, instance string) string {
	return confirmationPrefix(consumer, key) + instance
}

func (x *tx) consumer(name string) *lifecycle.Consumer {
	return get[lifecycle.Consumer](x, TableConsumers, name)
}

// standingConsumer finds a consumer that was not retired.
func (x *tx) standingConsumer(name string) (*lifecycle.Consumer, Outcome) {
	c := x.consumer(name)
	switch {
	case c == nil:
		return nil, refuse(ConsumerNotFound, name, "no such consumer: chancery consumer list shows them")
	case c.RetiredAt != 0:
		return nil, refuse(IllegalTransition, name, "the consumer was retired at %s by %s", c.RetiredAt, c.RetiredBy)
	}
	return c, Outcome{}
}

func (x *tx) registerConsumer(c *command.RegisterConsumer) Outcome {
	r := c.Consumer
	if old := x.consumer(r.Name); old != nil {
		if old.RetiredAt != 0 {
			return refuse(AlreadyExists, r.Name, "a consumer of this name was retired at %s and never comes back: choose another name", old.RetiredAt)
		}
		return refuse(AlreadyExists, r.Name, "a consumer of this name exists (owner %s)", old.Owner)
	}
	if get[lifecycle.Principal](x, TablePrincipals, r.Name) != nil {
		return refuse(AlreadyExists, r.Name, "a principal has this name, and a consumer confirms as the principal of its name: choose another")
	}
	if o := x.checkEnrolment(r.Name, &c.Enrolment); !o.OK() {
		return o
	}
	if o := x.dependOn(r.Name, nil, r.Keys); !o.OK() {
		return o
	}
	put(x, TableConsumers, r.Name, &lifecycle.Consumer{Name: r.Name, Owner: r.Owner, Contact: r.Contact, Class: r.Class, Expect: r.Expect,
		Keys: r.Keys, Lifetime: r.Lifetime, EnrolHash: c.Enrolment.Hash, EnrolExpiresAt: c.Enrolment.ExpiresAt, Created: x.origin()})
	x.record(Leaf{Kind: "consumer.registered", Consumer: r.Name, After: string(r.Class), Detail: "owner " + r.Owner})
	x.writePrincipal(consumerPrincipal(&r))
	return Outcome{Subject: r.Name}
}

// consumerPrincipal is the service that confirms: the role consumer on the keys, and
// nothing else.
func consumerPrincipal(r *command.ConsumerRecord) command.PrincipalRecord {
	p := command.PrincipalRecord{Name: r.Name, Kind: lifecycle.Service}
	for _, k := range r.Keys {
		p.Grants = append(p.Grants, lifecycle.Grant{Role: lifecycle.ConsumerRole, Keys: string(k)})
	}
	return p
}

func (x *tx) checkEnrolment(name string, e *command.Enrolment) Outcome {
	if e.ExpiresAt <= x.now() {
		return refuse(TokenExpired, name, "the enrolment token would expire before it exists")
	}
	return Outcome{}
}

// dependOn keeps the index from keys to consumers.
func (x *tx) dependOn(name string, old, now []lifecycle.KeyID) Outcome {
	for _, k := range now {
		if x.key(k) == nil {
			return refuse(KeyNotFound, string(k), "no such key")
		}
		if !slices.Contains(old, k) {
			put(x, TableDependents, dependentKey(k, name), &NameRow{Name: name})
		}
	}
	for _, k := range old {
		if !slices.Contains(now, k) {
			x.drop(TableDependents, dependentKey(k, name))
		}
	}
	return Outcome{}
}

func (x *tx) updateConsumer(c *command.UpdateConsumer) Outcome {
	r := c.Consumer
	old, o := x.standingConsumer(r.Name)
	if !o.OK() {
		return o
	}
	now := *old
	now.Owner, now.Contact, now.Class, now.Expect, now.Keys, now.Lifetime = r.Owner, r.Contact, r.Class, r.Expect, r.Keys, r.Lifetime
	if c.Enrolment != nil {
		if o := x.checkEnrolment(r.Name, c.Enrolment); !o.OK() {
			return o
		}
		now.EnrolHash, now.EnrolExpiresAt = c.Enrolment.Hash, c.Enrolment.ExpiresAt
	}
	if o := x.dependOn(r.Name, old.Keys, r.Keys); !o.OK() {
		return o
	}
	put(x, TableConsumers, r.Name, &now)
	x.record(Leaf{Kind: "consumer.changed", Consumer: r.Name, Before: string(old.Class), After: string(r.Class), Detail: "owner " + r.Owner})
	if p := x.principal(r.Name); p != nil && !slices.Equal(old.Keys, r.Keys) {
		next := consumerPrincipal(&r)
		next.SSHKeys, next.Certs = p.SSHKeys, p.Certs
		return x.writePrincipal(next)
	}
	return Outcome{Subject: r.Name}
}

// retireConsumer leaves the confirmations: they are forgotten in small steps, by
// LapseConfirmations.
func (x *tx) retireConsumer(c *command.RetireConsumer) Outcome {
	old, o := x.standingConsumer(c.Name)
	if !o.OK() {
		return o
	}
	now := *old
	now.RetiredAt, now.RetiredBy = x.now(), x.head.Actor
	now.EnrolHash, now.EnrolExpiresAt, now.Waivers = nil, 0, nil
	x.dependOn(c.Name, old.Keys, nil)
	put(x, TableConsumers, c.Name, &now)
	x.record(Leaf{Kind: "consumer.retired", Consumer: c.Name, Before: string(old.Class), Reason: c.Comment, Detail: "owner " + old.Owner})
	if x.principal(c.Name) != nil {
		return x.revokePrincipal(&command.RevokePrincipal{Name: c.Name})
	}
	return Outcome{Subject: c.Name}
}

// enrolConsumer gives a token for the secret, once. The principal may have been given
// other roles by hand since: then a secret that buys no more than the right to confirm
// does not buy those.
func (x *tx) enrolConsumer(c *command.EnrolConsumer) Outcome {
	old, o := x.standingConsumer(c.Consumer)
	switch {
	case !o.OK():
		return o
	case len(old.EnrolHash) == 0:
		return refuse(TokenSpent, c.Consumer, "the enrolment token was used, at %s: an operator makes another with chancery consumer register --again", old.EnrolledAt)
	case !bytes.Equal(old.EnrolHash, c.Spent):
		return refuse(Denied, c.Consumer, "this is not the consumer's enrolment token")
	case x.clock >= old.EnrolExpiresAt:
		return refuse(TokenExpired, c.Consumer, "the enrolment token expired at %s: an operator makes another with chancery consumer register --again", old.EnrolExpiresAt)
	}
	p := x.principal(c.Consumer)
	if p == nil || slices.ContainsFunc(p.Grants, func(g lifecycle.Grant) bool { return g.Role != lifecycle.ConsumerRole }) {
		return refuse(Denied, c.Consumer, "the principal %s was revoked, or has other roles than to confirm: an enrolment does not give those", c.Consumer)
	}
	now := *old
	now.EnrolHash, now.EnrolExpiresAt, now.EnrolledAt = nil, 0, x.now()
	put(x, TableConsumers, now.Name, &now)
	x.record(Leaf{Kind: "consumer.enrolled", Consumer: now.Name, Detail: c.TokenID})
	o = x.addToken(&command.AddToken{ID: c.TokenID, Principal: now.Name, Hash: c.TokenHash, Label: c.Label, ExpiresAt: c.ExpiresAt})
	if o.OK() {
		o.Subject = now.Name
	}
	return o
}

func (x *tx) waiveConsumer(c *command.WaiveConsumer) Outcome {
	old, o := x.standingConsumer(c.Consumer)
	if !o.OK() {
		return o
	}
	if _, _, o := x.find(c.Key, c.Version); !o.OK() {
		return o
	}
	switch {
	case !old.Lists(c.Key):
		return refuse(NotADependent, c.Consumer, "the consumer does not list key %s: no gate of it waits for the consumer", c.Key)
	case c.Until <= x.now() || c.Until > x.now().Add(lifecycle.MaxWaiver):
		return refuse(Invalid, c.Consumer, "a waiver until %s: allowed are from now to %s", c.Until, lifecycle.MaxWaiver)
	}
	now := *old
	now.Waivers = slices.DeleteFunc(slices.Clone(old.Waivers), func(w lifecycle.Waiver) bool {
		return w.Until <= x.now() || w.Key == c.Key && w.Version == c.Version && w.Gate == c.Gate
	})
	if len(now.Waivers) >= lifecycle.MaxWaivers {
		return refuse(LimitReached, c.Consumer, "%d waivers stand for this consumer: one that never confirms is advisory, or retired", len(now.Waivers))
	}
	now.Waivers = append(now.Waivers, lifecycle.Waiver{Key: c.Key, Version: c.Version, Gate: c.Gate, Until: c.Until, By: x.head.Actor, At: x.now(), Comment: c.Comment})
	put(x, TableConsumers, now.Name, &now)
	x.record(Leaf{Kind: "consumer.waived", Consumer: now.Name, Key: c.Key, Version: c.Version, After: string(c.Gate), Reason: c.Comment, Detail: "until " + c.Until.String()})
	return Outcome{Subject: now.Name, Key: c.Key, Versions: []uint64{c.Version}}
}

// consumerRule is about asking less of a required consumer.
func (x *tx) consumerRule(name string, eases func(*lifecycle.Consumer) bool) *lifecycle.ApprovalRule {
	if old := x.consumer(name); old != nil && old.RetiredAt == 0 && old.Class == lifecycle.Required && eases(old) {
		return x.clusterRule(lifecycle.ApproveConsumers)
	}
	return nil
}

// waiveRule is the key's rule for waivers, where the waiver is of use to somebody.
func (x *tx) waiveRule(c *command.WaiveConsumer) *lifecycle.ApprovalRule {
	k, old := x.key(c.Key), x.consumer(c.Consumer)
	if k == nil || old == nil || old.RetiredAt != 0 || old.Class != lifecycle.Required {
		return nil
	}
	return x.keyRule(k, lifecycle.ApproveWaive)
}
