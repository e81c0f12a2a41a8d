package api

import (
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// blastRadius is who and what the end of versions of a key would touch, as far as is
// known here; Unknown says what is not. since is when a compromise began, 0 = from the
// beginning. k may be nil.
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
	unknown := func(format string, args ...any) { b.Unknown = append(b.Unknown, fmt.Sprintf(format, args...)) }
	for _, n := range versions {
		for _, i := range v.Instances(k.ID, n) {
			if i.AdmittedAt != 0 {
				b.SignaturesSince += c.signatures(v, i, since, unknown)
			}
		}
	}
	if k.Purpose == lifecycle.ForCertificate {
		b.Certificates = c.certificates(v, k, versions, unknown)
	}
	b.Complete = len(b.Unknown) == 0
	return b
}

// talliedLately is how old a node's account may be: nodes give one every ten seconds,
// when there is anything new.
const talliedLately = lifecycle.Minute

// signatures counts what an instance has released since an instant, at the most: a node
// accounts for its signatures in sums, and what it has not accounted for it may have made.
func (c *call) signatures(v *state.View, i *lifecycle.Instance, since lifecycle.Instant, unknown func(string, ...any)) uint64 {
	node := nodeName(v, i.Node)
	head, known := v.LedgerHead(i.Node), c.signed(v, i)
	count := known.Released + known.Open
	switch {
	case i.Node == c.Service.Ledger().NodeID():
	case head == nil:
		unknown("signatures: %s has not accounted for its own yet", node)
	case c.now() > head.At.Add(talliedLately) && !c.heard(i.Node):
		unknown("signatures: those of %s are known to %s", node, head.At)
	}
	switch {
	case known.LastAt < since:
		return 0
	case i.AdmittedAt < since && count > 0:
		unknown("signatures: those of %s by version %d are counted from %s on: chancery report signatures %s --since %s", node, i.Version, i.AdmittedAt, i.Key, since)
	}
	return count
}

// heard reports whether a node answers, so that its silence means that it has signed
// nothing since.
func (c *call) heard(id lifecycle.NodeID) bool {
	h, ok := c.health()[id]
	return ok && h.State != unreachable
}

// mostCertificates bounds the counting for one answer.
const mostCertificates = 20 * state.MaxCertPage

// certificates counts those that the versions have signed and that are good now.
func (c *call) certificates(v *state.View, k *lifecycle.Key, versions []uint64, unknown func(string, ...any)) (n int) {
	cursor := ""
	for looked := 0; ; {
		page, err := v.Affected(k.ID, "", c.now(), cursor, state.MaxCertPage)
		if err != nil {
			unknown("certificates: they could not be counted: %v", err)
			return n
		}
		for _, cert := range page.Certificates {
			if slices.Contains(versions, cert.Version) {
				n++
			}
		}
		looked += len(page.Certificates)
		if cursor = page.Next; cursor == "" {
			return n
		}
		if looked >= mostCertificates {
			unknown("certificates: there are more: chancery cert list --issuer %s", k.ID)
			return n
		}
	}
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
