package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/peer"
)

// memberPlace is a founded node's place with a ledger that knows the node.
func memberPlace(t *testing.T) (*place, *ledgertest.Ledger) {
	t.Helper()
	conf := configure(t, "n1")
	if _, err := Init(t.Context(), conf, filepath.Join(t.TempDir(), "admin"), "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	p, err := openPlace(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.dir.Close(); err != nil {
			t.Error(err)
		}
	})
	l := ledgertest.New(t, ledgertest.WithNode(p.key.NodeID()))
	ledgertest.Genesis(t, l)
	return p, l
}

// TestStatusCertificateRenewsItself goes from no certificate over a failing leader to
// the second certificate, and over a restart.
func TestStatusCertificateRenewsItself(t *testing.T) {
	p, _ := memberPlace(t)
	now := time.Now()
	clock := func() time.Time { return now }
	node := p.key.NodeID()
	bundle := bundleOf(t, p)
	// The ledger's rows hold made-up CA instances: the answer is put together here.
	leader := func(_ context.Context, req renewStatusReq) (renewStatusResp, error) {
		public, err := identity.ParseStatusRequest(req.Request)
		if err != nil {
			return renewStatusResp{}, err
		}
		leaf, err := p.ca.IssueStatus(node, public, now)
		return renewStatusResp{Leaf: leaf.Raw, Bundle: bundle.PEM()}, err
	}
	noLeader := func(context.Context, renewStatusReq) (renewStatusResp, error) {
		return renewStatusResp{}, errors.New("no leader")
	}
	newKeeper := func() *statusKeeper {
		k := &statusKeeper{node: node, cluster: p.member.ClusterID, store: p.store, ask: noLeader, bundle: func() *identity.Bundle { return bundle },
			attestor: publish.NewAttestor(), now: clock, log: slog.New(slog.DiscardHandler)}
		if err := k.open(); err != nil {
			t.Fatal(err)
		}
		return k
	}
	ready := func(k *statusKeeper) bool { _, _, ok := k.attestor.Ready(now); return ok }
	k := newKeeper()
	if err := k.tend(t.Context()); err == nil || ready(k) {
		t.Error("a certificate out of nowhere")
	}
	k.ask = leader
	if err := k.tend(t.Context()); err != nil || !ready(k) {
		t.Fatalf("no certificate: %v", err)
	}
	first := k.leaf
	if err := k.tend(t.Context()); err != nil || k.leaf != first {
		t.Errorf("a fresh certificate was renewed: %v", err)
	}
	again := newKeeper()
	if !ready(again) || !again.leaf.Equal(first) {
		t.Error("the certificate is not taken up after a restart")
	}
	now = now.Add(identity.LeafLifetime/2 + time.Hour)
	again.ask = noLeader
	if err := again.tend(t.Context()); err == nil || !ready(again) {
		t.Errorf("a failed renewal is to be told, and leaves the old certificate: %v", err)
	}
	again.ask = leader
	if err := again.tend(t.Context()); err != nil || !again.leaf.NotAfter.After(first.NotAfter) {
		t.Errorf("not renewed: %v", err)
	}
	now = now.Add(2 * identity.LeafLifetime)
	if late := newKeeper(); ready(late) {
		t.Error("statements under an expired certificate")
	}
	again.ask = func(_ context.Context, req renewStatusReq) (renewStatusResp, error) {
		public, err := identity.ParseStatusRequest(req.Request)
		if err != nil {
			return renewStatusResp{}, err
		}
		leaf, err := p.ca.IssueStatus(ledgertest.NodeID("another"), public, now)
		return renewStatusResp{Leaf: leaf.Raw, Bundle: bundle.PEM()}, err
	}
	if err := again.tend(t.Context()); !errors.Is(err, identity.ErrMismatch) {
		t.Errorf("a certificate in another node's name was taken: %v", err)
	}
}

// TestStatusCertificatesAreForMembers: who gets none, and for which keys.
func TestStatusCertificatesAreForMembers(t *testing.T) {
	p, l := memberPlace(t)
	other := ledgertest.Join(t, l, "other")
	i := &issuer{place: p, view: l.View, now: time.Now}
	key, err := identity.NewStatusKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := key.Request()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(node lifecycle.NodeID, request []byte) error {
		_, err := i.renewStatus(t.Context(), peer.From{Node: node}, renewStatusReq{Request: request})
		return err
	}
	if err := ask(ledgertest.NodeID("stranger"), request); err == nil {
		t.Error("a stranger got a certificate")
	}
	if err := ask(other, []byte("nonsense")); err == nil {
		t.Error("nonsense got a certificate")
	}
	own, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{}, p.key.Signer())
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(p.key.NodeID(), own); err == nil {
		t.Error("an identity key got a status certificate")
	}
	l.Must(t, &command.SetNodeStatus{ID: other, Status: lifecycle.Quarantined, Reason: "odd"})
	if err := ask(other, request); err == nil {
		t.Error("a node in quarantine got a certificate")
	}
}
