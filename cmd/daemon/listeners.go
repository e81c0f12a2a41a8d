package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/api"
	"github.com/chancery-project/chancery/transport/public"
)

// startListeners opens what callers and verifiers use.
func (d *Daemon) startListeners(ctx context.Context) error {
	most, err := d.maxConnections()
	if err != nil {
		return err
	}
	limits := transport.ServerOptions{MaxConnections: most, Logger: d.log}
	d.api = api.New(api.Config{Node: d.config.NodeName, Service: d.service, Signer: d.signer, Office: d.office, Consumers: d.consumers, Sets: d.sets, Logger: d.log, Metrics: d.metrics,
		ForwardTransport: &http.Transport{TLSClientConfig: d.clientTLS(), MaxIdleConnsPerHost: 64, IdleConnTimeout: 50 * time.Second, ForceAttemptHTTP2: false},
		PublicURL:        d.publicURL(), Journal: d.journal, Ledger: d.readLedger, Tally: d.teller.Count, Cluster: d.clusterStatus, Fencing: d.fencing, Snapshot: d.snapshot, EncodeJoinToken: d.encodeJoinToken,
		Limits: api.Limits{PerPrincipal: rate(d.config.Limits.RequestsPerSecond), Server: limits}})
	d.caches.add(d.api.Drop)
	callers, err := net.Listen("tcp", d.config.Listen.API)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	d.serve("the API", func() error { return d.api.Serve(ctx, callers, d.tls()) })

	verifiers, err := net.Listen("tcp", d.config.Listen.Public)
	if err != nil {
		return fmt.Errorf("listen for the public: %w", err)
	}
	config := public.Config{Node: d.config.NodeName, Ledger: d.node, Sets: d.sets, Attestor: d.attestor, Logger: d.log, Metrics: d.metrics,
		PublicURL: d.publicURL(), Ready: d.readyFor, Fetched: d.consumers.Fetched, CRLs: d.crls, OCSP: d.responder, PerAddress: rate(d.config.Limits.AnonymousPerSecond)}
	pub := public.New(config)
	d.caches.add(pub.Drop)
	options := limits
	if !d.config.TLS.PlainPublic {
		options.TLS = d.tls()
	}
	d.serve("the public", func() error { return transport.Serve(ctx, verifiers, pub, options) })

	if d.config.Listen.Metrics == "off" {
		return nil
	}
	scrapers, err := net.Listen("tcp", d.config.Listen.Metrics)
	if err != nil {
		return fmt.Errorf("listen for metrics: %w", err)
	}
	metrics := public.Metrics(config, d.metrics)
	d.serve("metrics", func() error {
		return transport.Serve(ctx, scrapers, metrics, transport.ServerOptions{MaxConnections: maxScrapers, Logger: d.log})
	})
	return nil
}

func rate(perSecond float64) transport.Rate {
	if perSecond <= 0 {
		return transport.Rate{}
	}
	return transport.Rate{PerSecond: perSecond, Burst: max(1, int(perSecond))}
}

// clientTLS reaches other nodes' API with the cluster's own CA bundle, as it is at
// the time of each connection.
func (d *Daemon) clientTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, // verified right below, with a bundle that may change
		VerifyConnection: func(s tls.ConnectionState) error {
			_, err := d.renewal.pool.Load().VerifyNode(s.PeerCertificates, d.place.member.ClusterID, time.Now())
			return err
		}}
}

func (d *Daemon) publicURL() string {
	scheme := "https://"
	if d.config.TLS.PlainPublic {
		scheme = "http://"
	}
	return scheme + d.config.Advertise.Public
}

// snapshot streams a snapshot of the newest state.
func (d *Daemon) snapshot(ctx context.Context, w io.Writer) error {
	return d.node.WriteSnapshot(ctx, w)
}

// encodeJoinToken makes the text of a token and the command that uses it.
func (d *Daemon) encodeJoinToken(s authority.JoinSecret) (token, command string, err error) {
	return authority.NewJoinToken(d.node.View(), s).Encode(), "chancery join --config /etc/chancery/chancery.toml --token-file TOKEN_FILE", nil
}

// signsAtAll says why the cluster lets a node sign nothing.
func signsAtAll(row *lifecycle.Node) error {
	switch {
	case row.Signs():
		return nil
	case row.Status != lifecycle.Member:
		return fmt.Errorf("this node may not sign: node %s is %s", row.Name, row.Status)
	}
	return fmt.Errorf("this node may not sign: node %s has not got the role signer", row.Name)
}

// readyFor says whether this node can do what a balancer would send it for.
func (d *Daemon) readyFor(what string) error {
	v := d.node.View()
	row := v.Node(d.node.NodeID())
	if row == nil || row.Status == lifecycle.Removed {
		return errors.New("this node is not a member yet")
	}
	if what != "sign" {
		return nil
	}
	if err := signsAtAll(row); err != nil {
		return err
	}
	if h := d.store.Health(); !h.OK {
		return fmt.Errorf("the key store: %s", h.Why)
	}
	if err := d.journal.Err(); err != nil {
		return err
	}
	return d.signer.Lease.Usable(v)
}
