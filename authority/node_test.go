package authority_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestJoin(t *testing.T) {
	w := build(t)
	_, secret, err := w.service.CreateJoinToken(ctx, as("admin"), 0)
	if err != nil {
		t.Fatal(err)
	}
	cluster := w.ledger.View().Cluster().ID
	rec := ledgertest.Record(ledgertest.NodeID("node3"), "node3")
	proof := authority.JoinProof(authority.JoinMACKey(secret.Secret), cluster, rec)

	other := rec
	other.Addrs.API = "evil.test:1"
	wrong := secret
	wrong.Secret[0] ^= 1
	for name, try := range map[string]func() error{
		"another record": func() error { _, err := w.service.Join(ctx, secret.ID, other, proof, ""); return err },
		"another token":  func() error { _, err := w.service.Join(ctx, "00000000", rec, proof, ""); return err },
		"another secret": func() error {
			_, err := w.service.Join(ctx, secret.ID, rec, authority.JoinProof(authority.JoinMACKey(wrong.Secret), cluster, rec), "")
			return err
		},
		"another cluster": func() error {
			_, err := w.service.Join(ctx, secret.ID, rec, authority.JoinProof(authority.JoinMACKey(secret.Secret), "x", rec), "")
			return err
		},
		"no proof": func() error { _, err := w.service.Join(ctx, secret.ID, rec, nil, ""); return err },
	} {
		if err := try(); !errors.Is(err, authority.ErrUnauthenticated) {
			t.Errorf("%s = %v", name, err)
		}
	}
	if len(w.members.calls) != 0 || w.ledger.View().NodeByName("node3") != nil {
		t.Fatal("somebody without a proof was let in")
	}
	if _, err := w.service.Join(ctx, secret.ID, rec, proof, ""); err != nil {
		t.Fatal(err)
	}
	if n := w.ledger.View().NodeByName("node3"); n == nil || n.Voter || n.Signer || len(w.members.calls) != 1 || w.members.calls[0] != "nonvoter "+n.ServerID() {
		t.Errorf("joined = %+v, %v", n, w.members.calls)
	}
	if _, err = w.service.Join(ctx, secret.ID, rec, proof, ""); err == nil {
		t.Error("a token let two in")
	}
	for _, ttl := range []lifecycle.Milliseconds{-1, 1, 2 * lifecycle.Day} {
		_, _, err := w.service.CreateJoinToken(ctx, as("admin"), ttl)
		code(t, err, "invalid")
	}
	// The same request again tells the outcome and never the secret.
	req := as("admin")
	if _, s, err := w.service.CreateJoinToken(ctx, req, 0); err != nil || s.ID == "" {
		t.Fatal(err)
	}
	if r, s, err := w.service.CreateJoinToken(ctx, req, 0); err != nil || s != (authority.JoinSecret{}) || !r.Outcome.Replayed {
		t.Errorf("a repeat = %+v, %v", r, err)
	}
}

func TestJoinTokenText(t *testing.T) {
	w := build(t)
	_, secret, err := w.service.CreateJoinToken(ctx, as("admin"), 0)
	if err != nil {
		t.Fatal(err)
	}
	text := authority.NewJoinToken(w.ledger.View(), secret).Encode()
	if !strings.HasPrefix(text, authority.JoinTokenPrefix) {
		t.Errorf("token = %s", text)
	}
}

func TestNodeRoles(t *testing.T) {
	w := build(t)
	if _, err := w.service.PromoteNode(ctx, as("admin"), "node2", true, false); err != nil {
		t.Fatal(err)
	}
	n := w.ledger.View().Node(w.node2)
	if !n.Voter || !n.Signer || w.members.calls[0] != "voter "+n.ServerID() {
		t.Errorf("promoted = %+v, %v", n, w.members.calls)
	}
	_, err := w.service.PromoteNode(ctx, as("admin"), "ghost", true, false)
	code(t, err, string(state.NodeNotFound))
	w.members.fail = errDisk
	if _, err := w.service.RemoveNode(ctx, as("admin"), authority.RemoveSpec{Node: "node2", Patience: time.Second}); !errors.Is(err, errDisk) {
		t.Errorf("the Raft configuration could not be changed, and removal = %v", err)
	}
	if n := w.ledger.View().Node(w.node2); n.Status != lifecycle.Quarantined {
		t.Errorf("after a failed removal the node is %s", n.Status)
	}
	w.members.fail = nil
	if _, err := w.service.QuarantineNode(ctx, as("admin"), "node2", "", true); err != nil {
		t.Fatal(err)
	}
	if _, err := w.service.RemoveNode(ctx, as("admin"), authority.RemoveSpec{Node: "node2", Reason: "gone", Lost: true, Patience: time.Second}); err != nil {
		t.Fatal(err)
	}
	if n := w.ledger.View().Node(w.node2); n.Status != lifecycle.Removed {
		t.Errorf("removed = %s", n.Status)
	}
	_, err = w.service.RemoveNode(ctx, as("admin"), authority.RemoveSpec{Node: "n1"})
	code(t, err, "leader_cannot_leave")
	_, err = w.service.TransferLeadership(ctx, as("admin"), "node2")
	code(t, err, "not_a_voter")
}

