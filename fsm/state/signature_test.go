package state_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// signed is a request that had so many things signed.
func signed(k lifecycle.KeyID, n uint64, kid, principal string, items int) command.SignatureGroup {
	g := command.SignatureGroup{Key: k, Version: n, KID: kid, Principal: principal, RequestID: "request-1"}
	for i := range items {
		tbs, sig := sha256.Sum256([]byte(fmt.Sprint("tbs", i))), sha256.Sum256([]byte(fmt.Sprint("sig", i)))
		g.Items = append(g.Items, command.SignatureItem{TBS: tbs[:], Sig: sig[:]})
	}
	return g
}

// signWorld has version 2 active, version 1 deactivated, and bob with a token who may sign.
func signWorld(t testing.TB) *world {
	w := newWorld(t).deactivated(1)
	w.ok(signer("bob", "ci*", certA))
	w.ok(w.token("token-bob-1", "bob"))
	return w
}

func (w *world) group(items int) command.SignatureGroup {
	g := signed(ci, 2, w.instance(2, 0).KID, "bob", items)
	g.TokenID = "token-bob-1"
	return g
}

func TestRecordSignatures(t *testing.T) {
	w := signWorld(t)
	small, large, foreign := w.group(1), w.group(100), w.group(1)
	foreign.Principal, foreign.TokenID = "mallory", ""
	before, size := w.rows(), w.l.View().Position().LogSize
	o := w.ok(&command.RecordSignatures{Node: w.nodes[0], Groups: []command.SignatureGroup{small, foreign, large}})
	if len(o.Groups) != 3 || o.Groups[0] != (state.GroupOutcome{}) || o.Groups[1].Code != state.Denied || o.Groups[1].Detail == "" || o.Groups[2].Code != "" {
		t.Fatalf("outcome %+v", o)
	}
	if after := w.rows(); after != before {
		t.Errorf("rows were written:\n%s", diff(before, after))
	}
	var leaves []*state.Leaf
	if err := w.l.View().Leaves(size, func(_ uint64, l *state.Leaf, _ []byte) bool { leaves = append(leaves, l); return true }); err != nil {
		t.Fatal(err)
	}
	if len(leaves) != 2 {
		t.Fatalf("%d leaves for two requests", len(leaves))
	}
	for i, g := range []command.SignatureGroup{small, large} {
		l, h := leaves[i], sha256.New()
		for _, it := range g.Items {
			h.Write(append(bytes.Clone(it.TBS), it.Sig...))
		}
		if l.Kind != "signature.recorded" || l.Key != ci || l.Version != 2 || l.KID != g.KID || l.Node != w.nodes[0] || l.Actor != "bob" ||
			l.RequestID != g.RequestID || l.Count != len(g.Items) || l.Digest != hex.EncodeToString(h.Sum(nil)) || l.Index != o.Index || l.Sub != i {
			t.Errorf("leaf %+v", l)
		}
		if want := min(len(g.Items), 64); len(l.Items) != want || !bytes.Equal(l.Items[want-1].Sig, g.Items[want-1].Sig) {
			t.Errorf("%d items in the leaf of %d", len(l.Items), len(g.Items))
		}
	}
}

// rows is every row that the digest covers.
func (w *world) rows() string {
	var b bytes.Buffer
	for _, table := range state.Tables {
		if table.Digested() {
			w.l.Rows().Ascend(table, "", func(key string, row []byte) bool {
				fmt.Fprintf(&b, "%s %q %x\n", table, key, row)
				return true
			})
		}
	}
	return b.String()
}

