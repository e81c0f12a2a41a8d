package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

var replaceCI = wire.Replace{Emergency: true, Reason: lifecycle.KeyCompromise, Comment: "INC-4411"}

// TestReplaceLevelByLevel: the end of the old version and the beginning of the new one,
// from the verb, from the operation, and from a repeat.
func TestReplaceLevelByLevel(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.hold()
	id := newID()
	ask := func(query string) (wire.Operation, reply) {
		t.Helper()
		r := n.ask("admin", "POST", wire.Path(wire.PathReplace, "ci")+query, replaceCI, wire.HeaderRequestID, id)
		return get[wire.Operation](t, r), r
	}
	op, r := ask("?within=30ms")
	if r.status != http.StatusAccepted || op.Verb != "replace" || op.Reached != wire.Committed || op.Complete || fmt.Sprint(op.Versions, op.NewVersion) != "[1] 2" {
		t.Fatalf("nobody has acknowledged, and the answer is %d %s", r.status, r.body)
	}
	if op.Fenced.At != 0 || op.Fenced.By == 0 || op.Active.At != 0 || op.Published.At != 0 || len(op.WaitsFor) == 0 {
		t.Errorf("nothing is made and nothing is fenced: %s", r.body)
	}
	for _, want := range []string{"chancery wait " + id + " --for fenced", "chancery wait " + id + " --for active"} {
		if !slices.Contains(op.Next, want) {
			t.Errorf("next = %v, want %q", op.Next, want)
		}
	}
	for _, o := range op.Nodes {
		if o.Outcome != wire.Pending || o.Instance == nil || o.Instance.Condition != lifecycle.Pending || o.Instance.At != 0 {
			t.Errorf("%s: %+v, %+v", o.Node, o, o.Instance)
		}
	}

	n.bind("ci", 2) // on n1; node2 is away
	show := func(query string) (wire.Operation, reply) {
		t.Helper()
		r := n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+query, nil)
		return get[wire.Operation](t, r), r
	}
	op, r = show("?wait=active")
	if r.status != http.StatusOK || op.Reached != wire.Committed || op.Active.At == 0 || op.Published.At == 0 || op.Published.CachesExpireBy["jwks"] <= op.Published.At || len(op.WaitsFor) != 0 {
		t.Errorf("the new version signs before the old one is fenced = %d %s", r.status, r.body)
	}
	if one := op.Nodes[0]; len(op.Nodes) != 2 || one.Node != "n1" || one.Outcome != wire.Pending || one.Instance.KID == "" || !one.Instance.MaySign {
		t.Errorf("n1 = %+v, %+v", one, one.Instance)
	}
	n.fence()
	if op, _ = show("?wait=fenced"); op.Reached != wire.Fenced || op.Complete || op.Nodes[1].Outcome != wire.LeaseExpired || op.Nodes[1].Instance.Condition != lifecycle.Pending {
		t.Errorf("fenced = %+v", op)
	}
	n.ledger.HoldSettling(false)
	if op, r = show("?wait=settled"); op.Reached != wire.AllConfirmed || !op.Complete || op.Settled.At == 0 {
		t.Errorf("all is done but for a node that is away = %d %s", r.status, r.body)
	}
	if op, r = ask(""); r.header.Get(wire.HeaderReplayed) != "true" || !op.Complete || op.NewVersion != 2 || n.ledger.View().Key("ci").Newest != 2 {
		t.Errorf("a repeat = %d %s", r.status, r.body)
	}
	if op, _ = show(""); op.Reason != lifecycle.KeyCompromise || op.Comment != "INC-4411" {
		t.Errorf("as remembered = %+v", op)
	}
	h := get[wire.List[wire.Event]](t, n.ask("admin", "GET", wire.Path(wire.PathHistory, "ci"), nil))
	if !slices.ContainsFunc(h.Items, func(e wire.Event) bool {
		return e.Kind == "key.replaced" && e.Version == 2 && e.Reason == "keyCompromise" && strings.HasSuffix(e.Detail, "INC-4411")
	}) {
		t.Errorf("history = %+v", h.Items)
	}
}

// TestReplacedVersionEnds: the new version is revoked before it was made. Nothing is
// waited for any more.
func TestReplacedVersionEnds(t *testing.T) {
	n := start(t)
	n.create(createCI)
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathReplace, "ci"), replaceCI))
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), revokeCI))
	r := n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID)+"?wait=active", nil)
	if op = get[wire.Operation](t, r); op.Active.At != 0 || !op.Complete || len(op.WaitsFor) != 0 {
		t.Errorf("%d %s", r.status, r.body)
	}
}

