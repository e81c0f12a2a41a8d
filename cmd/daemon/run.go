package daemon

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/provision"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/authority/rotation"
	"github.com/chancery-project/chancery/authority/seal"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/authority/webhook"
	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/api"
	"github.com/chancery-project/chancery/transport/peer"
	"github.com/chancery-project/chancery/transport/tlsmux"
)

// Daemon is one running node.
type Daemon struct {
	config    Config
	version   string
	log       *slog.Logger
	metrics   *prometheus.Registry
	place     *place
	store     hsm.KeyStore
	journal   *audit.Journal
	mux       *tlsmux.Mux
	node      *cluster.Node
	gossip    atomic.Pointer[cluster.Gossip] // once it runs: the cluster asks before
	ring      *gossipRing
	service   *authority.Service
	signer    *signing.Signer
	releasing atomic.Pointer[signing.Signer] // signer, once there is one: the cluster asks before
	token     atomic.Pointer[token]          // of the key store when it first worked
	provision *provision.Reconciler
	peers     *peer.Server
	client    *peer.Client
	renewal   *renewal
	reporter  *reporter
	consumers *consumer.Desk
	office    *issuing.Office
	crls      *crl.Store
	responder *ocsp.Responder
	fetcher   *http.Client // of other nodes' public listeners
	teller    *evidence.Teller
	sets      *publish.Cache
	attestor  *publish.Attestor
	status    *statusKeeper
	caches    caches
	api       *api.API
	seals     *seal.List
	reserve   *disk.Reserve // start's, then tendSpace's, as is what it last complained of
	full      atomic.Bool   // the disk is, and the reserve is given up
	webhooks  *webhook.Sender
	admin     *http.Server
	cancel    context.CancelFunc
	running   sync.WaitGroup
	seeds     map[lifecycle.NodeID]cluster.Seed // the members as last written; introduce's own
	failed    chan error

	spaceTrouble string
}

// Signer is what signs on this node: a program that runs a node needs no listener.
func (d *Daemon) Signer() *signing.Signer { return d.signer }

// Run serves until ctx ends, then stops in order. ready is called when every
// listener answers.
func Run(ctx context.Context, c Config, version string, ready func(*Daemon)) error {
	log, err := newLogger(c.Log)
	if err != nil {
		return err
	}
	log = log.With("node", c.NodeName)
	if err := guardSecrets(); err != nil {
		return err
	}
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	d := &Daemon{config: c, version: version, log: log, metrics: prometheus.NewRegistry(), sets: new(publish.Cache), attestor: publish.NewAttestor(), failed: make(chan error, 8)}
	d.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.start(ctx); err != nil {
		return errors.Join(err, d.stop(false))
	}
	log.Info("serving", "api", c.Listen.API, "public", c.Listen.Public, "version", version)
	ready(d)
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return d.stop(true)
	case err := <-d.failed:
		return errors.Join(err, d.stop(false))
	}
}

