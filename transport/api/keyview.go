package api

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// renderKey is the body of `key show`.
func (a *API) renderKey(snap ledger.Snapshot, k *lifecycle.Key) (r raw, err error) {
	now := a.Clock()
	r.body, r.tail, err = a.keys.Render(string(k.ID), snap, now, func() ([]byte, error) {
		show, err := a.keyView(snap.View, k, now)
		if err != nil {
			return nil, err
		}
		whole, err := json.Marshal(show)
		if err != nil {
			return nil, err
		}
		return transport.Open(whole), nil
	})
	return r, err
}

// keyView makes the answer object, position and age left out.
func (a *API) keyView(v *state.View, k *lifecycle.Key, now time.Time) (*wire.Key, error) {
	at := lifecycle.Instant(now.UnixMilli())
	set, err := a.Sets.Set(v, k.ID)
	if err != nil {
		return nil, err
	}
	show := &wire.Key{
		Name: string(k.ID), Purpose: k.Purpose, Alg: k.Alg, Bits: k.Bits, Custody: k.Custody, Node: nodeName(v, k.Node),
		Owner: k.Owner, BusinessReason: k.Reason, ConfirmBy: wire.Time(k.ConfirmBy), Labels: labels(k.Labels),
		ActiveVersion: k.Active, Created: origin(k.Created), PolicyVersion: k.PolicyVersion, Policy: &k.Policy,
		TrustSet:  wire.TrustSet{Digest: set.Digest, URL: a.publicURL(v) + wire.Path(wire.PathKeyJWKS, string(k.ID)), MaxAgeSeconds: int64(set.MaxAge(at) / time.Second)},
		Versions:  a.versions(v, k),
		Rotation:  rotationView(v, k, at),
		Consumers: consumerCounts(v, k.ID, set.Digest, at),
	}
	return show, nil
}

// versions of a key, newest first.
func (a *API) versions(v *state.View, k *lifecycle.Key) []wire.Version {
	list := v.Versions(k.ID)
	out := make([]wire.Version, 0, len(list))
	for n := len(list) - 1; n >= 0; n-- {
		ver := list[n]
		created := origin(ver.Created)
		w := wire.Version{Version: ver.Number, State: ver.State, Since: wire.Time(ver.SinceAt), InTrustSet: ver.InTrustSet(),
			Revocation: revocation(ver.Revocation), Created: &created, PublishedAt: wire.Time(ver.PublishedAt),
			ActivatedAt: wire.Time(ver.ActivatedAt), DeactivatedAt: wire.Time(ver.DeactivatedAt), DestroyAt: wire.Time(ver.DestroyAt), Emergency: ver.Emergency,
			Instances: []wire.Instance{}}
		if ver.State == lifecycle.Suspended {
			w.SuspendedFrom = wire.Text(ver.SuspendedFrom.String())
		}
		for _, i := range v.Instances(k.ID, ver.Number) {
			w.Instances = append(w.Instances, a.instance(v, ver, i))
		}
		out = append(out, w)
	}
	return out
}

func (a *API) instance(v *state.View, ver *lifecycle.Version, i *lifecycle.Instance) wire.Instance {
	w := wire.Instance{KID: wire.Text(i.KID), Node: nodeName(v, i.Node), NodeID: string(i.Node), Condition: i.Condition,
		CKAID: i.CKAID.String(), Driver: wire.Text(i.Driver), Attributes: i.Attributes, PublishedAt: wire.Time(i.PublishedAt),
		MaySign: i.MaySign(ver), Revocation: revocation(i.Revocation), Detail: i.Detail}
	if n := v.Node(i.Node); n == nil || !n.Signs() {
		w.MaySign = false
	}
	if len(i.SPKI) > 0 {
		w.SPKISHA256 = wire.Text(authority.SPKIHash(i.SPKI))
		w.PEM = string(publish.EncodePEM(i.SPKI))
	}
	count := a.signed(v, i)
	w.Signatures, w.LastUsedAt = count.Released, wire.Time(count.LastAt)
	return w
}

// publicURL is the base of published links.
func (a *API) publicURL(v *state.View) string {
	if c := v.Cluster(); c != nil && c.Settings.PublicURL != "" {
		return strings.TrimSuffix(c.Settings.PublicURL, "/")
	}
	if a.PublicURL != "" {
		return strings.TrimSuffix(a.PublicURL, "/")
	}
	if n := v.Node(a.Service.Ledger().NodeID()); n != nil {
		return "https://" + n.Addrs.Public
	}
	return ""
}

func origin(o lifecycle.Origin) wire.Origin {
	w := wire.Origin{At: wire.Time(o.At), By: o.By, RequestID: o.RequestID, Index: o.Index, Approvals: []wire.Approval{}}
	for _, a := range o.Approvals {
		w.Approvals = append(w.Approvals, wire.Approval{By: a.By, At: wire.Time(a.At)})
	}
	return w
}

func revocation(r *lifecycle.Revocation) *wire.Revocation {
	if r == nil {
		return nil
	}
	return &wire.Revocation{Reason: r.Reason, At: wire.Time(r.At), By: r.By, CompromisedSince: wire.Time(r.CompromisedSince), Comment: r.Comment, Index: r.Index,
		FencedAt: wire.Time(r.FencedAt), SettledAt: wire.Time(r.SettledAt)}
}

func labels(list []lifecycle.Label) map[string]string {
	m := make(map[string]string, len(list))
	for _, l := range list {
		m[l.Name] = l.Value
	}
	return m
}

func nodeName(v *state.View, id lifecycle.NodeID) string { return transport.NodeName(v, id) }
