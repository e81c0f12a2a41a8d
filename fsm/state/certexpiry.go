package state

import (
	"bytes"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// warnExpiring makes known which certificates end soon, once each: the place of the last
// one stands in the cluster's row, and an entry that begins elsewhere is refused.
func (x *tx) warnExpiring(c *command.WarnExpiring) Outcome {
	if o := x.ofCluster(); !o.OK() {
		return o
	}
	row := *x.cluster()
	if from := warned(&row); c.From != from {
		return refuse(AlreadyExists, "", "certificates that end until %s are known already", from.NotAfter)
	}
	if c.To.NotAfter > x.clock.Add(lifecycle.ExpiryWarning) {
		return refuse(LeadNotPassed, "", "certificates that end at %s are not called expiring yet", c.To.NotAfter)
	}
	for _, s := range c.Serials {
		cert := x.certificate(s)
		if cert == nil || !cert.NeedsWarning() || x.clock > cert.NotAfter {
			continue // revoked or renewed meanwhile
		}
		if at := markOf(cert); !c.From.Before(at) || c.To.Before(at) {
			return refuse(Invalid, s.String(), "the certificate ends at %s, which is not between the places", cert.NotAfter)
		}
		x.record(Leaf{Kind: "cert.expiring", Key: cert.Issuer, KID: cert.IssuerKID, Serials: []lifecycle.Serial{s}, Detail: "it ends at " + cert.NotAfter.String() + " and has no successor"})
	}
	row.Warned = &c.To
	put(x, TableCluster, clusterKey, &row)
	return Outcome{}
}

// worthMoving is how many certificates that concern nobody are read again and again
// before the place is moved past them.
const worthMoving = 256

func markOf(c *lifecycle.Certificate) lifecycle.CertMark {
	return lifecycle.CertMark{NotAfter: c.NotAfter, Serial: c.Serial}
}

func warned(c *lifecycle.Cluster) lifecycle.CertMark {
	if c.Warned == nil {
		return lifecycle.CertMark{}
	}
	return *c.Warned
}

// Warning is the next step in making known which certificates end soon, as of an
// instant; nil when there is none to make. A step that concerns nobody is made when it
// spares the next look some reading.
func (v *View) Warning(at lifecycle.Instant) (*command.WarnExpiring, error) {
	c := v.Cluster()
	if c == nil {
		return nil, nil
	}
	w := &command.WarnExpiring{From: warned(c)}
	end := at.Add(lifecycle.ExpiryWarning)
	keys, reached := 0, lifecycle.CertMark{NotAfter: end}
	var failed error
	err := v.cold(func(r Reader) error {
		// What has ended, nobody needs to be warned of.
		r.Ascend(TableCertExpiry, instantKey(max(w.From.NotAfter, at)), func(key string, _ []byte) bool {
			here := lifecycle.CertMark{NotAfter: keyInstant(key), Serial: serialAt(key)}
			if here.NotAfter >= end {
				return false
			}
			if !w.From.Before(here) {
				return true
			}
			if keys == maxRowLooks || len(w.Serials) == command.MaxWarnItems {
				reached = w.To
				return false
			}
			keys++
			w.To = here
			cert, err := v.readCertificate(r, here.Serial)
			if err != nil {
				failed = err
				return false
			}
			if cert != nil && cert.NeedsWarning() {
				w.Serials = append(w.Serials, here.Serial)
			}
			return true
		})
		return failed
	})
	if err != nil {
		return nil, err
	}
	w.To = reached
	if len(w.Serials) == 0 && keys < worthMoving {
		return nil, nil
	}
	slices.SortFunc(w.Serials, func(a, b lifecycle.Serial) int { return bytes.Compare(a[:], b[:]) })
	return w, nil
}

// Ending counts the certificates of each instance that end between from and each of the
// instants in until, revoked and replaced ones included. It reads one index, in order;
// until ascends.
func (v *View) Ending(from lifecycle.Instant, until ...lifecycle.Instant) (map[string][]uint64, error) {
	out, marks := map[string][]uint64{}, map[string]string{}
	for _, ca := range v.CACerts("") {
		out[ca.KID], marks[kidMark(ca.KID)] = make([]uint64, len(until)), ca.KID
	}
	err := v.cold(func(r Reader) error {
		r.Ascend(TableCertExpiry, instantKey(from), func(key string, b []byte) bool {
			at := keyInstant(key)
			counts := out[marks[string(b)]]
			for i := len(until) - 1; i >= 0 && at <= until[i]; i-- {
				if counts != nil {
					counts[i]++
				}
			}
			return len(until) > 0 && at <= until[len(until)-1]
		})
		return nil
	})
	return out, err
}