func (d *Daemon) start(ctx context.Context) (err error) {
	if d.place, err = openPlace(d.config); err != nil {
		return err
	}
	d.reserve = d.place.dir.OpenReserve()
	d.lookAtSpace() // before anybody writes
	if d.store, err = hsm.Open(ctx, d.config.keyStoreConfig(d.place.dir.Keys(), d.place.member.ClusterID), d.log); err != nil {
		return fmt.Errorf("open the key store: %w", err)
	}
	d.store = breakable(d.store)
	if d.journal, err = audit.Open(d.place.dir.Audit(), audit.Options{Node: d.config.NodeName, Logger: d.log}); err != nil {
		return fmt.Errorf("open the audit journal: %w", err)
	}
	if _, err = d.journal.Append(ctx, audit.Record{Kind: audit.Start, Detail: "version " + d.version}); err != nil {
		return fmt.Errorf("write the first audit record: %w", err)
	}
	if d.seals, err = openSeals(d.place); err != nil {
		return err
	}
	if err = d.startCluster(); err != nil {
		return err
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	d.cancel = cancel
	if err = d.startAuthority(background); err != nil {
		return err
	}
	if err = d.startAdmin(); err != nil {
		return err
	}
	d.background(func() { d.tendSeals(background) })
	if err = d.startPeers(); err != nil {
		return err
	}
	d.startGossip()
	d.measure()
	if err = d.startStatusKey(); err != nil {
		return err
	}
	d.background(func() { d.renewal.run(background) })
	d.background(func() { d.status.run(background) })
	d.background(func() { d.introduce(background) })
	d.background(func() { d.tendGossip(background) })
	d.background(func() { d.tendSpace(background) })
	return d.startListeners(background)
}

func (d *Daemon) background(f func()) { d.running.Go(f) }

// startCluster opens the node port and the Raft node on it.
func (d *Daemon) startCluster() error {
	id := d.place.key.NodeID()
	d.mux = tlsmux.New(tlsmux.Config{Member: func(other lifecycle.NodeID) bool { return d.node != nil && d.node.Member(other) }, Logger: d.log})
	d.client = peer.NewClient(d.mux, func(other lifecycle.NodeID) (string, error) {
		if addr, ok := d.node.AddressOf(other); ok {
			return addr, nil
		}
		return "", fmt.Errorf("no address is known of node %s", other.Short())
	})
	d.renewal = &renewal{config: d.config, place: d.place, ask: d.askRenewal, now: time.Now, log: d.log, install: d.mux.SetCertificate}
	if err := d.renewal.load(); err != nil {
		return err
	}
	raftListener := d.mux.Listener(tlsmux.Raft)
	node, err := cluster.Start(cluster.Config{ID: id, Dir: d.place.dir, Address: d.config.Advertise.Node, Logger: d.log, Elapsed: elapsed,
		Peers: caller{d.client}, Seeds: d.place.member.Seeds, Report: d.report, Hint: d.hint,
		Drain: d.drain, Hold: d.hold, HSM: d.keyStoreHolds,
		Streams: cluster.Streams{Listener: raftListener, Identify: identify, Dial: d.dialRaft}})
	if err != nil {
		return err
	}
	d.node, d.attestor.Dated = node, node.Dated
	d.renewal.issuer = &issuer{d.place, node.View, time.Now}
	port, err := net.Listen("tcp", d.config.Listen.Node)
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	return d.mux.Start(port)
}

// askRenewal asks the leader for a fresh certificate of this node's own key.
func (d *Daemon) askRenewal(ctx context.Context, req renewReq) (renewResp, error) {
	lead := d.node.Leadership()
	if lead.Self {
		return d.renewal.issuer.renew(ctx, peer.From{Node: d.node.NodeID()}, req)
	}
	if lead.Leader == "" {
		return renewResp{}, ledger.ErrNotLeader
	}
	return peer.Call[renewReq, renewResp](ctx, d.client, lead.Leader, verbRenew, req)
}

func identify(c net.Conn) lifecycle.NodeID {
	if m, ok := c.(*tlsmux.Conn); ok {
		return m.Peer().NodeID
	}
	return ""
}

func (d *Daemon) dialRaft(address string, id lifecycle.NodeID, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.mux.Dial(ctx, address, tlsmux.Raft, id)
}

func (d *Daemon) hint(id lifecycle.NodeID) string {
	if g := d.gossip.Load(); g != nil {
		return g.Hint(id)
	}
	return ""
}

// report fills in what only this process knows of itself.
func (d *Daemon) report(r *cluster.Report) {
	r.Version = d.version
	r.CertExpiresMS = d.renewal.current.Load().Leaf.NotAfter.UnixMilli()
	r.DiskFull = d.full.Load()
	h := d.store.Health()
	r.KeyStore = cluster.KeyStoreReport{Driver: d.store.Driver(), OK: h.OK, Why: h.Why}
	if d.releasing.Load() != nil { // set after provision is
		s := d.provision.State()
		r.KeyStore.Orphans, r.KeyStore.Missing = s.Orphans, s.Missing
	}
}

func (d *Daemon) startAuthority(ctx context.Context) (err error) {
	d.ring = newGossipRing(d.place, d.useGossipKeys, d.log)
	d.service = authority.New(authority.Config{Ledger: d.node, Members: d.node, Audit: d.journal, Gossip: d.ring, Full: d.full.Load, Logger: d.log})
	d.reporter = &reporter{node: d.node, service: d.service, client: d.client}
	d.provision, err = provision.Open(provision.Config{Ledger: d.node, Store: d.store, Reporter: d.reporter,
		NotesDir: filepath.Join(d.place.dir.Root(), "erasing"), Log: d.log})
	if err != nil {
		return err
	}
	d.signer = signing.New(signing.Config{Ledger: d.node, Lease: d.node, Store: d.store, Audit: d.journal, Clock: time.Now, Elapsed: elapsed, Usable: d.usable, Dated: d.node.Dated,
		Record: d.reporter.recordSignatures, Sealed: d.seals.Covering})
	d.releasing.Store(d.signer)
	d.provision.Start(ctx)
	d.background(d.provision.Wait)
	loop := rotation.New(rotation.Config{Ledger: &audited{d.node, d.journal}, Log: d.log})
	loop.Start(ctx)
	d.background(loop.Wait)
	d.background(func() { authority.NewClerk(d.service).Run(ctx) })
	d.startIssuing(ctx)
	if err = d.startPublishing(ctx); err != nil {
		return err
	}
	d.consumers = consumer.New(consumer.Config{Ledger: &audited{d.node, d.journal}, Signer: d.signer, Peers: consumerPeers{d.client}, Audit: d.journal, Sets: d.sets, Log: d.log})
	d.background(func() { d.consumers.Run(ctx) })
	d.webhooks = webhook.New(webhook.Config{Ledger: &audited{d.node, d.journal}, Body: d.eventBody, Sign: d.signEvent, Log: d.log})
	d.background(func() { d.webhooks.Run(ctx) })
	d.teller = evidence.New(evidence.Config{Ledger: d.node, Journal: d.journal, Report: d.reporter.tally, Log: d.log})
	d.background(func() { d.teller.Run(ctx) })
	return nil
}

// tellLast reports what this node has signed, while it can still reach the leader. What
// is not told now is when it has started again.
func (d *Daemon) tellLast() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := d.teller.Step(ctx); err != nil {
		d.log.Info("the last signatures are counted after the next start", "err", err)
	}
}

