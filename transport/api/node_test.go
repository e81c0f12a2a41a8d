package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestNodes(t *testing.T) {
	n := start(t)
	l := get[wire.List[wire.Node]](t, n.ask("signer", "GET", wire.PathNodes, nil))
	if len(l.Items) != 2 {
		t.Fatalf("nodes = %+v", l.Items)
	}
	one := get[wire.Node](t, n.ask("signer", "GET", wire.Path(wire.PathNode, "node2"), nil))
	if one.Leader || strings.Join(one.Roles, " ") != "signer" || one.Status != lifecycle.Member || one.Addrs.API == "" {
		t.Errorf("node = %+v", one)
	}
	get[wire.Node](t, n.ask("signer", "GET", wire.Path(wire.PathNode, one.ID[:8]), nil))
	refused(t, n.ask("signer", "GET", wire.Path(wire.PathNode, "ghost"), nil), wire.NodeNotFound)
	refused(t, n.ask("nobody", "GET", wire.PathNodes, nil), wire.Denied)

	tok := get[wire.JoinToken](t, n.ask("admin", "POST", wire.PathJoinTokens, wire.CreateJoinToken{}))
	if tok.Token != "join-"+tok.ID || tok.Command == "" || tok.ExpiresAt == 0 {
		t.Errorf("join token = %+v", tok)
	}
	refused(t, n.ask("admin", "POST", wire.PathJoinTokens, wire.CreateJoinToken{TTL: 30 * lifecycle.Day}), wire.Invalid)
	refused(t, n.ask("signer", "POST", wire.PathJoinTokens, wire.CreateJoinToken{}), wire.Denied)

	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathPromote, "node2"), wire.Promote{Voter: true}))
	if op.Verb != "node promote" || op.Subject != "node2" || len(n.members.calls) != 1 || !strings.HasPrefix(n.members.calls[0], "voter ") {
		t.Errorf("promote = %+v, %v", op, n.members.calls)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathPromote, "node2"), wire.Promote{}), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathPromote, "ghost"), wire.Promote{Voter: true}), wire.NodeNotFound)
	get[wire.Operation](t, n.ask("admin", "POST", wire.PathTransferLeader, wire.TransferLeader{Target: "node2"}))
	refused(t, n.ask("admin", "POST", wire.PathTransferLeader, wire.TransferLeader{Target: "ghost"}), wire.NodeNotFound)
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathQuarantine, "node2"), wire.Quarantine{Reason: "odd"}))
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathQuarantine, "node2"), wire.Quarantine{Release: true}))
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRemoveNode, "n1"), wire.RemoveNode{}), wire.LeaderCannotLeave)
	plan := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRemoveNode, "node2")+"?plan=true", wire.RemoveNode{}))
	if !plan.Plan || n.ledger.View().NodeByName("node2").Status != lifecycle.Member {
		t.Errorf("plan of a removal = %+v", plan)
	}
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRemoveNode, "node2"), wire.RemoveNode{Lost: true, Reason: "gone"}))
	if got := get[wire.Node](t, n.ask("admin", "GET", wire.Path(wire.PathNode, "node2"), nil)); got.Status != lifecycle.Removed {
		t.Errorf("after removal = %+v", got)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRebuild, "node2"), wire.Rebuild{}), wire.NotAvailable)
}

