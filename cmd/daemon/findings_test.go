package daemon

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/yaml.v3"

	reports "github.com/chancery-project/chancery/authority/report"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// rules is the part of Prometheus' format that is used here; anything else is a mistake.
type rules struct {
	Groups []struct {
		Name     string
		Interval string
		Rules    []struct {
			Record      string
			Alert       string
			Expr        string
			For         string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

func readRules(t *testing.T) (r rules) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "scripts", "prometheus", "chancery.rules.yml"))
	if err != nil {
		t.Fatal(err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

// scrape starts a node and returns the names of the metrics it serves.
func scrape(t *testing.T) map[string]bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := configure(t, "n1")
	if _, err := Init(ctx, c, filepath.Join(t.TempDir(), "admin"), "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	resp, err := http.Get("http://" + c.Listen.Metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d, %v", resp.StatusCode, err)
	}
	names := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllSubmatch(b, -1) {
		names[string(m[1])] = true
	}
	return names
}

var (
	metricName = regexp.MustCompile(`\bchancery[a-z_]*(?::[a-z_]+)*\b`)
	codeLabel  = regexp.MustCompile(`code="([^"]*)"`)
	duration   = regexp.MustCompile(`^[0-9]+[smhd]$`)
)

// TestPrometheusRules: every rule asks for metrics that a node serves, and for findings
// that exist, and says what to do.
func TestPrometheusRules(t *testing.T) {
	served := scrape(t)
	described := make(chan *prometheus.Desc, 64) // a fresh node has no issuers, and shows nothing of them
	new(pkiCollector).Describe(described)
	close(described)
	for d := range described {
		served[metricName.FindString(d.String())] = true
	}
	codes := map[string]bool{}
	for _, k := range reports.Kinds {
		codes[string(k.Code)] = k.About != reports.AboutDependent // those are not counted
	}
	seen := map[string]bool{}
	for _, g := range readRules(t).Groups {
		for _, r := range g.Rules {
			name := r.Alert + r.Record
			if r.Record != "" {
				served[r.Record] = true
			} else if !duration.MatchString(r.For) || r.Annotations["summary"] == "" || !strings.HasPrefix(r.Annotations["command"], "chancery ") ||
				!strings.Contains("critical warning info", r.Labels["severity"]) || r.Labels["severity"] == "" {
				t.Errorf("%s/%s: %+v", g.Name, name, r)
			}
			if seen[name] || name == "" {
				t.Errorf("%s/%s stands twice or has no name", g.Name, name)
			}
			seen[name] = true
			metrics := metricName.FindAllString(r.Expr, -1)
			if len(metrics) == 0 || strings.Count(r.Expr, "(") != strings.Count(r.Expr, ")") {
				t.Errorf("%s: %s", name, r.Expr)
			}
			for _, m := range metrics {
				if !served[m] {
					t.Errorf("%s asks for %s, which no node serves", name, m)
				}
			}
			for _, c := range codeLabel.FindAllStringSubmatch(r.Expr, -1) {
				if !codes[c[1]] {
					t.Errorf("%s asks for findings %q, which are not counted", name, c[1])
				}
			}
		}
	}
}

// TestFindingsAreCounted, once a minute however often they are asked for.
func TestFindingsAreCounted(t *testing.T) {
	l := ledgertest.New(t)
	now := l.Clock().Now
	f := &findings{view: l.View, clock: now}
	reg := prometheus.NewRegistry()
	reg.MustRegister(f)
	gather := func() map[string]float64 {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, m := range families {
			for _, v := range m.GetMetric() {
				var labels []string
				for _, l := range v.GetLabel() {
					labels = append(labels, l.GetValue())
				}
				out[strings.TrimSuffix(m.GetName()+"{"+strings.Join(labels, ",")+"}", "{}")] = v.GetGauge().GetValue()
			}
		}
		return out
	}
	if got := gather(); len(got) != 0 {
		t.Errorf("before genesis: %v", got)
	}
	nodes := ledgertest.Genesis(t, l, "alpha")
	make := func(name lifecycle.KeyID, owner string) {
		t.Helper()
		in := command.Intent{Node: nodes[0], CKAID: ledgertest.CKAID(string(name))}
		l.Must(t, &command.CreateKey{Name: name, Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: owner, Reason: "tests",
			Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256), Instances: []command.Intent{in}})
		l.Must(t, &command.BindInstance{Key: name, Version: 1, Node: nodes[0], CKAID: in.CKAID, SPKI: []byte{0x30, 0}, KID: strings.Repeat("0", 42-len(name)) + string(name) + "A",
			Driver: "soft", Attributes: []string{"CKA_EXTRACTABLE=true"}})
		l.Must(t, &command.ActivateVersion{Key: name, Version: 1})
	}
	make("ci", "platform")
	l.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "gone", Kind: lifecycle.Service}})
	l.Must(t, &command.RevokePrincipal{Name: "gone"})
	want := func(when string, keys, within, ownerless, extractable float64) {
		t.Helper()
		got := gather()
		for name, n := range map[string]float64{"chancery_report_keys": keys, "chancery_report_keys_within_policy": within,
			"chancery_report_findings{no_owner,warning}": ownerless, "chancery_report_findings{extractable,warning}": extractable} {
			if v, ok := got[name]; !ok || v != n {
				t.Errorf("%s: %s is %v (%t), want %v", when, name, v, ok, n)
			}
		}
		if _, ok := got["chancery_report_findings{human_caller,notice}"]; ok {
			t.Error("what is not looked for is said to be none")
		}
	}
	want("one key", 1, 1, 0, 1)
	make("old", "gone")
	want("within the minute", 1, 1, 0, 1)
	l.Clock().Advance(findingsFor)
	want("after it", 2, 1, 1, 2)
}
