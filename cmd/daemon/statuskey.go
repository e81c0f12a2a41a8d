package daemon

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/peer"
)

// renewStatusReq asks the leader for a certificate of the caller's status key.
type renewStatusReq struct {
	Request []byte `json:"request"` // PKCS #10, DER
}

type renewStatusResp struct {
	Leaf   []byte `json:"leaf"`   // DER
	Bundle []byte `json:"bundle"` // PEM: the issuer is among them
}

// renewStatus answers a member that may be trusted to speak: one in quarantine keeps
// what it has until that ends, at most a week, and gets nothing new.
func (i *issuer) renewStatus(_ context.Context, from peer.From, req renewStatusReq) (renewStatusResp, error) {
	n := i.view().Node(from.Node)
	if n == nil || n.Status != lifecycle.Member {
		return renewStatusResp{}, fmt.Errorf("node %s is no member, or in quarantine: it gets no status certificate", from.Node.Short())
	}
	public, err := identity.ParseStatusRequest(req.Request)
	if err != nil {
		return renewStatusResp{}, err
	}
	hash, err := identity.SPKIHash(public)
	if err != nil {
		return renewStatusResp{}, err
	}
	if i.view().Node(lifecycle.NodeID(hash)) != nil {
		return renewStatusResp{}, errors.New("an identity key is no status key")
	}
	leaf, err := i.place.ca.IssueStatus(from.Node, public, i.now())
	if err != nil {
		return renewStatusResp{}, fmt.Errorf("issue a status certificate: %w", err)
	}
	bundle, err := i.bundle()
	if err != nil {
		return renewStatusResp{}, err
	}
	return renewStatusResp{Leaf: leaf.Raw, Bundle: bundle.PEM()}, nil
}

// statusKeeper keeps the certificate of this node's status key valid and the
// attestor supplied with it. It belongs to one goroutine.
type statusKeeper struct {
	node     lifecycle.NodeID
	cluster  string
	store    identity.Store
	ask      func(context.Context, renewStatusReq) (renewStatusResp, error) // the leader, wherever it is
	bundle   func() *identity.Bundle
	attestor *publish.Attestor
	now      func() time.Time
	log      *slog.Logger

	key  *identity.StatusKey
	leaf *x509.Certificate // nil = none yet
}

// statusRetry is how often a node without any certificate asks for one: until then
// its answers are unsigned.
const statusRetry = 500 * time.Millisecond

// open reads the key, or makes it, and takes up a certificate from before.
func (k *statusKeeper) open() (err error) {
	if k.key, err = k.store.LoadOrCreateStatusKey(); err != nil {
		return err
	}
	leaf, err := k.store.LoadStatusLeaf(k.key)
	if notExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := k.use(leaf, k.bundle()); err != nil {
		k.log.Warn("the status certificate cannot be used: a new one is asked for", "err", err)
	}
	return nil
}

// run renews until ctx ends.
func (k *statusKeeper) run(ctx context.Context) {
	for {
		err := k.tend(ctx)
		if err != nil {
			k.log.Debug("renew the status certificate", "err", err)
		}
		wait := renewalTick
		if k.leaf == nil {
			wait = statusRetry
		} else if err != nil && identity.RenewalDue(k.leaf, k.now()) {
			k.log.Warn("renew the status certificate", "err", err, "expires_at", k.leaf.NotAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (k *statusKeeper) tend(ctx context.Context) error {
	if k.leaf != nil && !identity.RenewalDue(k.leaf, k.now()) {
		return nil
	}
	request, err := k.key.Request()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	resp, err := k.ask(ctx, renewStatusReq{Request: request})
	if err != nil {
		return err
	}
	leaf, err := x509.ParseCertificate(resp.Leaf)
	if err != nil {
		return fmt.Errorf("read the new status certificate: %w", err)
	}
	bundle, err := identity.ParseBundle(resp.Bundle)
	if err != nil {
		return fmt.Errorf("read the CA bundle: %w", err)
	}
	if err := k.store.SaveStatusLeaf(k.key, leaf); err != nil {
		return err
	}
	if err := k.use(leaf, bundle); err != nil {
		return err
	}
	k.log.Info("the status key has a new certificate", "expires_at", leaf.NotAfter)
	return nil
}

// use hands key and certificate to the attestor, after a look at them as a verifier
// would have it.
func (k *statusKeeper) use(leaf *x509.Certificate, bundle *identity.Bundle) error {
	id, err := bundle.VerifyStatus([]*x509.Certificate{leaf}, k.cluster, k.now())
	if err != nil {
		return fmt.Errorf("check the status certificate: %w", err)
	}
	if id != k.node {
		return fmt.Errorf("check the status certificate: %w", identity.ErrMismatch)
	}
	k.leaf = leaf
	return k.attestor.Use(publish.StatusKey{Node: k.node, Private: k.key.Signer(), Leaf: leaf.Raw, NotAfter: leaf.NotAfter})
}

// startStatusKey makes this node able to sign status answers.
func (d *Daemon) startStatusKey() error {
	d.status = &statusKeeper{node: d.node.NodeID(), cluster: d.place.member.ClusterID, store: d.place.store, ask: d.askStatus,
		bundle: d.renewal.pool.Load, attestor: d.attestor, now: time.Now, log: d.log}
	if err := d.status.open(); err != nil {
		return fmt.Errorf("open the status key: %w", err)
	}
	return nil
}

func (d *Daemon) askStatus(ctx context.Context, req renewStatusReq) (renewStatusResp, error) {
	lead := d.node.Leadership()
	switch {
	case lead.Self:
		return d.renewal.issuer.renewStatus(ctx, peer.From{Node: d.node.NodeID()}, req)
	case lead.Leader == "":
		return renewStatusResp{}, ledger.ErrNotLeader
	}
	return peer.Call[renewStatusReq, renewStatusResp](ctx, d.client, lead.Leader, verbRenewStatus, req)
}

// caches are what was rendered or signed and may be served again. They come up one
// after the other while fences may already pass.
type caches struct {
	mu   sync.Mutex // guards drop
	drop []func()
}

func (c *caches) add(drop func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop = append(c.drop, drop)
}

// Drop forgets everything: no answer that was good before a fence is served after it.
func (c *caches) Drop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, drop := range c.drop {
		drop()
	}
}
