package api

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

var (
	revokeCI = wire.Revoke{Reason: lifecycle.KeyCompromise, Comment: "INC-4411"}
	ends     = map[string]lifecycle.FenceOutcome{"n1": lifecycle.Acked, "node2": lifecycle.LeaseExpired}
)

// hold keeps fences open, and what is fenced from being settled.
func (n *node) hold() {
	n.ledger.HoldFences(true)
	n.ledger.HoldSettling(true)
	n.ledger.Unreachable(ledgertest.NodeID("node2"))
}

// fence lets open fences stand: n1 has acknowledged, the lease of node2 has run out.
func (n *node) fence() {
	n.ledger.HoldFences(false)
	n.ledger.HoldFences(true)
}

// TestRevokeLevelByLevel is the revoke object at each of its levels, from the verb,
// from the operation, and from a repeat.
func TestRevokeLevelByLevel(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.hold()
	id := newID()
	ask := func(query string) (wire.Operation, reply) {
		t.Helper()
		r := n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+query, revokeCI, wire.HeaderRequestID, id)
		return get[wire.Operation](t, r), r
	}
	op, r := ask("?wait=fenced&within=30ms")
	if r.status != http.StatusAccepted || op.Reached != wire.Committed || op.Complete || op.Committed.At == 0 || op.Committed.Index == 0 {
		t.Fatalf("nobody has acknowledged, and the answer is %d %s", r.status, r.body)
	}
	if op.Fenced.At != 0 || op.Fenced.By == 0 || op.Settled.At != 0 || op.Settled.By <= op.Fenced.By {
		t.Errorf("bounds: fenced %+v, settled %+v", op.Fenced, op.Settled)
	}
	if missing := op.Missing(); len(op.Nodes) != 2 || len(missing) != 2 || missing[0].By == 0 || missing[0].At != 0 || missing[0].By >= op.Fenced.By {
		t.Errorf("nodes = %+v", op.Nodes)
	}
	if !slices.Contains(op.Next, "chancery wait "+id+" --for fenced") {
		t.Errorf("next = %v", op.Next)
	}
	if !strings.Contains(string(r.body), `"settled":{"at":null,"by":"`) || !strings.Contains(string(r.body), `"consumers_still_trusting":[]`) {
		t.Errorf("the shape has changed: %s", r.body)
	}

	n.fence()
	show := func(query string) (wire.Operation, reply) {
		t.Helper()
		r := n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+query, nil)
		return get[wire.Operation](t, r), r
	}
	op, r = show("?wait=fenced")
	if r.status != http.StatusOK || op.Reached != wire.Fenced || op.Complete || op.Fenced.At == 0 || op.Fenced.Index != op.Committed.Index+1 || op.Fenced.By != 0 {
		t.Errorf("fenced = %d %s", r.status, r.body)
	}
	if len(op.Nodes) != 2 || op.Nodes[0].Node != "n1" || len(op.Missing()) != 0 || op.Settled.By == 0 {
		t.Errorf("nodes = %+v, settled %+v", op.Nodes, op.Settled)
	}
	for _, o := range op.Nodes {
		if want := string(ends[o.Node]); o.Outcome != want || o.At == 0 {
			t.Errorf("%s = %+v, want %s", o.Node, o, want)
		}
	}
	if op, r = show("?wait=settled&within=30ms"); r.status != http.StatusAccepted || op.Reached != wire.Fenced {
		t.Errorf("not settled yet = %d %s", r.status, r.body)
	}
	n.ledger.HoldSettling(false)
	if op, r = show("?wait=settled"); r.status != http.StatusOK || op.Reached != wire.Settled || !op.Complete || op.Settled.At == 0 {
		t.Errorf("settled = %d %s", r.status, r.body)
	}
	op, r = ask("?wait=settled")
	if r.header.Get(wire.HeaderReplayed) != "true" || op.Reached != wire.Settled || len(op.Nodes) != 2 {
		t.Errorf("a repeat = %d %s", r.status, r.body)
	}
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+"?wait=prepared", nil), wire.Invalid)
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathOperation, id)+"?wait=fencd", nil), wire.Invalid)
}

