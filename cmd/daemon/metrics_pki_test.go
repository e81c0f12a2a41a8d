package daemon

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// pkiWorld is a collector over a cluster in memory.
func pkiWorld(t *testing.T) (*pkitest.Town, *pkiCollector) {
	w := pkitest.NewTown(t, 2)
	crls, err := crl.OpenStore(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	office := issuing.New(issuing.Config{Ledger: w.Ledger})
	c := newPKICollector(w.Ledger, office, crls, ocsp.NewResponder(ocsp.Config{}))
	c.clock = w.Ledger.Clock().Now
	return w, c
}

// values gathers what the collector shows: name and labels, and the number.
func values(t *testing.T, c prometheus.Collector) map[string]float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				if l.GetName() != "kid" {
					name += " " + l.GetValue()
				}
			}
			out[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return out
}

func TestPKIMetrics(t *testing.T) {
	w, c := pkiWorld(t)
	for i := range 3 {
		w.Issue(0, fmt.Sprintf("h%d.test", i))
	}
	w.Announce(1, "open.test")
	gone := w.Issue(1, "gone.test")
	serial, _ := lifecycle.SerialOf(gone.Cert.SerialNumber.Bytes())
	w.Revoke(serial, lifecycle.Superseded)
	if _, err := c.office.Issue(t.Context(), issuing.Order{Issuer: "made-up", Profile: "server"}); err == nil {
		t.Fatal("issued nothing from nobody")
	}
	c.responder.Malformed()
	got := values(t, c)
	for name, want := range map[string]float64{
		"chancery_pki_certificates_recorded_total corp":   4,
		"chancery_pki_certificates_recorded_total root":   2, // the CA certificates
		"chancery_pki_certificates_revoked_total corp":    1,
		"chancery_pki_certificates_held corp":             0,
		"chancery_pki_intents_unfinished corp":            1,
		"chancery_pki_crl_entries corp":                   1,
		"chancery_pki_certificates_refused_total  server": 1, // the name that somebody made up is not kept
		"chancery_pki_ocsp_responses_total malformed":     1,
		"chancery_pki_ocsp_responses_total signed":        0,
	} {
		if n, ok := got[name]; !ok || n != want {
			t.Errorf("%s is %v (there: %t), want %v", name, n, ok, want)
		}
	}
	for _, name := range []string{"chancery_pki_ca_certificate_expires_seconds corp n1", "chancery_pki_ca_certificate_expires_seconds corp node2"} {
		if got[name] <= 0 {
			t.Errorf("%s is %v of %v", name, got[name], got)
		}
	}
	if got["chancery_pki_certificates_ending 30 corp"] < got["chancery_pki_certificates_ending 7 corp"] {
		t.Errorf("more certificates end in a week than in a month: %v", got)
	}
	w.Ledger.Clock().Advance(100 * 365 * 24 * time.Hour)
	for name := range values(t, c) {
		if name == "chancery_pki_crl_entries corp" {
			t.Error("an instance whose CA certificate has expired is still shown")
		}
	}
}