func TestRevisions(t *testing.T) {
	n := start(t)
	n.create(createCI)
	r := n.ask("signer", "GET", wire.Path(wire.PathPolicy, "ci"), nil)
	p, tag := get[wire.Policy](t, r), r.header.Get("ETag")
	if tag != wire.ETag(p.Version) {
		t.Fatalf("ETag = %q of %d", tag, p.Version)
	}
	set := wire.SetPolicy{Policy: p.Policy, Owner: "new@example.com"}
	set.Policy.RotateEvery = 20 * lifecycle.Day
	path := wire.Path(wire.PathPolicy, "ci")
	refused(t, n.ask("admin", "PUT", path, set), wire.PreconditionRequired)
	refused(t, n.ask("admin", "PUT", path, set, "If-Match", "*"), wire.Invalid)
	refused(t, n.ask("admin", "PUT", path, set, "If-Match", wire.ETag(p.Version+1)), wire.PreconditionFailed)
	refused(t, n.ask("signer", "PUT", path, set, "If-Match", tag), wire.Denied)
	op := get[wire.Operation](t, n.ask("admin", "PUT", path, set, "If-Match", tag))
	if op.Verb != "policy set" {
		t.Errorf("policy set = %+v", op)
	}
	if now := get[wire.Policy](t, n.ask("signer", "GET", path, nil)); now.Version == p.Version || now.Policy.RotateEvery != 20*lifecycle.Day || now.Owner != "new@example.com" {
		t.Errorf("policy = %+v", now)
	}
	refused(t, n.ask("admin", "PUT", path, set, "If-Match", tag), wire.PreconditionFailed)

	r = n.ask("signer", "GET", wire.PathCluster, nil)
	c := get[wire.Cluster](t, r)
	if r.header.Get("ETag") != wire.ETag(c.Revision) {
		t.Errorf("cluster = %s", r.body)
	}
	c.Settings.PublicURL = "https://keys.example.com"
	refused(t, n.ask("admin", "PUT", wire.PathCluster, wire.SetCluster{Settings: c.Settings}), wire.PreconditionRequired)
	refused(t, n.ask("admin", "PUT", wire.PathCluster, wire.SetCluster{Settings: c.Settings}, "If-Match", wire.ETag(c.Revision+7)), wire.PreconditionFailed)
	get[wire.Operation](t, n.ask("admin", "PUT", wire.PathCluster, wire.SetCluster{Settings: c.Settings}, "If-Match", wire.ETag(c.Revision)))
	if k := get[wire.Key](t, n.ask("signer", "GET", wire.Path(wire.PathKey, "ci"), nil)); k.TrustSet.URL != "https://keys.example.com/keys/ci/jwks.json" {
		t.Errorf("url = %s", k.TrustSet.URL)
	}
}

func TestExport(t *testing.T) {
	n := start(t)
	n.create(createCI)
	i := n.ledger.View().Instance("ci", 1, n.ledger.NodeID())
	path := wire.Path(wire.PathExport, "ci")
	r := n.ask("signer", "GET", path, nil)
	if r.status != 200 || r.header.Get("Content-Type") != wire.TypeJWKS || r.header.Get("ETag") == "" || !strings.Contains(string(r.body), i.KID) {
		t.Errorf("jwks: %d %v %s", r.status, r.header, r.body)
	}
	for query, want := range map[string]string{"?format=pem&version=1": "-----BEGIN PUBLIC KEY", "?format=ssh&node=n1": "ecdsa-sha2-nistp256", "?kid=" + i.KID[:8]: `"keys":[`, "?format=der": string(i.SPKI)} {
		if r := n.ask("signer", "GET", path+query, nil); r.status != 200 || !strings.Contains(string(r.body), want) {
			t.Errorf("%s: %d %s", query, r.status, r.body)
		}
	}
	refused(t, n.ask("signer", "GET", path+"?format=xml", nil), wire.Invalid)
	refused(t, n.ask("signer", "GET", path+"?version=9", nil), wire.InstanceNotFound)
	refused(t, n.ask("signer", "GET", path+"?node=ghost", nil), wire.NodeNotFound)
	refused(t, n.ask("signer", "GET", wire.Path(wire.PathExport, "ci-none"), nil), wire.KeyNotFound)
	refused(t, n.ask("nobody", "GET", path, nil), wire.Denied)
	if v := get[wire.List[wire.Version]](t, n.ask("signer", "GET", wire.Path(wire.PathVersions, "ci"), nil)); len(v.Items) != 1 || !strings.HasPrefix(v.Items[0].Instances[0].PEM+v.Items[0].Instances[1].PEM, "-----BEGIN") {
		t.Errorf("versions = %+v", v)
	}
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.KeyCompromise}))
	refused(t, n.ask("signer", "GET", path+"?kid="+i.KID, nil), wire.InstanceNotFound)
}