func TestReplacePlan(t *testing.T) {
	n := start(t, func(c *Config) {
		c.Cluster = func(context.Context) ClusterStatus {
			return ClusterStatus{Nodes: map[lifecycle.NodeID]NodeHealth{ledgertest.NodeID("n1"): {State: "leader"}, ledgertest.NodeID("node2"): {State: unreachable}}}
		}
	})
	n.create(createCI)
	before := n.ledger.View().Position()
	r := n.ask("admin", "POST", wire.Path(wire.PathReplace, "ci")+"?plan=true", replaceCI)
	op := get[wire.Operation](t, r)
	if !op.Plan || fmt.Sprint(op.Versions, op.NewVersion) != "[1] 2" || op.Committed.WithinMS == 0 || op.Fenced.WithinMS != 4250 || op.Settled.WithinMS <= op.Fenced.WithinMS || op.Published.WithinMS == 0 {
		t.Errorf("plan = %s", r.body)
	}
	if b := op.BlastRadius; b == nil || b.Consumers == nil || !b.Complete || b.Unknown != nil {
		t.Errorf("blast radius = %+v", b)
	}
	if len(op.Nodes) != 2 || op.Nodes[0].Instance == nil || op.Nodes[1].Outcome != wire.LeaseExpired || op.Nodes[1].Instance == nil {
		t.Errorf("nodes = %+v", op.Nodes)
	}
	said := strings.Join(op.Effects, "\n")
	for _, want := range []string{"versions [1] of ci would become compromised", "n1, node2 would each make a key pair for version 2", "node2 would join when it is back"} {
		if !strings.Contains(said, want) {
			t.Errorf("effects: %s\nwant %q", said, want)
		}
	}
	if strings.Contains(said, "nothing would sign") {
		t.Errorf("effects of a revocation: %s", said)
	}
	if n.ledger.View().Position() != before {
		t.Error("a plan changed something")
	}
}

func TestReplaceRefused(t *testing.T) {
	n := start(t)
	n.create(createCI)
	path := wire.Path(wire.PathReplace, "ci")
	refused(t, n.ask("admin", "POST", path, wire.Replace{Reason: lifecycle.KeyCompromise}), wire.Invalid)
	refused(t, n.ask("admin", "POST", path, wire.Replace{Emergency: true}), wire.Invalid)
	refused(t, n.ask("admin", "POST", path, wire.Replace{Emergency: true, Reason: lifecycle.CertificateHold}), wire.Invalid)
	refused(t, n.ask("admin", "POST", path, wire.Replace{Emergency: true, Reason: lifecycle.KeyCompromise, Versions: []uint64{7}}), wire.VersionNotFound)
	refused(t, n.ask("admin", "POST", path, wire.Replace{Emergency: true, Reason: lifecycle.KeyCompromise, CompromisedSince: wire.Time(n.clock.At().Add(lifecycle.Hour))}), wire.Invalid)
	refused(t, n.ask("admin", "POST", path+"?wait=destroyed", replaceCI), wire.Invalid)
	refused(t, n.ask("signer", "POST", path, replaceCI), wire.Denied)
	refused(t, n.ask("", "POST", path, replaceCI), wire.Unauthenticated)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathReplace, "nosuch"), replaceCI), wire.KeyNotFound)
	if n.ledger.View().Version("ci", 1).State != lifecycle.Active {
		t.Error("a refusal changed something")
	}
	get[wire.Operation](t, n.ask("admin", "POST", path, replaceCI))
	if e := refused(t, n.ask("admin", "POST", path, replaceCI), wire.AlreadyReplaced); !strings.Contains(e.Hint, "--version 2") {
		t.Errorf("a second alarm: %+v", e)
	}
}

// register makes a consumer of ci with one instance.
func (n *node) register(name string, class lifecycle.ConsumerClass) {
	n.t.Helper()
	n.ledger.Must(n.t, &command.RegisterConsumer{
		Consumer: command.ConsumerRecord{Name: name, Owner: "o@example.com", Contact: "phone 1", Class: class, Expect: 1,
			Keys: []lifecycle.KeyID{"ci"}, Lifetime: lifecycle.Day},
		Enrolment: command.Enrolment{Hash: make([]byte, 32), ExpiresAt: n.clock.At().Add(lifecycle.Day)}})
}

// confirm lets a consumer say that it has loaded the public keys of one version, proven.
func (n *node) confirm(consumer string, version uint64) {
	n.t.Helper()
	n.clock.Advance(time.Millisecond)
	set := command.LoadedSet{Key: "ci", Digest: "sha256:" + strings.Repeat("ab", 32)}
	var proven []uint64
	for _, i := range n.ledger.View().Instances("ci", version) {
		if i.KID != "" {
			set.KIDs, proven = append(set.KIDs, i.KID), append(proven, uint64(len(proven)))
		}
	}
	slices.Sort(set.KIDs)
	cmd := n.ledger.Command(&command.RecordConfirmations{Sets: []command.LoadedSet{set}, Items: []command.ConfirmationItem{{Consumer: consumer, Instance: "one", Proven: proven}}})
	cmd.Header.Actor = "system"
	if o, err := n.ledger.Propose(context.Background(), cmd); err != nil || !o.OK() || o.Groups[0].Code != "" {
		n.t.Fatalf("confirm: %+v, %v", o, err)
	}
}

func names(list []wire.Dependent) (out []string) {
	for _, d := range list {
		out = append(out, d.Name)
	}
	return out
}

