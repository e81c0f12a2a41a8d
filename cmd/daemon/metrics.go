package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// measure registers what the layers below the listeners count. Everything is read
// at scrape time, so nothing on a hot path pays for it.
func (d *Daemon) measure() {
	gauge := func(name, help string, f func() float64) {
		d.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "chancery", Name: name, Help: help}, f))
	}
	counter := func(name, help string, f func() float64) {
		d.metrics.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "chancery", Name: name, Help: help}, f))
	}
	counter("signing_released_total", "Signatures that passed the release gate.", func() float64 { return float64(d.signer.Released.Load()) })
	counter("signing_withheld_total", "Signatures that were made or tried and not released.", func() float64 { return float64(d.signer.Withheld.Load()) })
	counter("signing_expired_total", "Signatures that passed the release gate and were not written in time.", func() float64 { return float64(d.signer.Expired.Load()) })
	counter("publish_statements_total", "Status answers and trust sets signed with this node's status key.", func() float64 { return float64(d.attestor.Signed.Load()) })
	counter("webhook_sent_total", "Events that webhooks took from this node.", func() float64 { return float64(d.webhooks.Sent.Load()) })
	counter("webhook_failed_total", "Attempts of this node to tell a webhook of an event that came to nothing.", func() float64 { return float64(d.webhooks.Failed.Load()) })
	gauge("webhook_failing", "Webhooks that could not be told of an event, as the cluster knows.", func() float64 { return float64(failingWebhooks(d.node.View())) })
	gauge("publish_status_key_ok", "1 while the status key has a valid certificate.", func() float64 {
		_, _, ok := d.attestor.Ready(time.Now())
		return one(ok)
	})
	gauge("provision_orphans", "Key pairs in this node's partition that nobody intended.", func() float64 { return float64(d.provision.State().Orphans) })
	gauge("provision_missing", "Registered key pairs that are not in this node's partition.", func() float64 { return float64(d.provision.State().Missing) })
	gauge("provision_quarantined", "Instances of this node that are not used for signing.", func() float64 { return float64(len(d.provision.State().Quarantined)) })
	gauge("keystore_ok", "1 while the key store answers.", func() float64 { return one(d.store.Health().OK) })
	gauge("disk_reserve_ok", "0 while the disk under data_dir is full, and the node only withdraws.", func() float64 { return one(!d.full.Load()) })
	gauge("audit_head_seq", "Number of the newest audit record on disk.", func() float64 { return float64(d.journal.Head().Seq) })
	gauge("audit_ok", "1 while the audit journal can be written.", func() float64 { return one(d.journal.Err() == nil) })
	gauge("cluster_log_size", "Leaves of the lifecycle log.", func() float64 { return float64(d.node.View().Position().LogSize) })
	d.metrics.MustRegister(d.node.Collector(), &findings{view: d.node.View, clock: time.Now}, newPKICollector(d.node, d.office, d.crls, d.responder))
	gauge("cluster_certificate_expires_seconds", "Time until this node's certificate expires.", func() float64 {
		return time.Until(d.renewal.current.Load().Leaf.NotAfter).Seconds()
	})
}

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
