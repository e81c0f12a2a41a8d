package api

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// revoked says what a revocation means for those who verify.
func (a *API) revoked(op *wire.Operation, v *state.View, id lifecycle.KeyID, at lifecycle.Instant) {
	op.Nodes, op.StillTrusting = []wire.NodeOutcome{}, []wire.Dependent{}
	k := v.Key(id)
	if k == nil {
		return
	}
	op.StillTrusting = dependents(v.StillTrusting(id, distrusted(v, id, op.Versions), v.Clock()))
	op.Published = publishedAt(k, at)
	switch {
	case k.Active == 0 && op.Reason.IsCompromise():
		op.Next = append(op.Next, fmt.Sprintf("chancery key replace %s --emergency --reason %s", id, op.Reason))
	case k.Active == 0:
		op.Next = append(op.Next, "chancery key rotate "+string(id))
	}
}

// publishedAt is when a trust set was changed, and when every cache has noticed.
func publishedAt(k *lifecycle.Key, at lifecycle.Instant) *wire.PublishedAt {
	return &wire.PublishedAt{At: wire.Time(at), CachesExpireBy: map[string]wire.Time{"jwks": wire.Time(at.Add(k.Policy.LongestCached()))}}
}

// certsPublished is when a change of certificates is to be seen: every node's OCSP and
// status answers show it from its entry on, and by when each channel has run out of answers
// and lists that were made before. A list that was signed before is as good as it says,
// and where its instance cannot be reached it is the last one there is.
func certsPublished(v *state.View, is *lifecycle.Issuer, index uint64, at lifecycle.Instant) *wire.PublishedAt {
	if is == nil {
		return nil
	}
	lists := at.Add(is.CRLValid)
	for _, ca := range v.CACerts(is.Name) {
		if row := v.CRLState(ca.KID, 0); row != nil && row.AtIndex < index {
			lists = max(lists, row.NextUpdate) // of longer terms, which were changed since
		}
	}
	return &wire.PublishedAt{At: wire.Time(at), CachesExpireBy: map[string]wire.Time{"ocsp": wire.Time(at.Add(is.OCSPValid)), "crl": wire.Time(lists)}}
}