// TestNarrowingWaitsByDefault: whoever names no level is answered when it is fenced.
func TestNarrowingWaitsByDefault(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.hold()
	p := n.ledger.View().Key("ci").Policy
	p.Inputs = []string{lifecycle.InputDigest}
	for _, verb := range []struct {
		name, method, path string
		body               any
		headers            []string
	}{
		{"policy set", "PUT", wire.Path(wire.PathPolicy, "ci"), wire.SetPolicy{Policy: p}, []string{"If-Match", wire.ETag(n.ledger.View().Key("ci").PolicyVersion)}},
		{"suspend", "POST", wire.Path(wire.PathSuspend, "ci"), wire.VersionVerb{}, nil},
		{"revoke", "POST", wire.Path(wire.PathRevoke, "ci"), revokeCI, nil},
		{"token revoke", "POST", wire.Path(wire.PathRevokeToken, "token-nobody"), struct{}{}, nil},
		{"principal revoke", "POST", wire.Path(wire.PathRevokePrincipal, "signer"), struct{}{}, nil},
		{"principal add", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "auditor", Kind: lifecycle.Service, Roles: []string{"signer:none"}, Replace: true}, nil},
		{"node quarantine", "POST", wire.Path(wire.PathQuarantine, "node2"), wire.Quarantine{Reason: "drill"}, nil},
	} {
		done := make(chan reply, 1)
		go func() { done <- n.ask("admin", verb.method, verb.path, verb.body, verb.headers...) }()
		var index uint64
		select {
		case r := <-done:
			t.Errorf("%s was answered before it was fenced: %d %s", verb.name, r.status, r.body)
			continue
		case index = <-n.whenOpened():
		}
		n.fence()
		op := get[wire.Operation](t, <-done)
		if op.Verb != verb.name && !(verb.name == "node quarantine") || op.Reached != wire.Fenced || op.Complete || op.Committed.Index != index {
			t.Errorf("%s = %+v", verb.name, op)
		}
	}
}

// whenOpened is opened for a select.
func (n *node) whenOpened() <-chan uint64 {
	out := make(chan uint64, 1)
	go func() {
		defer close(out)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			v := n.ledger.View()
			if open := v.OpenFences(); len(open) > 0 {
				out <- open[0].Index
				return
			}
			select {
			case <-n.ledger.Changed(v.Position().Index):
			case <-time.After(time.Until(deadline)):
			}
		}
	}()
	return out
}

// TestWideningEndsWithItsEntry: what takes nothing away has nothing to wait for.
func TestWideningEndsWithItsEntry(t *testing.T) {
	n := start(t)
	n.create(createCI)
	p := n.ledger.View().Key("ci").Policy
	p.Inputs = append(slices.Clone(p.Inputs), lifecycle.InputJWS)
	r := n.ask("admin", "PUT", wire.Path(wire.PathPolicy, "ci")+"?wait=settled", wire.SetPolicy{Policy: p}, "If-Match", wire.ETag(n.ledger.View().Key("ci").PolicyVersion))
	op := get[wire.Operation](t, r)
	if r.status != http.StatusOK || !op.Complete || op.Reached != wire.Committed || op.Fenced != nil {
		t.Errorf("a wider policy = %d %s", r.status, r.body)
	}
	if op = get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID)+"?wait=fenced", nil)); !op.Complete {
		t.Errorf("as remembered: %+v", op)
	}
	op = get[wire.Operation](t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "fresh", Roles: []string{"signer:ci-*"}}))
	if !op.Complete {
		t.Errorf("a new principal = %+v", op)
	}
}

