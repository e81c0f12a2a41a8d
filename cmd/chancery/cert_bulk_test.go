package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/transport/wire"
)

// registry is a node with certificates; it ends at the batch that fails says.
type registry struct {
	rows    map[string]*wire.Certificate
	batches []wire.RevokeCertificates
	ids     []string
	asked   []string // queries of lists
	fails   int      // 0 = none; the batch that is refused, from 1 on
}

func newRegistry(n int) *registry {
	g := &registry{rows: map[string]*wire.Certificate{}}
	for i := range n {
		serial := fmt.Sprintf("01%038x", i)
		g.rows[serial] = &wire.Certificate{Serial: serial, Issuer: []string{"corp", "edge"}[i%2], IssuerNode: "n1", Requester: "web", Profile: "server", Status: "good", SAN: wire.SAN{DNS: []string{"a.test"}}}
	}
	return g
}

func (g *registry) serials() []string { return sortedKeys(g.rows) }

func (g *registry) handle(w http.ResponseWriter, r *http.Request) {
	serial, one := strings.CutPrefix(r.URL.Path, wire.PathCertificates+"/")
	switch {
	case r.Method == http.MethodPost:
		var in wire.RevokeCertificates
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
			panic(err)
		}
		if g.fails == len(g.batches)+1 {
			refuseAs(wire.Denied)(w)
			return
		}
		g.batches, g.ids = append(g.batches, in), append(g.ids, r.Header.Get(wire.HeaderRequestID))
		for _, s := range in.Serials {
			if g.rows[s].Issuer != in.Issuer || g.rows[s].Status != "good" {
				panic("revoked " + s)
			}
			g.rows[s].Status = wire.Revoked
		}
		respond(w, wire.Operation{RequestID: r.Header.Get(wire.HeaderRequestID), Verb: "cert revoke", Reached: wire.Committed, Committed: &wire.Reached{At: 1}})
	case one && g.rows[serial] == nil:
		refuseAs("certificate_not_found")(w)
	case one:
		respond(w, g.rows[serial])
	default:
		g.asked = append(g.asked, r.URL.RawQuery)
		q, l := r.URL.Query(), wire.List[wire.Certificate]{}
		if named := q.Get(wire.QuerySerials); named != "" {
			if n := strings.Count(named, ",") + 1; n > wire.MaxSerials || len(r.RequestURI) > wire.MaxHeaderBytes/4*3 {
				panic(fmt.Sprintf("%d serials in one request", n))
			}
			for _, s := range strings.Split(named, ",") {
				if g.rows[s] != nil {
					l.Items = append(l.Items, *g.rows[s])
				}
			}
			respond(w, l)
			return
		}
		for _, s := range g.serials() {
			row := g.rows[s]
			if s > q.Get(wire.QueryCursor) && row.Status == q.Get(wire.QueryState) && (q.Get(wire.QueryIssuer) == "" || q.Get(wire.QueryIssuer) == row.Issuer) &&
				(q.Get(wire.QueryProfile) == "" || q.Get(wire.QueryProfile) == row.Profile) {
				if len(l.Items) == 500 {
					l.Next = wire.Text(l.Items[499].Serial)
					break
				}
				l.Items = append(l.Items, *row)
			}
		}
		respond(w, l)
	}
}

func (g *registry) left() (n int) {
	for _, row := range g.rows {
		if row.Status == "good" {
			n++
		}
	}
	return n
}

func TestRevokeMany(t *testing.T) {
	g := newRegistry(2400)
	got := against(t, g.handle, "cert revoke --all --reason superseded --plan -o json")
	var plan bulk
	if err := json.Unmarshal([]byte(got.out), &plan); err != nil || got.code != exitDone || plan.Count != 2400 || plan.Issuers["edge"] != 1200 || plan.Requesters["web"] != 2400 || len(plan.Sample) != sampleSize || len(g.batches) != 0 {
		t.Fatalf("plan: %+v, %v", got, err)
	}
	if got = against(t, g.handle, "cert revoke --issuer corp --reason superseded"); got.code != exitUsage || !strings.Contains(got.err, "--yes") || len(g.batches) != 0 {
		t.Fatalf("unasked: %+v", got)
	}
	g.fails = 3
	got = against(t, g.handle, "cert revoke --all --reason superseded --yes --request-id "+issueID)
	if got.code != exitRefused || !strings.Contains(got.err, "1024 of 2400") || !strings.Contains(got.err, "the same command") || g.left() != 1376 {
		t.Fatalf("refused in the middle: %+v, %d left", got, g.left())
	}
	g.fails = 0
	got = against(t, g.handle, "cert revoke --all --reason superseded --yes --request-id "+issueID)
	if got.code != exitDone || g.left() != 0 || !strings.Contains(got.out, "1376 of 1376") {
		t.Fatalf("taken up again: %+v, %d left", got, g.left())
	}
	for _, b := range g.batches {
		if len(b.Serials) > revokeBatch || !slices.IsSorted(b.Serials) || b.Reason != "superseded" {
			t.Errorf("batch of %d by %s", len(b.Serials), b.Issuer)
		}
	}
	ids := slices.Clone(g.ids)
	if slices.Sort(ids); len(slices.Compact(ids)) != len(g.batches) {
		t.Errorf("request ids %v", g.ids)
	}
	if got = against(t, g.handle, "cert revoke --all --reason superseded --yes"); got.code != exitDone || !strings.Contains(got.out, "0 of 0") {
		t.Errorf("nothing left: %+v", got)
	}
}