func TestStatus(t *testing.T) {
	seconds := func(n int) *time.Duration { d := time.Duration(n) * time.Second; return &d }
	var status ClusterStatus
	n := start(t, func(c *Config) { c.Cluster = func(context.Context) ClusterStatus { return status } })
	n.create(createCI)
	healthy := NodeHealth{State: "follower", LeaseUsable: true, Keystore: hsm.Health{OK: true}, AppliedIndex: 7, Staleness: seconds(0)}
	status.Nodes = map[lifecycle.NodeID]NodeHealth{n.ledger.NodeID(): healthy, ledgertest.NodeID("node2"): healthy}
	s := get[wire.Status](t, n.ask("signer", "GET", wire.PathStatus, nil))
	if s.Leader != "n1" || len(s.Nodes) != 2 || s.Keys.Total != 1 || len(s.Problems) != 0 || s.AnsweredBy != "n1" || s.Quorum.Voters != 1 || s.Nodes[0].StalenessMS == nil {
		t.Errorf("status = %+v", s)
	}
	sick := healthy
	sick.Keystore, sick.Missing, sick.Orphans, sick.ClockOffset, sick.CertExpiresAt = hsm.Health{Why: "token gone"}, 1, 2, seconds(-9), n.clock.Now().Add(time.Hour)
	status.Nodes = map[lifecycle.NodeID]NodeHealth{n.ledger.NodeID(): sick}
	n.clock.Advance(100 * 24 * time.Hour)
	n.ledger.Must(t, &command.AdvanceClock{Readings: []command.ClockReading{{Node: n.ledger.NodeID(), At: n.clock.At()}}})
	n.ledger.Must(t, &command.AddToken{ID: "token-late", Principal: "admin", Hash: tokenHash("chy_late"), ExpiresAt: n.clock.At().Add(lifecycle.Day)})
	secrets["late"] = "chy_late"
	defer delete(secrets, "late")
	n.ledger.Must(t, &command.CreateKey{Name: "ci-new", Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "x", Reason: "y",
		Policy: lifecycle.DefaultPolicy(lifecycle.ForArtifact, lifecycle.ES256), Instances: []command.Intent{{Node: n.ledger.NodeID(), CKAID: ledgertest.CKAID("a")}}})
	n.ledger.Must(t, &command.ReportCondition{Key: "ci", Version: 1, Node: n.ledger.NodeID(), Condition: lifecycle.Lost, Detail: "wiped"})
	n.ledger.SetLeader(false)
	s = get[wire.Status](t, n.ask("late", "GET", wire.PathStatus, nil))
	want := []string{"keystore_failed", "instances_missing", "orphans", "clock_off", "certificate_expiring", "node_unreachable", "rotation_overdue", "no_active_version", "instance_lost"}
	found, seenWarning := map[string]bool{}, false
	for _, p := range s.Problems {
		found[p.Code] = true
		if p.Message == "" || p.Hint == "" {
			t.Errorf("problem without a way out: %+v", p)
		}
		if p.Severity == wire.Critical && seenWarning {
			t.Errorf("%s is critical and stands below a warning", p.Code)
		}
		seenWarning = seenWarning || p.Severity == wire.Warning
	}
	for _, code := range want {
		if !found[code] {
			t.Errorf("problem %s is missing: %+v", code, s.Problems)
		}
	}
	if s.Keys.Overdue != 1 || s.Keys.WithoutActive != 1 {
		t.Errorf("keys = %+v", s.Keys)
	}
	refused(t, n.ask("", "GET", wire.PathStatus, nil), wire.Unauthenticated)
}

func tokenHash(secret string) []byte {
	h := authority.HashToken(secret)
	return h[:]
}

func TestReports(t *testing.T) {
	n := start(t)
	k := createCI
	k.Owner = "=HYPERLINK()"
	n.create(k)
	l := get[wire.List[wire.InventoryItem]](t, n.ask("auditor", "GET", wire.PathInventory, nil))
	if len(l.Items) != 2 || l.Items[0].Key != "ci" {
		t.Errorf("inventory = %+v", l.Items)
	}
	r := n.ask("auditor", "GET", wire.PathInventory+"?format=csv", nil)
	if !strings.HasPrefix(string(r.body), "key,purpose,") || !strings.Contains(string(r.body), ",'=HYPERLINK()") || strings.Count(string(r.body), "\n") != 3 {
		t.Errorf("csv = %s", r.body)
	}
	refused(t, n.ask("auditor", "GET", wire.PathInventory+"?format=xml", nil), wire.Invalid)
	refused(t, n.ask("signer", "GET", wire.PathInventory, nil), wire.Denied)

	a := get[wire.List[wire.AuditRecord]](t, n.ask("auditor", "GET", wire.PathAudit+"?principal=admin&limit=1", nil))
	if len(a.Items) != 1 || a.Items[0].Verb != "key.create" || !a.Items[0].Allowed || a.Next == "" {
		t.Errorf("audit = %+v", a)
	}
	refused(t, n.ask("signer", "GET", wire.PathAudit, nil), wire.Denied)
	refused(t, n.ask("auditor", "GET", wire.PathAudit+"?since=yesterday", nil), wire.Invalid)
	if c := get[wire.AuditCheck](t, n.ask("auditor", "GET", wire.PathAuditCheck, nil)); !c.OK || c.Records == 0 || len(c.Head) != 64 {
		t.Errorf("audit check = %+v", c)
	}
	log := get[wire.List[wire.LogEntry]](t, n.ask("auditor", "GET", wire.PathLog+"?limit=3", nil))
	if len(log.Items) != 3 || log.Next != "3" || !strings.HasPrefix(log.Items[0].Leaf, "chancery-log/1\n") || log.Items[0].Event.Kind != "cluster.created" {
		t.Errorf("log = %+v", log)
	}
	if rest := get[wire.List[wire.LogEntry]](t, n.ask("auditor", "GET", wire.PathLog+"?cursor=3", nil)); rest.Items[0].Number != 3 {
		t.Errorf("the next page begins at %d", rest.Items[0].Number)
	}
	refused(t, n.ask("signer", "GET", wire.PathLog, nil), wire.Denied)
	proofs(t, n, log.Items)

	if r := n.ask("admin", "GET", wire.PathSnapshot, nil); string(r.body) != "a snapshot" || r.header.Get("Content-Type") != wire.TypeBinary {
		t.Errorf("snapshot: %d %s", r.status, r.body)
	}
	refused(t, n.ask("auditor", "GET", wire.PathSnapshot, nil), wire.Denied)
}

