package api

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// blastRadius is who and what the end of versions of a key would touch, as far as this
// node knows. k may be nil.
func (c *call) blastRadius(v *state.View, k *lifecycle.Key, versions []uint64, since lifecycle.Instant) *wire.BlastRadius {
	b := &wire.BlastRadius{Consumers: []wire.Dependent{}}
	if k == nil {
		return b
	}
	for _, con := range v.ConsumersOf(k.ID) {
		d := dependent(con)
		for _, conf := range v.ConfirmationsOf(con.Name, k.ID) {
			d.LastSeenAt = max(d.LastSeenAt, wire.Time(conf.At))
		}
		b.Consumers = append(b.Consumers, d)
	}
	for _, n := range versions {
		for _, i := range v.Instances(k.ID, n) {
			count, _ := c.usage.of(i.KID)
			b.SignaturesSince += count
		}
	}
	b.Unknown = append(b.Unknown, "signatures: only those of the node that answered are counted, since its journal began")
	b.Complete = len(b.Unknown) == 0
	return b
}

func dependent(c *lifecycle.Consumer) wire.Dependent {
	return wire.Dependent{Name: c.Name, Class: string(c.Class), Owner: c.Owner, Contact: c.Contact, Expect: c.Expect}
}

// dependents renders consumers and how far each is.
func dependents(list []state.Holdout) []wire.Dependent {
	out := make([]wire.Dependent, 0, len(list))
	for _, h := range list {
		d := dependent(h.Consumer)
		d.LastSeenAt, d.Have = wire.Time(h.LastAt), h.Have
		out = append(out, d)
	}
	return out
}

// distrusted are those of the versions that verifiers should not accept any more.
func distrusted(v *state.View, key lifecycle.KeyID, versions []uint64) (out []uint64) {
	for _, n := range versions {
		if ver := v.Version(key, n); ver != nil && !ver.InTrustSet() {
			out = append(out, n)
		}
	}
	return out
}
