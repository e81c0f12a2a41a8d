package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

var fenceEnd = wire.AsTime(time.Date(2026, 1, 2, 2, 41, 9, 412e6, time.UTC))

// pendingOn is a withdrawal that n1 has acknowledged and n3 was not heard about.
func pendingOn(id string) wire.Operation {
	return wire.Operation{RequestID: id, Verb: "revoke", Key: "ci", Versions: []uint64{3}, Reached: wire.Committed,
		Committed: &wire.Reached{At: fenceEnd, Index: 9}, Fenced: &wire.Reached{By: fenceEnd}, Settled: &wire.Reached{By: fenceEnd},
		Nodes: []wire.NodeOutcome{{Node: "n1", Outcome: wire.Acked, At: fenceEnd, MS: 4}, {Node: "n3", Outcome: wire.Pending, By: fenceEnd}}}
}

// TestRunNotFencedInTime: exit 3, and which node is missing until when.
func TestRunNotFencedInTime(t *testing.T) {
	asked := map[string]bool{}
	node := func(w http.ResponseWriter, r *http.Request) {
		asked[r.Method+" "+r.URL.Query().Get(wire.QueryWait)] = true
		respond(w, pendingOn("r-1"))
	}
	for _, command := range []string{"key revoke ci --reason keyCompromise", "key suspend ci", "key deactivate ci", "principal revoke bob", "token revoke t1",
		"node quarantine n3", "node remove n3 --yes", "principal add bob --replace"} {
		got := against(t, node, command+" --timeout 300ms")
		if got.code != exitUnavailable || !strings.Contains(got.err, "n3: not heard; its lease ends at the latest at 2026-01-02T02:41:09.412Z") ||
			!strings.Contains(got.err, "it goes on") || !strings.Contains(got.err, "chancery wait r-1 --for fenced") || !strings.Contains(got.out, "pending, by 2026-01-02T02:41:09.412Z at the latest") {
			t.Errorf("%s: %+v", command, got)
		}
		if strings.Contains(got.err, "n1: not heard") {
			t.Errorf("%s: who has acknowledged is called missing: %s", command, got.err)
		}
	}
	if !asked["POST fenced"] || !asked["GET fenced"] || len(asked) != 2 {
		t.Errorf("asked %v", asked)
	}
	got := against(t, node, "wait r-1 --for settled --timeout 300ms -o json")
	var e cliError
	if err := json.Unmarshal([]byte(got.err), &e); err != nil || got.code != exitUnavailable || e.Operation == nil || len(e.Operation.Missing()) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunWaitLevels(t *testing.T) {
	level := ""
	node := func(w http.ResponseWriter, r *http.Request) {
		level = r.URL.Query().Get(wire.QueryWait)
		op := pendingOn("r-1")
		if level == wire.Settled {
			op.Reached, op.Complete, op.Fenced.At, op.Settled.At, op.Nodes[1].Outcome = wire.Settled, true, fenceEnd, fenceEnd, wire.LeaseExpired
		}
		respond(w, op)
	}
	if got := against(t, node, "key revoke ci --reason keyCompromise --wait committed"); got.code != exitDone || level != wire.Committed {
		t.Errorf("committed, asked for %q: %+v", level, got)
	}
	if got := against(t, node, "key revoke ci --reason keyCompromise --wait settled"); got.code != exitDone || level != wire.Settled || !strings.Contains(got.out, "lease_expired") {
		t.Errorf("settled, asked for %q: %+v", level, got)
	}
	for _, command := range []string{"key revoke ci --reason keyCompromise --wait fencd", "key suspend ci --wait active", "node quarantine n3 --wait prepared", "token revoke t1 --wait x", "wait r-1 --for happy",
		"key revoke ci --reason bored", "key rotate ci --wait fenced"} {
		level = "not asked"
		if got := against(t, node, command); got.code != exitUsage || level != "not asked" {
			t.Errorf("%s, asked for %q: %+v", command, level, got)
		}
	}
}

// TestRunWithoutLeader: exit 3, and the hint of the node that answered, whatever the
// others do.
func TestRunWithoutLeader(t *testing.T) {
	refuse := wire.Errorf(wire.NotLeader, "no leader is known to this node: nothing was done").
		WithHint("run on each node: chancery seal --local --key ci --reason R; leases end: n1 at 02:41:09.412Z")
	got := against(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(refuse.HTTPStatus())
		respond(w, refuse)
	}, "key revoke ci --reason keyCompromise --timeout 500ms --addr http://127.0.0.1:1 -o json")
	var e cliError
	if err := json.Unmarshal([]byte(got.err), &e); err != nil || got.code != exitUnavailable || e.Code != string(wire.NotLeader) || e.Hint != refuse.Hint {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRunShowsFences(t *testing.T) {
	left := int64(2400)
	st := wire.Status{Cluster: "prod", OpenFences: []wire.OpenFence{{Index: 9, Cause: "key.revoked", Key: "ci", Versions: []uint64{3}, OpenedAt: fenceEnd, Nodes: pendingOn("").Nodes}},
		Nodes: []wire.NodeStatus{{Node: "n1", Lease: wire.Lease{Usable: true, ExpiresInMS: &left}}, {Node: "n3", Lease: wire.Lease{Why: "no leader reachable"}}}}
	got := against(t, func(w http.ResponseWriter, r *http.Request) { respond(w, st) }, "status")
	for _, want := range []string{"open fence: entry 9, key.revoked ci/3, since", "n3 pending, by 2026-01-02T02:41:09.412Z", "yes, 2400 ms", "no: no leader reachable"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("status lacks %q: %s", want, got.out)
		}
	}
	l := wire.List[wire.Event]{Items: []wire.Event{{Kind: "key.fenced", Key: "ci", Version: 3, Index: 10,
		Data: map[string]any{"fence": 9, "nodes": []wire.FencedNode{{Node: "n1", Outcome: wire.Acked}, {Node: "n3", Outcome: wire.LeaseExpired}}}}}}
	got = against(t, func(w http.ResponseWriter, r *http.Request) { respond(w, l) }, "events --key ci")
	if !strings.Contains(got.out, "n1 acked, n3 lease_expired") {
		t.Errorf("events: %s", got.out)
	}
}