func TestLastVoterStays(t *testing.T) {
	w := build(t)
	w.ledger.Must(t, &command.SetNodeRoles{ID: w.node2, Voter: true, Signer: true})
	w.ledger.Must(t, &command.SetNodeRoles{ID: w.ledger.NodeID(), Signer: true}) // node2 is the only voter now
	_, err := w.service.RemoveNode(ctx, as("admin"), authority.RemoveSpec{Node: "node2", Patience: time.Second})
	code(t, err, "last_voter")
}

func TestSettings(t *testing.T) {
	w := build(t)
	rev := w.ledger.View().Cluster().Rev
	edit := func(s lifecycle.Settings) (lifecycle.Settings, error) { s.PublicURL = "https://x.test"; return s, nil }
	_, err := w.service.SetSettings(ctx, as("admin"), rev+1, edit)
	code(t, err, "precondition_failed")
	if _, err := w.service.SetSettings(ctx, as("admin"), rev, edit); err != nil || w.ledger.View().Cluster().Settings.PublicURL != "https://x.test" {
		t.Errorf("set = %v", err)
	}
	_, err = w.service.SetSettings(ctx, as("admin"), 0, func(s lifecycle.Settings) (lifecycle.Settings, error) { return s, errors.New("no") })
	code(t, err, "invalid")
	_, err = w.service.SetSettings(ctx, as("op"), 0, edit)
	code(t, err, "denied")
}

// ring stands for the gossip keys of a node.
type ring struct {
	newest []byte
	drawn  int
	fail   error
}

func (r *ring) Draw(newest []byte) ([]byte, error) {
	r.newest, r.drawn = newest, r.drawn+1
	return bytes.Repeat([]byte{byte(r.drawn)}, 32), r.fail
}

func TestRotateGossipKey(t *testing.T) {
	w := build(t)
	_, err := w.service.RotateGossipKey(ctx, as("admin"))
	code(t, err, "not_available")
	_, err = w.service.RotateGossipKey(ctx, as("op"))
	code(t, err, "denied")
	keys := &ring{}
	w.service = authority.New(authority.Config{Ledger: w.race, Members: w.members, Audit: w.audit, Gossip: keys, Logger: slog.New(slog.DiscardHandler)})
	plan := as("admin")
	plan.DryRun = true
	if _, err := w.service.RotateGossipKey(ctx, plan); err != nil || keys.drawn != 0 || w.ledger.View().Cluster().GossipKey != nil {
		t.Errorf("a plan: %v, %d keys drawn", err, keys.drawn)
	}
	req := as("admin")
	for range 2 { // the answer to the first was lost
		if _, err := w.service.RotateGossipKey(ctx, req); err != nil || keys.drawn != 1 || keys.newest != nil {
			t.Errorf("%v, %d keys drawn", err, keys.drawn)
		}
	}
	one := w.ledger.View().Cluster().GossipKey
	if one == nil || one.Generation != 1 || one.Rotated.By != "admin" {
		t.Fatalf("the cluster names %+v", one)
	}
	if rec, _ := w.audit.last(t, audit.Outcome); !rec.Allowed || rec.Verb != string(access.ClusterEdit) || rec.Principal != "admin" {
		t.Errorf("recorded: %+v", rec)
	}
	if _, err := w.service.RotateGossipKey(ctx, as("admin")); err != nil || !bytes.Equal(keys.newest, one.Digest) || w.ledger.View().Cluster().GossipKey.Generation != 2 {
		t.Errorf("again: %v", err)
	}
	keys.fail = errors.New("disk full")
	if _, err := w.service.RotateGossipKey(ctx, as("admin")); !errors.Is(err, keys.fail) || w.ledger.View().Cluster().GossipKey.Generation != 2 {
		t.Errorf("without a key: %v", err)
	}
	_, err = w.service.RotateGossipKey(ctx, as("op"))
	code(t, err, "denied")
}

