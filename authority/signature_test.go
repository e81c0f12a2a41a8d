package authority_test

import (
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestRecordSignatures lets a node write what its instances signed, each request
// judged by itself, and nobody else.
func TestRecordSignatures(t *testing.T) {
	w := build(t)
	w.create("ci")
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "ci*"}}}})
	hash := authority.HashToken("chy_robot")
	w.ledger.Must(t, &command.AddToken{ID: "token-robot", Principal: "robot", Hash: hash[:], ExpiresAt: w.ledger.Clock().At().Add(lifecycle.Day)})
	sum := sha256.Sum256([]byte("x"))
	group := func(change func(*command.SignatureGroup)) command.SignatureGroup {
		g := command.SignatureGroup{Key: "ci", Version: 1, KID: w.ledger.View().Instance("ci", 1, w.node2).KID, Principal: "robot", RequestID: "r",
			Items: []command.SignatureItem{{TBS: sum[:], Sig: sum[:]}}}
		if change != nil {
			change(&g)
		}
		return g
	}
	peer := w.service.Peer(w.node2, "192.0.2.2:1")
	o, err := peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2, Groups: []command.SignatureGroup{
		group(nil),
		group(func(g *command.SignatureGroup) { g.Principal = "admin" }), // an admin is no signer
		group(func(g *command.SignatureGroup) { g.TokenID = "token-robot" }),
		group(func(g *command.SignatureGroup) { g.TokenID, g.Principal = "token-robot", "op" }),
		group(func(g *command.SignatureGroup) { g.KID = w.ledger.View().Instance("ci", 1, w.ledger.NodeID()).KID }), // another node's instance
		group(func(g *command.SignatureGroup) { g.Principal = "nobody" }),
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []state.Code{"", state.Denied, "", state.Denied, state.InstanceNotHere, state.Denied}
	if len(o.Groups) != len(want) || o.Index == 0 {
		t.Fatalf("outcome = %+v", o)
	}
	for i, g := range o.Groups {
		if g.Code != want[i] || (g.Code != "") != (g.Detail != "") {
			t.Errorf("group %d: %+v, want %q", i, g, want[i])
		}
	}
	before := w.ledger.View().Position()
	for name, try := range map[string]func() (want string, err error){
		"of another node": func() (want string, err error) {
			_, err = peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.ledger.NodeID(), Groups: []command.SignatureGroup{group(nil)}})
			return "denied", err
		},
		"of a stranger": func() (want string, err error) {
			_, err = w.service.Peer("feed", "").RecordSignatures(ctx, &command.RecordSignatures{Node: "feed", Groups: []command.SignatureGroup{group(nil)}})
			return "denied", err
		},
		"nothing": func() (want string, err error) {
			_, err = peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2})
			return "invalid", err
		},
		"a short hash": func() (want string, err error) {
			_, err = peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2, Groups: []command.SignatureGroup{group(func(g *command.SignatureGroup) { g.Items[0].Sig = sum[:9] })}})
			return "invalid", err
		},
	} {
		want, err := try()
		t.Run(name, func(t *testing.T) { code(t, err, want) })
	}
	// Refused groups alone make no entry.
	if o, err := peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2, Groups: []command.SignatureGroup{group(func(g *command.SignatureGroup) { g.Principal = "op" })}}); err != nil || o.Groups[0].Code != state.Denied {
		t.Errorf("outcome = %+v, %v", o, err)
	}
	if now := w.ledger.View().Position(); now != before {
		t.Errorf("the log grew from %d to %d", before.Index, now.Index)
	}
	// The order of the log decides: a revocation that comes between look and entry wins.
	w.race.before = func() {
		w.race.before = nil
		w.ledger.Must(t, &command.RevokePrincipal{Name: "robot"})
	}
	if o, err := peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2, Groups: []command.SignatureGroup{group(nil)}}); err != nil || o.Groups[0].Code != state.Denied {
		t.Errorf("after a revocation in between: %+v, %v", o, err)
	}
	w.ledger.SetLeader(false)
	if _, err := peer.RecordSignatures(ctx, &command.RecordSignatures{Node: w.node2, Groups: []command.SignatureGroup{group(nil)}}); !errors.Is(err, ledger.ErrNotLeader) {
		t.Errorf("on a follower: %v", err)
	}
}

// TestSeals: a node tells of its own seals, an admin lifts them.
func TestSeals(t *testing.T) {
	w := build(t)
	peer := w.service.Peer(w.node2, "")
	report := func(id string, key lifecycle.KeyID) command.ReportSeal {
		return command.ReportSeal{Node: w.node2, ID: id, Key: key, Reason: "drill", By: "uid 0", SealedAt: w.ledger.Clock().At()}
	}
	one, two := report("0000000000000001", "ci"), report("0000000000000002", "")
	_, err := w.service.Peer(w.ledger.NodeID(), "").ReportSeal(ctx, &one)
	code(t, err, "denied")
	for range 2 { // a report that was heard and not answered is repeated
		if _, err := peer.ReportSeal(ctx, &one); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.ledger.View().Node(w.node2); len(n.Seals) != 1 || n.SealedFor("ci") == nil || n.SealedFor("other") != nil {
		t.Fatalf("seals = %+v", n.Seals)
	}
	for who, want := range map[string]string{"op": "denied", "aud": "denied", "gone": "denied", "nobody": "denied"} {
		_, err := w.service.UnsealNode(ctx, as(who), "node2", "", "over")
		code(t, err, want)
	}
	_, err = w.service.UnsealNode(ctx, as("admin"), "node2", "", "")
	code(t, err, "invalid")
	_, err = w.service.UnsealNode(ctx, as("admin"), "none", "", "over")
	code(t, err, string(state.NodeNotFound))
	_, err = w.service.UnsealNode(ctx, as("admin"), "n1", "", "over")
	code(t, err, string(state.SealNotFound))
	if _, err := peer.ReportSeal(ctx, &two); err != nil {
		t.Fatal(err)
	}
	_, err = w.service.UnsealNode(ctx, as("admin"), "node2", "", "over") // which of the two?
	code(t, err, "invalid")
	for _, id := range []string{one.ID, ""} {
		if _, err := w.service.UnsealNode(ctx, as("admin"), "node2", id, "over"); err != nil {
			t.Fatal(err)
		}
	}
	n := w.ledger.View().Node(w.node2)
	if n.SealedFor("ci") != nil || n.Seal(one.ID).LiftedBy != "admin" {
		t.Errorf("seals = %+v", n.Seals)
	}
	// A lifted seal stays lifted, however late its report is repeated.
	_, err = peer.ReportSeal(ctx, &one)
	code(t, err, string(state.IllegalTransition))
}
