package api

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// blastRadius is who and what the end of versions of a key would touch, as far as this
// node knows. k may be nil.
func (c *call) blastRadius(v *state.View, k *lifecycle.Key, versions []uint64, since lifecycle.Instant) *wire.BlastRadius {
	b := &wire.BlastRadius{Consumers: []wire.Consumer{}}
	if k == nil {
		return b
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