// TestPeerSpeaksForItself: a stolen node can only lie about itself.
func TestPeerSpeaksForItself(t *testing.T) {
	w := build(t)
	w.create("ci")
	before := w.ledger.View().Position().Index
	thief := w.service.Peer(w.node2, "192.0.2.66:1")
	mine := w.ledger.NodeID()
	ok := func(*lifecycle.Key, string) error { return nil }
	for name, try := range map[string]func(id lifecycle.NodeID) error{
		"bind": func(id lifecycle.NodeID) error {
			c := bindCommand(w.ledger.View().Instance("ci", 1, mine))
			c.Node = id
			_, err := thief.BindInstance(ctx, c, ok)
			return err
		},
		"report": func(id lifecycle.NodeID) error {
			_, err := thief.ReportCondition(ctx, &command.ReportCondition{Key: "ci", Version: 1, Node: id, Condition: lifecycle.Lost})
			return err
		},
		"erased": func(id lifecycle.NodeID) error {
			_, err := thief.ConfirmErased(ctx, &command.ConfirmErased{Key: "ci", Version: 1, Node: id})
			return err
		},
		"update": func(id lifecycle.NodeID) error {
			_, err := thief.UpdateNode(ctx, &command.UpdateNode{ID: id, Addrs: lifecycle.Addrs{API: "evil.test:1"}})
			return err
		},
	} {
		for _, id := range []lifecycle.NodeID{mine, "", ledgertest.NodeID("nobody")} {
			code(t, try(id), "denied")
		}
		if w.ledger.View().Position().Index != before {
			t.Fatalf("%s of another node's instance reached the log", name)
		}
	}
	if _, err := thief.ReportCondition(ctx, &command.ReportCondition{Key: "ci", Version: 1, Node: w.node2, Condition: lifecycle.Lost}); err != nil {
		t.Errorf("about itself: %v", err)
	}
	if i := w.ledger.View().Instance("ci", 1, w.node2); i.Condition != lifecycle.Lost {
		t.Errorf("reported = %s", i.Condition)
	}
	// A removed node, and one that never was, are nobody.
	w.ledger.Must(t, &command.SetNodeStatus{ID: w.node2, Status: lifecycle.Quarantined})
	w.ledger.Must(t, &command.SetNodeStatus{ID: w.node2, Status: lifecycle.Removed})
	for _, id := range []lifecycle.NodeID{w.node2, ledgertest.NodeID("nobody")} {
		_, err := w.service.Peer(id, "").ReportCondition(ctx, &command.ReportCondition{Key: "ci", Version: 1, Node: id, Condition: lifecycle.Ready})
		code(t, err, "denied")
	}
}

func TestPeerBind(t *testing.T) {
	w := build(t)
	if _, err := w.service.CreateKey(ctx, as("admin"), spec("ci")); err != nil {
		t.Fatal(err)
	}
	c := bindCommand(w.ledger.View().Instance("ci", 1, w.node2))
	p := w.service.Peer(w.node2, "")
	_, err := p.BindInstance(ctx, c, func(*lifecycle.Key, string) error { return errors.New("signed by another key") })
	code(t, err, "denied")
	var cluster string
	if _, err = p.BindInstance(ctx, c, func(k *lifecycle.Key, id string) error { cluster = id; return nil }); err != nil {
		t.Fatal(err)
	}
	if cluster != w.ledger.View().Cluster().ID || w.ledger.View().Instance("ci", 1, w.node2).Condition != lifecycle.Ready {
		t.Error("the instance is not bound, or the proof was not checked against this cluster")
	}
	missing := *c
	missing.Key = "none"
	_, err = p.BindInstance(ctx, &missing, func(*lifecycle.Key, string) error { return nil })
	code(t, err, string(state.KeyNotFound))
}

