package state_test

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func (w *world) quarantine(node int) {
	w.Helper()
	w.ok(&command.SetNodeStatus{ID: w.nodes[node], Status: lifecycle.Quarantined, Reason: "test"})
}

func (w *world) remove(node int) {
	w.Helper()
	w.quarantine(node)
	w.ok(&command.SetNodeStatus{ID: w.nodes[node], Status: lifecycle.Removed, Reason: "test"})
}

// rejoin removes a node and lets the same identity in again.
func (w *world) rejoin(node int) {
	w.Helper()
	name := w.l.View().Node(w.nodes[node]).Name
	w.remove(node)
	w.ok(joinToken(w, "again-"+name))
	w.ok(&command.JoinNode{TokenID: "again-" + name, Node: ledgertest.Record(w.nodes[node], name)})
	w.ok(&command.SetNodeRoles{ID: w.nodes[node], Signer: true})
}

func joinToken(w *world, id string) *command.AddJoinToken {
	key := sha256.Sum256([]byte(id))
	return &command.AddJoinToken{ID: id, MACKey: key[:], ExpiresAt: w.l.Clock().At().Add(lifecycle.Hour)}
}

func TestJoin(t *testing.T) {
	w := newWorld(t)
	id := ledgertest.NodeID("delta")
	join := &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(id, "delta")}
	w.no(state.TokenNotFound, join)
	w.ok(joinToken(w, "token-0001"))
	w.no(state.AlreadyExists, joinToken(w, "token-0001"))
	w.ok(join)
	n := w.l.View().Node(id)
	if n.Status != lifecycle.Member || n.Voter || n.Signer || n.Signs() || n.Name != "delta" {
		t.Errorf("node %+v", n)
	}
	w.no(state.TokenSpent, join)
	if used := w.l.View().JoinToken("token-0001").UsedBy; used != id {
		t.Errorf("the token was used by %q", used)
	}
}

func TestJoinRefusals(t *testing.T) {
	w := newWorld(t)
	late := joinToken(w, "token-late")
	late.ExpiresAt = w.l.Clock().At()
	w.no(state.TokenExpired, late)
	w.ok(joinToken(w, "token-0001"))
	w.no(state.AlreadyExists, &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(ledgertest.NodeID("delta"), "beta")})
	w.no(state.AlreadyExists, &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(w.nodes[1], "beta")})
	w.no(state.AlreadyExists, &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(w.nodes[1], "delta")})
	w.pass(lifecycle.Hour + 1)
	w.no(state.TokenExpired, &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(ledgertest.NodeID("delta"), "delta")})
}

// TestJoinOfAnOlderProgram: it could not read the log.
func TestJoinOfAnOlderProgram(t *testing.T) {
	w := newWorld(t)
	w.ok(&command.RaiseFormat{Format: command.MaxFormat})
	w.ok(joinToken(w, "token-0001"))
	old := &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(ledgertest.NodeID("old"), "old")}
	old.Node.MaxFormat = command.MaxFormat - 1
	w.no(state.FormatRefused, old)
	old.Node.MaxFormat = command.MaxFormat
	w.ok(old)
}

func TestTheClusterHasALimit(t *testing.T) {
	w := newWorld(t)
	for i := len(w.nodes); i < command.MaxNodes; i++ {
		ledgertest.Join(t, w.l, fmt.Sprint("more-", i))
	}
	w.ok(joinToken(w, "token-0001"))
	join := &command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(ledgertest.NodeID("last"), "last")}
	w.no(state.LimitReached, join)
	w.remove(2)
	w.ok(join)
}

func TestUpdateNode(t *testing.T) {
	w := newWorld(t)
	up := &command.UpdateNode{ID: w.nodes[1], Addrs: lifecycle.Addrs{Node: "n:1", API: "n:2", Public: "n:3"}, MaxFormat: 4, Version: "9", Driver: "pkcs11"}
	w.ok(&command.SetNodeRoles{ID: w.nodes[1], Voter: true, Signer: true})
	w.ok(up)
	n := w.l.View().Node(w.nodes[1])
	if n.Addrs.Node != "n:1" || n.MaxFormat != 4 || n.Version != "9" || n.Driver != "pkcs11" || !n.Voter || n.Name != "beta" {
		t.Errorf("node %+v", n)
	}
	w.no(state.NodeNotFound, &command.UpdateNode{ID: ledgertest.NodeID("stranger"), Addrs: up.Addrs, MaxFormat: 1})
	w.remove(1)
	w.no(state.NodeNotMember, up)
}