// usable says whether this node's instance may be signed with: nothing is signed
// before the state file has been read as a whole, or with a bad certificate.
func (d *Daemon) usable(key lifecycle.KeyID, version uint64) error {
	select {
	case <-d.node.Verified():
	default:
		return errors.New("its state file is still being verified after the start")
	}
	if leaf := d.renewal.current.Load().Leaf; time.Now().After(leaf.NotAfter) {
		return fmt.Errorf("its node certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	if !d.provision.Usable(key, version) {
		return errors.New("its key pair is in quarantine, or was not found in the key store")
	}
	return nil
}

// startPeers answers other nodes.
func (d *Daemon) startPeers() error {
	d.peers = peer.NewServer(d.log)
	serveVerbs(d.peers, d.node, d.service, d.renewal.issuer, &gossipKeys{d.ring, d.node.View}, d.journal)
	serveIssuing(d.peers, d.service)
	serveConsumers(d.peers, d.signer, d.consumers)
	d.serve("peers", func() error { return d.peers.Serve(d.mux.Listener(tlsmux.Peer)) })
	door := &http.Server{Handler: &doorman{d.service, d.node, d.place, d.ring, d.renewal.issuer, d.log}, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		MaxHeaderBytes: 8 << 10, ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelDebug)}
	d.serve("joiners", func() error {
		if err := door.Serve(d.mux.Listener(tlsmux.Join)); !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return nil
}

// serve runs a listener; when it fails, the process stops.
func (d *Daemon) serve(what string, f func() error) {
	d.background(func() {
		if err := f(); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			select {
			case d.failed <- fmt.Errorf("serve %s: %w", what, err):
			default: // an earlier failure is stopping the process already
			}
		}
	})
}

// startGossip is optional: without it nodes are found where the log says.
func (d *Daemon) startGossip() {
	g, err := cluster.StartGossip(cluster.GossipConfig{ID: d.node.NodeID(), Cluster: d.place.member.ClusterID, Bind: d.config.Listen.Gossip,
		Advertise: d.config.Advertise.Gossip, Node: d.config.Advertise.Node, Keys: d.ring.current(), Logger: d.log})
	if err != nil {
		d.log.Warn("gossip is off: nodes are found at the addresses in the log only", "err", err)
		return
	}
	d.gossip.Store(g)
}

func (d *Daemon) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return d.renewal.current.Load(), nil
	}}
}

// stop takes things down in the order that loses least: the lease first, so that
// nothing is released any more, then new requests, leadership and Raft, then what
// they wrote to.
func (d *Daemon) stop(clean bool) error {
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if d.node != nil {
		d.node.GiveUpLease("it is stopping")
	}
	if clean && d.teller != nil {
		d.tellLast()
	}
	if d.cancel != nil {
		d.cancel()
	}
	if d.admin != nil {
		note(d.admin.Close())
	}
	if d.peers != nil {
		note(d.peers.Close())
	}
	if g := d.gossip.Load(); g != nil {
		note(g.Close())
	}
	if d.node != nil {
		note(d.node.Close())
	}
	if d.mux != nil {
		note(d.mux.Close())
	}
	d.running.Wait()
	if d.journal != nil {
		if _, err := d.journal.Append(context.Background(), audit.Record{Kind: audit.Stop}); err != nil {
			note(err)
		}
		note(d.journal.Close())
	}
	if d.store != nil {
		note(d.store.Close())
	}
	if d.place != nil {
		if clean && len(errs) == 0 {
			note(d.place.dir.Close())
		} else {
			note(d.place.dir.Abandon())
		}
	}
	return errors.Join(errs...)
}