// TestUnknownLevels are refused before anything is done.
func TestUnknownLevels(t *testing.T) {
	n := start(t)
	n.create(createCI)
	before := n.ledger.View().Position().Index
	for _, query := range []string{"?wait=fencd", "?wait=prepared", "?wait=fenced&within=-1s", "?wait=fenced&wait=settled"} {
		refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+query, revokeCI), wire.Invalid)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci")+"?wait=fenced", wire.Rotate{}), wire.Invalid)
	if after := n.ledger.View().Position().Index; after != before {
		t.Errorf("%d entries were made by requests that were refused", after-before)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ghost"), revokeCI), wire.KeyNotFound)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.Superseded, Versions: []uint64{9}}), wire.VersionNotFound)
}

// TestPlanShowsBounds: every verb that takes a right away says how long it would take,
// and on which node, and changes nothing.
func TestPlanShowsBounds(t *testing.T) {
	two := ledgertest.NodeID("node2")
	n := start(t, func(c *Config) {
		c.Cluster = func(context.Context) ClusterStatus {
			return ClusterStatus{Nodes: map[lifecycle.NodeID]NodeHealth{ledgertest.NodeID("n1"): {State: "leader"}, two: {State: "unreachable"}}}
		}
	})
	n.create(createCI)
	before := n.ledger.View().Position().Index
	for path, body := range map[string]any{
		wire.Path(wire.PathRevoke, "ci"):               revokeCI,
		wire.Path(wire.PathSuspend, "ci"):              wire.VersionVerb{},
		wire.Path(wire.PathDeactivate, "ci"):           wire.VersionVerb{},
		wire.Path(wire.PathRevokePrincipal, "signer"):  struct{}{},
		wire.Path(wire.PathRevokeToken, "token-admin"): struct{}{},
		wire.Path(wire.PathQuarantine, "node2"):        wire.Quarantine{},
		wire.Path(wire.PathRemoveNode, "node2"):        wire.RemoveNode{Lost: true},
	} {
		op := get[wire.Operation](t, n.ask("admin", "POST", path+"?plan=true", body))
		if !op.Plan || op.Fenced == nil || op.Fenced.WithinMS != 4250 || op.Settled.WithinMS <= op.Fenced.WithinMS || op.Committed.WithinMS == 0 || op.BlastRadius == nil && op.Loss == nil || op.Reached != "" {
			t.Errorf("%s = %+v", path, op)
			continue
		}
		want := map[string]string{"n1": wire.Acked, "node2": wire.LeaseExpired}
		for _, o := range op.Nodes {
			if o.Outcome != want[o.Node] || o.WithinMS == 0 || o.WithinMS > op.Fenced.WithinMS {
				t.Errorf("%s: %+v", path, o)
			}
		}
		if len(op.Nodes) != 2 {
			t.Errorf("%s: nodes %+v", path, op.Nodes)
		}
	}
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+"?plan=true", revokeCI))
	if op.Published == nil || op.Published.WithinMS == 0 || op.StillTrusting == nil {
		t.Errorf("published = %+v", op.Published)
	}
	if after := n.ledger.View().Position().Index; after != before {
		t.Errorf("plans made %d entries", after-before)
	}
}

// TestRemoveWaitsForTheFence: a node leaves when it has certainly stopped, not before.
func TestRemoveWaitsForTheFence(t *testing.T) {
	n := start(t)
	n.hold()
	path := wire.Path(wire.PathRemoveNode, "node2")
	e := refused(t, n.ask("admin", "POST", path+"?within=30ms", wire.RemoveNode{Lost: true}), wire.NotFenced)
	if e.HTTPStatus() != http.StatusConflict || !strings.Contains(e.Hint, "chancery node show node2") {
		t.Errorf("refused with %+v", e)
	}
	if len(n.members.calls) != 0 {
		t.Fatalf("the Raft configuration was changed before the fence: %v", n.members.calls)
	}
	shown := get[wire.Node](t, n.ask("admin", "GET", wire.Path(wire.PathNode, "node2"), nil))
	if shown.Status != lifecycle.Quarantined || shown.Fence == nil || shown.Fence.At != 0 || shown.Fence.By == 0 {
		t.Errorf("node show = %+v", shown)
	}
	n.fence()
	if shown = get[wire.Node](t, n.ask("admin", "GET", wire.Path(wire.PathNode, "node2"), nil)); shown.Fence == nil || shown.Fence.At == 0 {
		t.Errorf("node show after the fence = %+v", shown)
	}
	op := get[wire.Operation](t, n.ask("admin", "POST", path, wire.RemoveNode{Lost: true}))
	if !op.Complete || len(n.members.calls) != 1 || n.ledger.View().NodeByName("node2") != nil && n.ledger.View().NodeByName("node2").Status != lifecycle.Removed {
		t.Errorf("removed = %+v, calls %v", op, n.members.calls)
	}
}