// TestRebuild: a wiped data directory is a new server without a vote, and keeps
// the instances, which live in its HSM.
func TestRebuild(t *testing.T) {
	w := newWorld(t).active(1)
	w.ok(&command.SetNodeRoles{ID: w.nodes[1], Voter: true, Signer: true})
	old := w.l.View().Node(w.nodes[1])
	w.ok(&command.UpdateNode{ID: old.ID, Addrs: old.Addrs, MaxFormat: 1, Incarnation: "aaaabbbbccccdddd"})
	n := w.l.View().Node(w.nodes[1])
	if n.ServerID() == old.ServerID() || n.Voter || !n.Signer || n.Status != lifecycle.Member {
		t.Errorf("node %+v", n)
	}
	w.signs(1, 0, 1, 2)
	w.ok(&command.SetNodeRoles{ID: w.nodes[1], Voter: true, Signer: true})
	w.ok(&command.UpdateNode{ID: old.ID, Addrs: old.Addrs, MaxFormat: 1, Incarnation: "aaaabbbbccccdddd"})
	if !w.l.View().Node(w.nodes[1]).Voter {
		t.Error("the same incarnation again cost the vote")
	}
}

func TestStatusOfNodes(t *testing.T) {
	w := newWorld(t).active(1)
	set := func(s lifecycle.NodeStatus) *command.SetNodeStatus {
		return &command.SetNodeStatus{ID: w.nodes[1], Status: s}
	}
	w.no(state.NodeNotFound, &command.SetNodeStatus{ID: ledgertest.NodeID("stranger"), Status: lifecycle.Quarantined})
	w.no(state.IllegalTransition, set(lifecycle.Member))
	w.no(state.NodeNotQuarantine, set(lifecycle.Removed))
	w.ok(set(lifecycle.Quarantined))
	if w.l.View().Node(w.nodes[1]).Signs() {
		t.Error("a quarantined node signs")
	}
	w.ok(set(lifecycle.Member))
	if !w.l.View().Node(w.nodes[1]).Signs() {
		t.Error("a readmitted node does not sign")
	}
	w.ok(set(lifecycle.Quarantined))
	w.ok(set(lifecycle.Removed))
	n := w.l.View().Node(w.nodes[1])
	if n.Voter || n.Signer || n.RemovedAt == 0 {
		t.Errorf("node %+v", n)
	}
	w.signs(1, 0, 2)
	w.trusts(1, 0, 1, 2)
	for _, s := range []lifecycle.NodeStatus{lifecycle.Member, lifecycle.Quarantined, lifecycle.Removed} {
		w.no(state.NodeNotMember, set(s))
	}
	w.no(state.NodeNotMember, &command.SetNodeRoles{ID: w.nodes[1], Signer: true})
	w.no(state.NodeNotMember, report(w.nodes[1], 1, lifecycle.Ready))
}

// TestRemovedNodeLosesWhatItHeld in every version of every key, pending ones too.
func TestRemovedNodeLosesWhatItHeld(t *testing.T) {
	w := newWorld(t).active(1).prepared(2)
	w.ok(newKey("other", w.nodes[1]))
	w.remove(1)
	for _, i := range []*lifecycle.Instance{w.instance(1, 1), w.instance(2, 1), w.l.View().Instance("other", 1, w.nodes[1])} {
		if i.Condition != lifecycle.Lost {
			t.Errorf("instance %s/%d is %s", i.Key, i.Version, i.Condition)
		}
	}
	if w.instance(1, 0).Condition != lifecycle.Ready || w.instance(2, 0).Condition != lifecycle.Pending {
		t.Error("another node lost its instances too")
	}
}

func TestNamesOfNodes(t *testing.T) {
	w := newWorld(t)
	v := w.l.View()
	if n := v.NodeByName("beta"); n == nil || n.ID != w.nodes[1] {
		t.Errorf("beta is %+v", n)
	}
	if n := v.NodeByName(string(w.nodes[1][:8])); n == nil || n.ID != w.nodes[1] {
		t.Errorf("by a prefix of its id: %+v", n)
	}
	if v.NodeByName(string(w.nodes[1][:7])) != nil || v.NodeByName("nobody") != nil {
		t.Error("a short prefix, or a stranger, names a node")
	}
	w.remove(1)
	w.ok(joinToken(w, "token-0001"))
	w.ok(&command.JoinNode{TokenID: "token-0001", Node: ledgertest.Record(ledgertest.NodeID("new"), "beta")})
	if n := w.l.View().NodeByName("beta"); n.ID != ledgertest.NodeID("new") {
		t.Errorf("beta is still the removed node %s", n.ID.Short())
	}
}