// TestListOfManyNames: a table stays one; whoever wants all the names has the other forms.
func TestListOfManyNames(t *testing.T) {
	g := newRegistry(1)
	row := g.rows[g.serials()[0]]
	row.SAN.DNS = []string{"a.test", "b.test", "c.test", "d.test", "e.test"}
	for format, want := range map[string]string{"table": "a.test b.test c.test and 2 more ", "wide": "d.test e.test ", "csv": "d.test e.test,", "json": "\"e.test\""} {
		if got := against(t, g.handle, "cert list --status good -o "+format); !strings.Contains(got.out, want) {
			t.Errorf("%s: %+v", format, got)
		}
	}
}

// TestRevokeManySparesOwn: who means the certificates of people must not end issuers.
func TestRevokeManySparesOwn(t *testing.T) {
	g := newRegistry(6)
	list := g.serials()
	g.rows[list[0]].Profile, g.rows[list[2]].Profile = "ca", "ocsp"
	got := against(t, g.handle, "cert revoke --issuer corp --node n1 --reason superseded --yes")
	if got.code != exitDone || !strings.Contains(got.out, "1 of 1") || !strings.Contains(got.out, "skipped profile ca") || !strings.Contains(got.out, "skipped profile ocsp") || !strings.Contains(got.err, "--profile ca") {
		t.Errorf("%+v", got)
	}
	got = against(t, g.handle, "cert revoke --all --reason superseded --yes")
	if got.code != exitDone || g.rows[list[0]].Status != "good" || g.rows[list[2]].Status != "good" || g.left() != 2 {
		t.Errorf("%+v", got)
	}
	if got = against(t, g.handle, "cert revoke --profile ca --reason superseded --yes"); got.code != exitDone || g.rows[list[0]].Status != wire.Revoked {
		t.Errorf("named: %+v", got)
	}
	if got = against(t, g.handle, "cert revoke "+list[2]+" --reason superseded"); got.code != exitDone || g.left() != 0 {
		t.Errorf("by serial: %+v", got)
	}
}

func TestRevokeFile(t *testing.T) {
	g := newRegistry(4)
	list := g.serials()
	g.rows[list[3]].Status = wire.Revoked
	file := filepath.Join(t.TempDir(), "serials")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# of the old rack\n" + list[0] + "\n\n  0x" + strings.ToUpper(list[1]) + " # twice\n" + list[1] + "\n" + list[3] + "\n")
	got := against(t, g.handle, "cert revoke --file "+file+" --reason keyCompromise --yes")
	if got.code != exitDone || !strings.Contains(got.out, "2 of 2") || !strings.Contains(got.out, "skipped revoked") || g.left() != 1 || len(g.batches) != 2 {
		t.Errorf("%+v, batches %+v", got, g.batches)
	}
	for text, code := range map[string]int{"hello\n": exitUsage, list[2] + "\n01" + strings.Repeat("f", 38) + "\n": exitRefused} {
		write(text)
		if got := against(t, g.handle, "cert revoke --file "+file+" --reason keyCompromise --yes"); got.code != code || !strings.Contains(got.err, "line ") || g.left() != 1 {
			t.Errorf("%q: %+v", text, got)
		}
	}
	for _, line := range []string{"", "--file " + file + " --all", "--file " + file + " " + list[0], "--all " + list[0]} {
		if got := against(t, g.handle, "cert revoke --reason keyCompromise --yes "+line); got.code != exitUsage {
			t.Errorf("%s: %+v", line, got)
		}
	}
}

func TestBatchID(t *testing.T) {
	a, err := batchID(issueID, "corp", []string{"01", "02"})
	if err != nil || !strings.HasPrefix(a, issueID[:18]) {
		t.Fatal(a, err)
	}
	again, _ := batchID(issueID, "corp", []string{"01", "02"})
	other, _ := batchID(issueID, "corp", []string{"01", "03"})
	if a != again || a == other {
		t.Errorf("%s, again %s, another batch %s", a, again, other)
	}
	if _, err := batchID("d9428888-122b-11e1-b85c-61cd3cbb3210", "corp", nil); err == nil {
		t.Error("a UUID of version 1")
	}
}
