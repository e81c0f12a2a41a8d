package daemon

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// place is a node's data directory with its identity and its membership. While the
// node runs nothing in it is changed: every goroutine reads it.
type place struct {
	dir    *disk.Dir
	store  identity.Store
	key    *identity.Key
	ca     *identity.Authority
	member membership // as it was when the process started
	gossip [][]byte   // likewise: gossipRing has what became of them
}

// membership is membership.json: which cluster the directory belongs to. It is
// written last by init and join, so a directory without it was never finished.
type membership struct {
	ClusterID   string                            `json:"cluster_id"`
	ClusterName string                            `json:"cluster_name"`
	NodeName    string                            `json:"node_name"`
	Seeds       map[lifecycle.NodeID]cluster.Seed `json:"seeds"`
}

const (
	membershipFile = "membership.json"
	gossipFile     = "gossip.keys"
	gossipKeyBytes = 32
)

var errNotMember = errors.New("the data directory belongs to no cluster yet: run `chancery init` for a new cluster, or `chancery join` with a token from `chancery node token`")

// openPlace locks the directory of a member.
func openPlace(c Config) (*place, error) {
	dir, err := disk.Open(c.DataDir, disk.Options{})
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir, store: identity.NewStore(dir.Identity())}
	if err := p.load(c); err != nil {
		return nil, errors.Join(err, dir.Abandon())
	}
	return p, nil
}

func (p *place) load(c Config) error {
	b, err := os.ReadFile(p.path(membershipFile))
	if notExist(err) {
		return errNotMember
	}
	if err != nil {
		return fmt.Errorf("read the membership: %w", err)
	}
	if err := json.Unmarshal(b, &p.member); err != nil {
		return fmt.Errorf("read the membership: %w", err)
	}
	if p.member.NodeName != c.NodeName {
		return fmt.Errorf("node_name is %q, but this data directory is %q's: a node keeps its name for life", c.NodeName, p.member.NodeName)
	}
	if p.key, err = p.store.LoadKey(); err != nil {
		return fmt.Errorf("read the identity: %w", err)
	}
	if p.ca, err = p.store.LoadAuthority(p.member.ClusterID); err != nil {
		return fmt.Errorf("read the CA instance: %w", err)
	}
	if b, err = os.ReadFile(p.path(gossipFile)); err != nil {
		return fmt.Errorf("read the gossip keys: %w", err)
	}
	return json.Unmarshal(b, &p.gossip)
}

func (p *place) path(name string) string { return filepath.Join(p.dir.Identity(), name) }

// newPlace begins a directory for init or join: an identity and a CA instance.
// It may be repeated after a failure.
func newPlace(c Config, clusterID string, now time.Time) (*place, error) {
	dir, err := disk.Open(c.DataDir, disk.Options{})
	if err != nil {
		return nil, err
	}
	p := &place{dir: dir, store: identity.NewStore(dir.Identity())}
	if err := p.begin(clusterID, now); err != nil {
		return nil, errors.Join(err, dir.Abandon())
	}
	return p, nil
}

// founded reports whether init or join has come to its end in a data directory.
func founded(root string) bool {
	_, err := os.Stat(filepath.Join(root, "identity", membershipFile))
	return err == nil
}

func inCluster(root string) error {
	return fmt.Errorf("the data directory %s belongs to a cluster already: start it with `chancery server`", root)
}

func (p *place) begin(clusterID string, now time.Time) (err error) {
	if founded(p.dir.Root()) {
		return inCluster(p.dir.Root())
	}
	if p.key, err = p.store.LoadOrCreateKey(); err != nil {
		return err
	}
	p.ca, err = p.store.LoadAuthority(clusterID)
	if notExist(err) {
		if p.ca, err = identity.NewAuthority(clusterID, p.key.NodeID(), now); err != nil {
			return err
		}
		err = p.store.CreateAuthority(p.ca)
	}
	return err
}

// record is what the node says of itself to the cluster.
func (p *place) record(c Config, version string) command.NodeRecord {
	return command.NodeRecord{ID: p.key.NodeID(), Name: c.NodeName, Incarnation: p.dir.Incarnation(), Addrs: c.addrs(),
		CACert: p.ca.Certificate().Raw, MaxFormat: command.MaxFormat, Version: version, Driver: c.KeyStore.Driver}
}

// finish stores certificate, bundle and gossip keys, then the membership.
func (p *place) finish(leaf *x509.Certificate, bundle *identity.Bundle, gossip [][]byte, m membership) error {
	if err := p.store.SaveBundle(bundle); err != nil {
		return err
	}
	if err := p.store.SaveLeaf(p.key, leaf); err != nil {
		return err
	}
	if err := p.writeGossip(gossip); err != nil {
		return err
	}
	return p.writeMembership(m)
}

func (p *place) writeMembership(m membership) error {
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the membership: %w", err)
	}
	if err := disk.WriteFileAtomic(p.path(membershipFile), append(b, '\n'), disk.FileMode); err != nil {
		return fmt.Errorf("write the membership: %w", err)
	}
	return nil
}

func newGossipKey() []byte {
	b := make([]byte, gossipKeyBytes)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// certificate is the node's certificate as TLS shows it: the leaf and the CA
// instance that issued it, so that a client with the bundle, and a joiner with a
// pin, can both check it.
func (p *place) certificate(bundle *identity.Bundle) (*tls.Certificate, error) {
	c, err := p.store.LoadLeaf(p.key)
	if err != nil {
		return nil, fmt.Errorf("read the node certificate: %w", err)
	}
	return withIssuer(c, bundle), nil
}

func withIssuer(c *tls.Certificate, bundle *identity.Bundle) *tls.Certificate {
	full := *c
	full.Certificate = [][]byte{c.Certificate[0]}
	for _, ca := range bundle.Certificates() {
		if bytes.Equal(ca.RawSubject, c.Leaf.RawIssuer) && c.Leaf.CheckSignatureFrom(ca) == nil {
			full.Certificate = append(full.Certificate, ca.Raw)
		}
	}
	return &full
}

func (c Log) level() (level slog.Level, err error) {
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		return 0, fmt.Errorf("log.level: %q is unknown: choose debug, info, warn or error", c.Level)
	}
	return level, nil
}

// newLogger makes the process's logger.
func newLogger(c Log) (*slog.Logger, error) {
	level, err := c.level()
	if err != nil {
		return nil, err
	}
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
}