// TestFenceEvents: the stream carries how the right ended on each node, by name.
func TestFenceEvents(t *testing.T) {
	n := start(t)
	n.create(createCI)
	n.hold()
	stream, stop := n.follow("admin", "?kind=key&key=ci")
	defer stop()
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+"?wait=committed", revokeCI))
	n.fence()
	n.ledger.HoldSettling(false)
	if e := next(t, stream); e.kind != "key.revoked" {
		t.Errorf("first %s", e.kind)
	}
	e := next(t, stream)
	nodes, _ := e.event.Data["nodes"].([]any)
	if e.kind != "key.fenced" || e.event.Key != "ci" || e.event.Version != 1 || len(nodes) != 2 || e.event.Data["fence"] != float64(op.Committed.Index) {
		t.Fatalf("fenced = %+v", e)
	}
	for _, x := range nodes {
		m, _ := x.(map[string]any)
		name, _ := m["node"].(string)
		if m["outcome"] != string(ends[name]) || m["at"] == nil {
			t.Errorf("node of the event = %v", m)
		}
	}
	if e := next(t, stream); e.kind != "key.settled" {
		t.Errorf("last %s", e.kind)
	}
}

// TestStatusShowsOpenFences: with who is pending, and as a problem when it takes too long.
func TestStatusShowsOpenFences(t *testing.T) {
	n1, two := ledgertest.NodeID("n1"), ledgertest.NodeID("node2")
	left := 2400 * time.Millisecond
	n := start(t, func(c *Config) {
		c.Cluster = func(context.Context) ClusterStatus {
			return ClusterStatus{Nodes: map[lifecycle.NodeID]NodeHealth{n1: {State: "leader", LeaseUsable: true, LeaseExpires: &left}, two: {State: "follower", LeaseWhy: "clock rate"}}}
		}
		c.Fencing = func(uint64) []FenceProgress {
			return []FenceProgress{{Node: n1, Outcome: lifecycle.Acked, At: c.Clock()}, {Node: two, By: c.Clock().Add(time.Second)}}
		}
	})
	n.create(createCI)
	n.hold()
	status := func(as string) wire.Status { return get[wire.Status](t, n.ask(as, "GET", wire.PathStatus, nil)) }
	if s := status("admin"); s.OpenFences == nil || len(s.OpenFences) != 0 {
		t.Errorf("open fences = %+v", s.OpenFences)
	}
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci")+"?wait=committed", revokeCI))
	s := status("admin")
	if len(s.OpenFences) != 1 {
		t.Fatalf("open fences = %+v", s.OpenFences)
	}
	f := s.OpenFences[0]
	if f.Index != op.Committed.Index || f.Key != "ci" || !slices.Equal(f.Versions, []uint64{1}) || f.Cause != "key.revoked" || f.OpenedAt == 0 || f.By == 0 ||
		!slices.Equal(f.WaitsFor, []string{"node2"}) || len(f.Nodes) != 2 || string(f.RequestID) != op.RequestID {
		t.Errorf("open fence = %+v", f)
	}
	if p := problem(s, "fence_open"); p != nil {
		t.Errorf("a young fence is a problem: %+v", p)
	}
	if p := problem(s, "no_lease"); p == nil || p.Subject != "node2" || !strings.Contains(p.Message, "clock rate") || p.Hint == "" {
		t.Errorf("a node without a lease = %+v", p)
	}
	if l := s.Nodes[0].Lease; s.Nodes[0].Node == "n1" && (!l.Usable || l.ExpiresInMS == nil || *l.ExpiresInMS != 2400) {
		t.Errorf("lease = %+v", l)
	}
	n.clock.Advance(11 * time.Second)
	s = status("admin")
	if p := problem(s, "fence_open"); p == nil || p.Severity != wire.Critical || !strings.Contains(p.Message, "node2") || p.Hint != "chancery wait "+op.RequestID+" --for fenced" {
		t.Errorf("an old fence = %+v", s.Problems)
	}
	n.fence()
	if s := status("admin"); len(s.OpenFences) != 0 {
		t.Errorf("after it was fenced: %+v", s.OpenFences)
	}
}