// TestSignatureIsRefused whenever any part of the right to it is gone at the entry
// that would record it.
func TestSignatureIsRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		first func(*world)
		group func(*world, *command.SignatureGroup)
		node  int
		want  state.Code
	}{
		{name: "as it is"},
		{name: "without a token", group: func(_ *world, g *command.SignatureGroup) { g.TokenID = "" }},
		{name: "no such key", group: func(_ *world, g *command.SignatureGroup) { g.Key = "other" }, want: state.KeyNotFound},
		{name: "no such version", group: func(_ *world, g *command.SignatureGroup) { g.Version = 7 }, want: state.VersionNotFound},
		{name: "a version before the one that signs", group: func(w *world, g *command.SignatureGroup) { g.Version, g.KID = 1, w.instance(1, 0).KID }, want: state.Conflict},
		{name: "being replaced", first: func(w *world) { w.ok(emergency(w, 3)) }, want: state.BeingReplaced},
		{name: "replaced", first: func(w *world) {
			w.ok(emergency(w, 3))
			w.ok(bind(ci, 3, w.nodes[0]))
		}, want: state.Conflict},
		{name: "another node's instance", node: 1, want: state.InstanceNotHere},
		{name: "another instance's kid", group: func(w *world, g *command.SignatureGroup) { g.KID = w.instance(2, 1).KID }, want: state.InstanceNotHere},
		{name: "an unknown node", node: -1, want: state.InstanceNotHere},
		{name: "suspended", first: func(w *world) { w.ok(suspend(2)) }, want: state.KeySuspended},
		{name: "deactivated", first: func(w *world) { w.ok(deactivate(2)) }, want: state.NoActiveVersion},
		{name: "revoked", first: func(w *world) { w.ok(revoke(lifecycle.Superseded)) }, want: state.KeyRevoked},
		{name: "compromised", first: func(w *world) { w.ok(revoke(lifecycle.KeyCompromise, 2)) }, want: state.KeyRevoked},
		{name: "instance revoked", first: func(w *world) {
			w.ok(&command.Revoke{Key: ci, Node: w.nodes[0], Reason: lifecycle.Unspecified})
		}, want: state.InstanceNotHere},
		{name: "instance lost", first: func(w *world) { w.ok(report(w.nodes[0], 2, lifecycle.Lost)) }, want: state.InstanceNotHere},
		{name: "quarantined", first: func(w *world) { w.quarantine(0) }, want: state.InstanceNotHere},
		{name: "no signer", first: func(w *world) { w.ok(&command.SetNodeRoles{ID: w.nodes[0], Voter: true}) }, want: state.InstanceNotHere},
		{name: "sealed", first: func(w *world) { w.ok(w.sealing(0, 1, "")) }, want: state.Sealed},
		{name: "sealed for the key", first: func(w *world) { w.ok(w.sealing(0, 1, ci)) }, want: state.Sealed},
		{name: "sealed for another key", first: func(w *world) { w.ok(w.sealing(0, 1, "other")) }},
		{name: "seal lifted", first: func(w *world) { w.ok(w.sealing(0, 1, "")); w.ok(&command.LiftSeal{Node: w.nodes[0], ID: sealID(1)}) }},
		{name: "principal revoked", first: func(w *world) { w.ok(&command.RevokePrincipal{Name: "bob"}) }, want: state.Denied},
		{name: "role taken", first: func(w *world) { w.ok(replace(signer("bob", "x-*", certA))) }, want: state.Denied},
		{name: "an admin is no signer", group: func(_ *world, g *command.SignatureGroup) { g.Principal, g.TokenID = "admin", "" }, want: state.Denied},
		{name: "left out of the callers", first: func(w *world) {
			p := w.l.View().Key(ci).Policy
			p.AllowedCallers = []string{"alice", "bo"}
			w.ok(&command.SetPolicy{Key: ci, Policy: p})
		}, want: state.Denied},
		{name: "token revoked", first: func(w *world) { w.ok(&command.RevokeToken{ID: "token-bob-1"}) }, want: state.Denied},
		{name: "token expired", first: func(w *world) { w.pass(lifecycle.Day + lifecycle.Second) }, want: state.Denied},
		{name: "no such token", group: func(_ *world, g *command.SignatureGroup) { g.TokenID = "token-bob-2" }, want: state.Denied},
		{name: "somebody else's token", first: func(w *world) { w.ok(w.token("token-eve-1", "admin")) },
			group: func(_ *world, g *command.SignatureGroup) { g.TokenID = "token-eve-1" }, want: state.Denied},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := signWorld(t)
			g := w.group(1)
			if c.first != nil {
				c.first(w)
			}
			if c.group != nil {
				c.group(w, &g)
			}
			node := lifecycle.NodeID("00" + string(w.nodes[0][2:]))
			if c.node >= 0 {
				node = w.nodes[c.node]
			}
			size := w.l.View().Position().LogSize
			o := w.ok(&command.RecordSignatures{Node: node, Groups: []command.SignatureGroup{g}})
			if len(o.Groups) != 1 || o.Groups[0].Code != c.want || (o.Groups[0].Detail == "") != (c.want == "") {
				t.Errorf("outcome %+v, want %q", o.Groups, c.want)
			}
			if grown := w.l.View().Position().LogSize > size; grown != (c.want == "") {
				t.Errorf("recorded: %t", grown)
			}
		})
	}
}
