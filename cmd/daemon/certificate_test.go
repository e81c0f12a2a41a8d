package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/transport/peer"
)

// TestCertificateRenewsItself moves a node's clock past half its certificate's life.
func TestCertificateRenewsItself(t *testing.T) {
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
	now := time.Now()
	clock := func() time.Time { return now }
	l := ledgertest.New(t, ledgertest.WithNode(p.key.NodeID()))
	ledgertest.Genesis(t, l)
	var shown *tls.Certificate
	asked, down := 0, true
	i := &issuer{p, l.View, clock}
	r := &renewal{config: conf, place: p, issuer: i, now: clock, log: slog.New(slog.DiscardHandler), install: func(c *tls.Certificate) { shown = c },
		ask: func(_ context.Context, req renewReq) (renewResp, error) {
			if asked++; down {
				return renewResp{}, errors.New("no leader")
			}
			public, err := x509.ParsePKIXPublicKey(req.SPKI)
			if err != nil {
				return renewResp{}, err
			}
			leaf, err := p.ca.IssueNode(public, req.Hosts, now)
			if err != nil {
				return renewResp{}, err
			}
			return renewResp{Leaf: leaf.Raw, Bundle: bundleOf(t, p).PEM()}, nil
		}}
	if err := r.load(); err != nil {
		t.Fatal(err)
	}
	first := shown.Leaf
	if err := r.renewIfDue(t.Context()); err != nil || asked != 0 {
		t.Fatalf("a fresh certificate was renewed: asked %d times, %v", asked, err)
	}
	now = now.Add(identity.LeafLifetime/2 + time.Hour)
	if err := r.renewIfDue(t.Context()); err == nil || shown.Leaf != first {
		t.Fatal("a failed renewal must be reported and change nothing")
	}
	down = false
	if err := r.renewIfDue(t.Context()); err != nil {
		t.Fatal(err)
	}
	if shown.Leaf.SerialNumber.Cmp(first.SerialNumber) == 0 || !shown.Leaf.NotAfter.After(first.NotAfter) {
		t.Errorf("the certificate shown still ends at %s", shown.Leaf.NotAfter)
	}
	if again, err := p.store.LoadLeaf(p.key); err != nil || !again.Leaf.Equal(shown.Leaf) {
		t.Errorf("the new certificate is not on disk: %v", err)
	}
}

func bundleOf(t *testing.T, p *place) *identity.Bundle {
	t.Helper()
	b, err := p.store.LoadBundle()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRenewalIsForOneselfOnly asks with another node's key.
func TestRenewalIsForOneselfOnly(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	other, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(other.Public())
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{view: l.View, now: time.Now}
	if _, err := i.renew(t.Context(), peer.From{Node: l.NodeID()}, renewReq{SPKI: spki}); err == nil {
		t.Error("a node got a certificate for a key that is not its own")
	}
	if _, err := i.renew(t.Context(), peer.From{Node: other.NodeID()}, renewReq{SPKI: spki}); err == nil {
		t.Error("a stranger got a certificate")
	}
}