func problem(s wire.Status, code string) *wire.Problem {
	for i := range s.Problems {
		if s.Problems[i].Code == code {
			return &s.Problems[i]
		}
	}
	return nil
}

// TestWithdrawWithoutLeader: nothing can be withdrawn, and the answer says what can be done.
func TestWithdrawWithoutLeader(t *testing.T) {
	left := 1500 * time.Millisecond
	n := start(t, func(c *Config) {
		c.Cluster = func(context.Context) ClusterStatus {
			return ClusterStatus{Nodes: map[lifecycle.NodeID]NodeHealth{ledgertest.NodeID("n1"): {State: "candidate", LeaseUsable: true, LeaseExpires: &left}}}
		}
	})
	n.create(createCI)
	n.ledger.SetLeader(false)
	r := n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), revokeCI)
	e := refused(t, r, wire.NotLeader)
	until := wire.AsTime(n.clock.Now().Add(left)).String()
	if r.status != http.StatusServiceUnavailable || !strings.Contains(e.Hint, "chancery seal --local --key ci --reason") ||
		!strings.Contains(e.Hint, "n1 at "+until) || !strings.Contains(e.Hint, "node2 is not heard") {
		t.Errorf("refused with %d, hint %s", r.status, e.Hint)
	}
	if e = refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevokePrincipal, "signer"), struct{}{}), wire.NotLeader); !strings.Contains(e.Hint, "chancery seal --local --reason") {
		t.Errorf("a principal: hint %s", e.Hint)
	}
	if e = refused(t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci"), wire.Rotate{}), wire.NotLeader); strings.Contains(e.Hint, "seal") {
		t.Errorf("a rotation: hint %s", e.Hint)
	}
}

func TestWithdrawalMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := start(t, func(c *Config) { c.Metrics = reg })
	n.create(createCI)
	n.hold()
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathSuspend, "ci")+"?wait=fenced&within=30ms", wire.VersionVerb{}))
	if op.Reached != wire.Committed {
		t.Fatalf("reached %s", op.Reached)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]uint64{}
	for _, f := range families {
		if f.GetName() != "chancery_transport_withdrawal_seconds" {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			seen[strings.Join(labels, " ")] += m.GetHistogram().GetSampleCount()
		}
	}
	if seen["committed true"] != 1 || seen["fenced false"] != 1 || len(seen) != 2 {
		t.Errorf("observed %v", seen)
	}
}

// TestStatusOfAnOldState: a cluster in trouble is what one looks at the status for. It
// is answered from what is there, marked, unless the caller asks for more.
func TestStatusOfAnOldState(t *testing.T) {
	n := start(t)
	n.ledger.SetStale(true)
	s := get[wire.Status](t, n.ask("admin", "GET", wire.PathStatus, nil))
	if s.Freshness != wire.Stale {
		t.Errorf("freshness = %s", s.Freshness)
	}
	refused(t, n.ask("admin", "GET", wire.PathStatus, nil, wire.HeaderConsistency, wire.Bounded), wire.IsStale)
	refused(t, n.ask("admin", "GET", wire.PathKeys, nil), wire.IsStale)
	refused(t, n.ask("nobody", "GET", wire.PathStatus, nil), wire.Denied)
}