func TestPeerRebuild(t *testing.T) {
	w := build(t)
	n := w.ledger.View().Node(w.node2)
	up := &command.UpdateNode{ID: n.ID, Addrs: n.Addrs, MaxFormat: n.MaxFormat, Version: "v2", Driver: n.Driver}
	if _, err := w.service.Peer(w.node2, "").UpdateNode(ctx, up); err != nil || len(w.members.calls) != 0 || w.ledger.View().Node(w.node2).Version != "v2" {
		t.Fatalf("update = %v, %v", err, w.members.calls)
	}
	up.Incarnation = strings.Repeat("f", len(n.Incarnation))
	if _, err := w.service.Peer(w.node2, "").UpdateNode(ctx, up); err != nil {
		t.Fatal(err)
	}
	fresh := w.ledger.View().Node(w.node2)
	want := "remove " + n.ServerID() + ", nonvoter " + fresh.ServerID()
	if got := strings.Join(w.members.calls, ", "); got != want || fresh.Voter {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func TestTokens(t *testing.T) {
	w := build(t)
	r, secret, err := w.service.CreateToken(ctx, as("admin"), "op", "ci", lifecycle.Hour)
	if err != nil || !strings.HasPrefix(secret, authority.TokenPrefix) {
		t.Fatal(err)
	}
	now := w.ledger.Clock().Now()
	c, err := authority.Authenticate(w.ledger.View(), authority.Credential{Token: secret, Remote: "r"}, now)
	if err != nil || c.Principal != "op" || c.TokenID != r.Outcome.Subject || c.Remote != "r" {
		t.Errorf("caller = %+v, %v", c, err)
	}
	for name, cred := range map[string]authority.Credential{"none": {}, "another": {Token: secret + "x"}, "no prefix": {Token: secret[4:]}, "long": {Token: authority.TokenPrefix + strings.Repeat("x", 300)},
		"a certificate of nobody": {CertSPKI: strings.Repeat("0", 64)}} {
		if _, err := authority.Authenticate(w.ledger.View(), cred, now); !errors.Is(err, authority.ErrUnauthenticated) {
			t.Errorf("%s = %v", name, err)
		}
	}
	if _, err := authority.Authenticate(w.ledger.View(), authority.Credential{Token: secret}, now.Add(61*time.Minute)); !errors.Is(err, authority.ErrUnauthenticated) {
		t.Errorf("expired = %v", err)
	}
	if mine := w.service.Tokens(w.ledger.View(), c); len(mine) != 1 {
		t.Errorf("op sees %d tokens", len(mine))
	}
	_, _, err = w.service.CreateToken(ctx, as("op"), "op", "", 0)
	code(t, err, "denied")
	_, _, err = w.service.CreateToken(ctx, as("admin"), "gone", "", 0)
	code(t, err, string(state.PrincipalNotFound))
	_, _, err = w.service.CreateToken(ctx, as("admin"), "op", "", -1)
	code(t, err, "invalid")
	_, err = w.service.RevokeToken(ctx, as("aud"), r.Outcome.Subject)
	code(t, err, "denied")
	if _, err := w.service.RevokeToken(ctx, as("op"), r.Outcome.Subject); err != nil { // one's own
		t.Fatal(err)
	}
	if _, err := authority.Authenticate(w.ledger.View(), authority.Credential{Token: secret}, now); !errors.Is(err, authority.ErrUnauthenticated) {
		t.Errorf("revoked = %v", err)
	}
}

func TestLoginChallenges(t *testing.T) {
	w := build(t)
	nonce, text, expires, err := w.service.Challenge("op")
	if err != nil || !strings.HasPrefix(text, "chancery-login/1\n") || !strings.Contains(text, w.ledger.View().Cluster().ID) || !strings.Contains(text, nonce) {
		t.Fatalf("%q, %v", text, err)
	}
	if _, _, err := w.service.Login(ctx, as(""), nonce, "no signature"); !errors.Is(err, authority.ErrUnauthenticated) {
		t.Errorf("no signature = %v", err)
	}
	if _, _, err := w.service.Login(ctx, as(""), nonce, "again"); !errors.Is(err, authority.ErrUnauthenticated) || !strings.Contains(err.Error(), "was used") {
		t.Errorf("a challenge was taken twice: %v", err)
	}
	_, _, _, err = w.service.Challenge("../x")
	code(t, err, "invalid")
	for err = nil; err == nil; { // until the table of open ones is full
		_, _, _, err = w.service.Challenge("op")
	}
	if !errors.Is(err, ledger.ErrBusy) {
		t.Errorf("one challenge too many = %v", err)
	}
	w.ledger.Clock().Advance(3 * time.Minute)
	if w.ledger.Clock().At() < expires {
		t.Fatal("the challenge outlives the test")
	}
	if _, _, _, err := w.service.Challenge("op"); err != nil {
		t.Errorf("old challenges keep new ones out: %v", err)
	}
}
