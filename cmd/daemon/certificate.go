package daemon

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/peer"
)

// issuer makes node certificates with this node's CA instance.
type issuer struct {
	place *place
	view  func() *state.View
	now   func() time.Time
}

// bundle is the CA instance of every node that the log knows.
func (i *issuer) bundle() (*identity.Bundle, error) {
	bundle, err := i.place.store.LoadBundle()
	if err != nil {
		return nil, fmt.Errorf("read the CA bundle: %w", err)
	}
	var more []*x509.Certificate
	for _, n := range i.view().Nodes() {
		if n.Status == lifecycle.Removed {
			continue
		}
		c, err := x509.ParseCertificate(n.CACert)
		if err != nil {
			return nil, fmt.Errorf("read the CA instance of %s: %w", n.Name, err)
		}
		more = append(more, c)
	}
	return bundle.With(more...)
}

// issue makes a node's certificate.
func (i *issuer) issue(public crypto.PublicKey, a lifecycle.Addrs, hosts []string) (*x509.Certificate, *identity.Bundle, error) {
	for _, addr := range []string{a.API, a.Public, a.Node} {
		if host, _, err := net.SplitHostPort(addr); err == nil && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	leaf, err := i.place.ca.IssueNode(public, hosts, i.now())
	if err != nil {
		return nil, nil, fmt.Errorf("issue a node certificate: %w", err)
	}
	bundle, err := i.bundle()
	return leaf, bundle, err
}

// renewReq asks the leader for a fresh certificate of the caller's own key.
type renewReq struct {
	SPKI  []byte   `json:"spki"`
	Hosts []string `json:"hosts"`
}

type renewResp struct {
	Leaf   []byte `json:"leaf"`
	Bundle []byte `json:"bundle"`
}

// maxHosts bounds the names in one certificate.
const maxHosts = 32

// renew answers a member: only for the key that its handshake proved.
func (i *issuer) renew(_ context.Context, from peer.From, req renewReq) (renewResp, error) {
	public, err := x509.ParsePKIXPublicKey(req.SPKI)
	if err != nil {
		return renewResp{}, fmt.Errorf("read the public key: %w", err)
	}
	hash, err := identity.SPKIHash(public)
	if err != nil || hash != string(from.Node) {
		return renewResp{}, fmt.Errorf("node %s may renew its own certificate only", from.Node.Short())
	}
	n := i.view().Node(from.Node)
	if n == nil || n.Status == lifecycle.Removed {
		return renewResp{}, fmt.Errorf("node %s is not a member", from.Node.Short())
	}
	if len(req.Hosts) > maxHosts {
		return renewResp{}, fmt.Errorf("%d host names: at most %d are allowed", len(req.Hosts), maxHosts)
	}
	leaf, bundle, err := i.issue(public, n.Addrs, req.Hosts)
	if err != nil {
		return renewResp{}, err
	}
	return renewResp{Leaf: leaf.Raw, Bundle: bundle.PEM()}, nil
}

// renewal keeps this node's certificate fresh and its CA bundle current.
type renewal struct {
	config  Config
	place   *place
	issuer  *issuer
	ask     func(context.Context, renewReq) (renewResp, error) // the leader, wherever it is
	now     func() time.Time
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
	pool    atomic.Pointer[identity.Bundle]
	install func(*tls.Certificate)
}

// renewalTick is how often the date is looked at; a certificate is due at half its life.
const renewalTick = time.Minute

func (r *renewal) load() error {
	bundle, err := r.place.store.LoadBundle()
	if err != nil {
		return fmt.Errorf("read the CA bundle: %w", err)
	}
	c, err := r.place.certificate(bundle)
	if err != nil {
		return err
	}
	r.use(c, bundle)
	return nil
}

func (r *renewal) use(c *tls.Certificate, bundle *identity.Bundle) {
	r.current.Store(c)
	r.pool.Store(bundle)
	r.install(c)
}

// run renews until ctx ends. A failure is tried again at the next tick: half a
// life is left for that.
func (r *renewal) run(ctx context.Context) {
	tick := time.NewTicker(renewalTick)
	defer tick.Stop()
	for {
		if err := r.tend(ctx); err != nil {
			r.log.Warn("renew the node certificate", "err", err, "expires_at", r.current.Load().Leaf.NotAfter)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (r *renewal) tend(ctx context.Context) error {
	if err := r.followBundle(); err != nil {
		return err
	}
	return r.renewIfDue(ctx)
}

// followBundle takes in the CA instances of nodes that joined.
func (r *renewal) followBundle() error {
	bundle, err := r.issuer.bundle()
	if err != nil {
		return err
	}
	if len(bundle.Certificates()) == len(r.pool.Load().Certificates()) {
		return nil
	}
	if err := r.place.store.SaveBundle(bundle); err != nil {
		return err
	}
	r.pool.Store(bundle)
	return nil
}

func (r *renewal) renewIfDue(ctx context.Context) error {
	if !identity.RenewalDue(r.current.Load().Leaf, r.now()) {
		return nil
	}
	spki, err := x509.MarshalPKIXPublicKey(r.place.key.Public())
	if err != nil {
		return fmt.Errorf("encode the identity: %w", err)
	}
	resp, err := r.ask(ctx, renewReq{SPKI: spki, Hosts: r.config.hosts()})
	if err != nil {
		return err
	}
	return r.accept(resp)
}

func (r *renewal) accept(resp renewResp) error {
	leaf, err := x509.ParseCertificate(resp.Leaf)
	if err != nil {
		return fmt.Errorf("read the new certificate: %w", err)
	}
	bundle, err := identity.ParseBundle(resp.Bundle)
	if err != nil {
		return fmt.Errorf("read the new CA bundle: %w", err)
	}
	if err := r.place.store.SaveBundle(bundle); err != nil {
		return err
	}
	if err := r.place.store.SaveLeaf(r.place.key, leaf); err != nil {
		return err
	}
	c, err := r.place.certificate(bundle)
	if err != nil {
		return err
	}
	r.use(c, bundle)
	r.log.Info("renewed the node certificate", "expires_at", leaf.NotAfter)
	return nil
}