// TestWhoStillTrusts: consumers delay nothing, and it is told who has to be called.
func TestWhoStillTrusts(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.register("deploy", lifecycle.Required)
	n.register("mirror", lifecycle.Advisory)
	n.confirm("deploy", 1)
	path := wire.Path(wire.PathReplace, "ci")
	plan := get[wire.Operation](t, n.ask("admin", "POST", path+"?plan=true", replaceCI))
	if b := plan.BlastRadius.Consumers; len(b) != 2 || b[0].Name != "deploy" || b[0].Class != "required" || b[0].Owner != "o@example.com" || b[0].Contact == "" || b[0].LastSeenAt == 0 || b[1].LastSeenAt != 0 {
		t.Errorf("blast radius = %+v", b)
	}
	id := newID()
	get[wire.Operation](t, n.ask("admin", "POST", path, replaceCI, wire.HeaderRequestID, id))
	n.bind("ci", 2)
	show := func(query string) wire.Operation {
		t.Helper()
		return get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+query, nil))
	}
	op := show("?wait=active")
	if fmt.Sprint(names(op.StillTrusting)) != "[deploy mirror]" || op.Active.At == 0 || op.Confirmed.At != 0 || op.Complete || op.Reached != wire.Activated {
		t.Errorf("nobody has followed: %+v", op)
	}
	if w := op.WaitsFor; len(w) != 1 || w[0].Kind != "consumer" || w[0].Name != "deploy" || w[0].Owner != "o@example.com" || w[0].Since == 0 {
		t.Errorf("waits for %+v", w)
	}
	if r := n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+"?wait=confirmed&within=30ms", nil); r.status != http.StatusAccepted {
		t.Errorf("confirmed by nobody = %d %s", r.status, r.body)
	}
	n.confirm("deploy", 2)
	if op = show("?wait=confirmed"); op.Confirmed.At == 0 || op.Confirmed.At < op.Active.At || !op.Complete || op.Reached != wire.AllConfirmed || fmt.Sprint(names(op.StillTrusting)) != "[mirror]" || len(op.WaitsFor) != 0 {
		t.Errorf("whoever is required has followed: %+v", op)
	}

	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), revokeCI))
	if fmt.Sprint(names(op.StillTrusting)) != "[deploy mirror]" {
		t.Errorf("a revocation = %+v", op.StillTrusting)
	}
	n.create(wire.CreateKey{Name: "ci-2", Purpose: lifecycle.ForArtifact, Alg: lifecycle.ES256, Owner: "o", BusinessReason: "r"})
	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci-2"), revokeCI))
	if op.StillTrusting == nil || len(op.StillTrusting) != 0 {
		t.Errorf("nobody depends on it: %+v", op.StillTrusting)
	}
}

// TestBlastRadiusCounts signatures as the nodes account for them, and says what it does
// not know.
func TestBlastRadiusCounts(t *testing.T) {
	two := ledgertest.NodeID("node2")
	n := start(t)
	k := createCI
	k.Policy = []byte(`{"lead":"0s"}`)
	n.create(k)
	i := n.ledger.View().Instance("ci", 1, two)
	n.ledger.Must(t, &command.BindInstance{Key: "ci", Version: 1, Node: two, CKAID: i.CKAID, SPKI: []byte("of node2"), KID: strings.Repeat("k", 43), Driver: "soft"})
	admitted := n.ledger.View().Instance("ci", 1, two).AdmittedAt
	radius := func(since lifecycle.Instant) *wire.BlastRadius {
		t.Helper()
		r := replaceCI
		r.CompromisedSince = wire.Time(since)
		return get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathReplace, "ci")+"?plan=true", r)).BlastRadius
	}
	says := func(b *wire.BlastRadius, want string) {
		t.Helper()
		if b.Complete || len(b.Unknown) != 1 || !strings.Contains(b.Unknown[0], want) {
			t.Errorf("it says %v, want %q", b.Unknown, want)
		}
	}
	says(radius(0), "node2 has not accounted for its own yet")

	n.clock.Advance(10 * time.Second)
	last := n.clock.At()
	n.ledger.Must(t, &command.ReportTally{Node: two, Seq: 1, Hash: make([]byte, 32), At: last,
		Items: []command.TallyItem{{Key: "ci", Version: 1, KID: strings.Repeat("k", 43), Released: 5, Open: 1, LastAt: last}}})
	if b := radius(0); b.SignaturesSince != 6 || !b.Complete {
		t.Errorf("since ever: %+v", b)
	}
	if b := radius(admitted); b.SignaturesSince != 6 || !b.Complete {
		t.Errorf("since it signs: %+v", b)
	}
	b := radius(last - 1)
	if says(b, "counted from "+admitted.String()); b.SignaturesSince != 6 {
		t.Errorf("since in between: %+v", b)
	}
	n.clock.Advance(10 * time.Second)
	if b := radius(last + 1); b.SignaturesSince != 0 || !b.Complete {
		t.Errorf("since after the last: %+v", b)
	}
	n.clock.Advance(time.Minute)
	says(radius(0), "those of node2 are known to "+last.String())

	get[wire.Signature](t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci"), wire.SignRequest{Message: []byte("x")}))
	if b := radius(0); b.SignaturesSince != 7 {
		t.Errorf("with one of this node's own: %+v", b)
	}
}
