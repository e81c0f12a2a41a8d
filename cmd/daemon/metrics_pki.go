package daemon

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Labels are issuers, their instances (kid) and profiles: people make those one by one.
// What strangers send is no label.
var (
	pkiIssued   = pkiDesc("certificates_issued_total", "Certificates that this node gave out.", "issuer", "profile")
	pkiRefused  = pkiDesc("certificates_refused_total", "Requests for certificates that this node refused.", "issuer", "profile")
	pkiRecorded = pkiDesc("certificates_recorded_total", "Certificates in the log, revoked ones included, as the cluster counts them.", "issuer", "kid")
	pkiRevoked  = pkiDesc("certificates_revoked_total", "Certificates that were revoked for good, as the cluster counts them.", "issuer", "kid")
	pkiHeld     = pkiDesc("certificates_held", "Certificates on hold.", "issuer", "kid")
	pkiIntents  = pkiDesc("intents_unfinished", "Certificates that were announced and are not recorded yet.", "issuer", "kid")
	pkiEnding   = pkiDesc("certificates_ending", "Certificates that end within so many days, revoked and replaced ones included, as of at most 5 min ago.", "issuer", "days")
	pkiCAEnds   = pkiDesc("ca_certificate_expires_seconds", "Time until the CA certificate of an instance expires.", "issuer", "kid", "node")
	pkiEntries  = pkiDesc("crl_entries", "Certificates on the next CRL of an instance.", "issuer", "kid")
	pkiNumber   = pkiDesc("crl_number", "Number of the CRL that this node serves; the log's is at most one ahead.", "issuer", "kid")
	pkiAge      = pkiDesc("crl_age_seconds", "Age of the CRL that this node serves.", "issuer", "kid")
	pkiNext     = pkiDesc("crl_next_update_seconds", "Time until the nextUpdate of the CRL that this node serves; absent as long as it has none.", "issuer", "kid")
	pkiAnswers  = pkiDesc("ocsp_responses_total", "OCSP responses of this node.", "kind")
)

func pkiDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("chancery_pki_"+name, help, labels, nil)
}

// pkiCollector shows what is known of certificates. All but the count of those that end
// soon is read from memory when it is scraped.
type pkiCollector struct {
	view      func() *state.View
	clock     func() time.Time
	office    *issuing.Office
	crls      *crl.Store
	responder *ocsp.Responder

	mu      sync.Mutex // owns what follows
	ending  map[string][]uint64
	counted time.Time
}

// endingDays are counted ahead, and endingEvery is how long the count is shown: it reads
// the index of a month.
var endingDays = []struct {
	days  lifecycle.Milliseconds
	label string
}{{7, "7"}, {30, "30"}}

const endingEvery = 5 * time.Minute

func newPKICollector(node ledger.Ledger, office *issuing.Office, crls *crl.Store, responder *ocsp.Responder) *pkiCollector {
	return &pkiCollector{view: node.View, clock: time.Now, office: office, crls: crls, responder: responder}
}

// Describe implements prometheus.Collector.
func (c *pkiCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{pkiIssued, pkiRefused, pkiRecorded, pkiRevoked, pkiHeld, pkiIntents, pkiEnding, pkiCAEnds,
		pkiEntries, pkiNumber, pkiAge, pkiNext, pkiAnswers} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *pkiCollector) Collect(out chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	for of, n := range c.office.Counts() {
		counter(pkiIssued, n.Issued, of.Issuer, of.Profile)
		counter(pkiRefused, n.Refused, of.Issuer, of.Profile)
	}
	for kind, n := range c.responder.Counters.Each() {
		counter(pkiAnswers, n, kind)
	}
	v, now := c.view(), c.clock()
	ending := c.endingSoon(v, now)
	sums := map[lifecycle.KeyID][]uint64{}
	for _, ca := range v.CACerts("") {
		c.instance(out, v, ca, now)
		if sums[ca.Issuer] == nil {
			sums[ca.Issuer] = make([]uint64, len(endingDays))
		}
		for i, n := range ending[ca.KID] {
			sums[ca.Issuer][i] += n
		}
	}
	for issuer, sum := range sums {
		for i, n := range sum {
			out <- prometheus.MustNewConstMetric(pkiEnding, prometheus.GaugeValue, float64(n), string(issuer), endingDays[i].label)
		}
	}
}

// instance shows one instance of an issuer. One whose CA certificate has expired is shown
// no longer: a rotated issuer would collect them for ever.
func (c *pkiCollector) instance(out chan<- prometheus.Metric, v *state.View, ca *lifecycle.CACert, now time.Time) {
	left := timeOf(ca.NotAfter).Sub(now)
	if left <= 0 {
		return
	}
	issuer := string(ca.Issuer)
	show := func(d *prometheus.Desc, kind prometheus.ValueType, value float64) {
		out <- prometheus.MustNewConstMetric(d, kind, value, issuer, ca.KID)
	}
	t := v.CertTally(ca.KID)
	show(pkiRecorded, prometheus.CounterValue, float64(t.Issued))
	show(pkiRevoked, prometheus.CounterValue, float64(t.Revoked))
	show(pkiHeld, prometheus.GaugeValue, float64(t.Held))
	show(pkiIntents, prometheus.GaugeValue, float64(t.Intents))
	show(pkiEntries, prometheus.GaugeValue, float64(t.OnCRL))
	if ca.Revocation == nil {
		node := ca.Node.Short()
		if n := v.Node(ca.Node); n != nil {
			node = n.Name
		}
		out <- prometheus.MustNewConstMetric(pkiCAEnds, prometheus.GaugeValue, left.Seconds(), issuer, ca.KID, node)
	}
	if p := c.crls.Get(ca.KID, 0); p != nil {
		show(pkiNumber, prometheus.GaugeValue, float64(p.Number))
		show(pkiAge, prometheus.GaugeValue, now.Sub(p.ThisUpdate).Seconds())
		show(pkiNext, prometheus.GaugeValue, p.NextUpdate.Sub(now).Seconds())
	}
}

// endingSoon counts again when the count is old. A state that cannot be read shows
// nothing here; whoever reads it otherwise says why.
func (c *pkiCollector) endingSoon(v *state.View, now time.Time) map[string][]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ending != nil && now.Sub(c.counted) < endingEvery {
		return c.ending
	}
	from := lifecycle.Instant(now.UnixMilli())
	until := make([]lifecycle.Instant, len(endingDays))
	for i, e := range endingDays {
		until[i] = from.Add(e.days * lifecycle.Day)
	}
	ending, err := v.Ending(from, until...)
	if err != nil {
		return nil
	}
	c.ending, c.counted = ending, now
	return ending
}

func timeOf(at lifecycle.Instant) time.Time { return time.UnixMilli(int64(at)) }