// TestOpenAPI holds that the description names every route, and only types that it
// describes.
func TestOpenAPI(t *testing.T) {
	n := start(t)
	r := n.ask("", "GET", wire.PathOpenAPI, nil)
	d := get[map[string]any](t, r)
	paths := d["paths"].(map[string]any)
	for _, rt := range routes() {
		p, ok := paths[rt.pattern].(map[string]any)
		if !ok || p[strings.ToLower(rt.method)] == nil {
			t.Errorf("%s %s is not described", rt.method, rt.pattern)
		}
		if rt.summary == "" || rt.name == "" {
			t.Errorf("%s %s has no name or summary", rt.method, rt.pattern)
		}
	}
	schemas := d["components"].(map[string]any)["schemas"].(map[string]any)
	for _, part := range strings.Split(string(r.body), `"$ref": "#/components/schemas/`)[1:] {
		if name, _, _ := strings.Cut(part, `"`); schemas[name] == nil {
			t.Errorf("schema %s is named and not described", name)
		}
	}
	op := schemas["Operation"].(map[string]any)["properties"].(map[string]any)
	if op["reached"] == nil || op["blast_radius"] == nil {
		b, _ := json.Marshal(op)
		t.Errorf("Operation = %s", b)
	}
}

// proofs of the log are checked with the library's own functions, which client uses too.
func proofs(t *testing.T, n *node, leaves []wire.LogEntry) {
	t.Helper()
	hashes := func(raw [][]byte) (out []tlog.Hash) {
		for _, h := range raw {
			out = append(out, tlog.Hash(h))
		}
		return out
	}
	p := get[wire.LogProof](t, n.ask("auditor", "GET", wire.PathLogProof+"?leaf=2&old_size=2", nil))
	size, root := int64(p.Position.LogSize), tlog.Hash(p.Position.LogRoot)
	if err := tlog.CheckRecord(hashes(p.Inclusion), size, root, 2, tlog.RecordHash([]byte(leaves[2].Leaf))); err != nil || *p.Leaf != 2 {
		t.Errorf("leaf 2: %v in %+v", err, p)
	}
	first, second := tlog.RecordHash([]byte(leaves[0].Leaf)), tlog.RecordHash([]byte(leaves[1].Leaf))
	if err := tlog.CheckTree(hashes(p.Consistency), size, root, 2, tlog.NodeHash(first, second)); err != nil || *p.OldSize != 2 {
		t.Errorf("the log of two leaves: %v in %+v", err, p)
	}
	if p := get[wire.LogProof](t, n.ask("auditor", "GET", fmt.Sprintf("%s?old_size=%d", wire.PathLogProof, size), nil)); p.Consistency != nil || p.Leaf != nil {
		t.Errorf("the log itself: %+v", p)
	}
	for _, query := range []string{"", "?leaf=-1", "?leaf=x", "?old_size=0", "?old_size=1000000", "?size=1"} {
		refused(t, n.ask("auditor", "GET", wire.PathLogProof+query, nil), wire.Invalid)
	}
	refused(t, n.ask("auditor", "GET", wire.PathLogProof+"?leaf=1000000", nil), wire.NotFound)
	refused(t, n.ask("signer", "GET", wire.PathLogProof+"?leaf=0", nil), wire.Denied)
}
