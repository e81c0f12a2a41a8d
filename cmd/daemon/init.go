package daemon

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/cluster/fresh"
	"github.com/chancery-project/chancery/cluster/identity"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// adminLifetime of the first admin's certificate. It is for setting principals
// up, not for daily work.
const adminLifetime = 365 * 24 * time.Hour

// AdminName is the first principal of every cluster.
const AdminName = "admin"

// Init founds a cluster in an empty data directory and writes the first admin's
// credential into adminOut: ca.pem, admin.crt, and admin.key with mode 0600. It
// returns the cluster id.
//
// It runs the node for a moment, alone and deaf, because genesis is an entry of
// the log like any other.
func Init(ctx context.Context, c Config, adminOut, version string, log *slog.Logger) (clusterID string, err error) {
	switch blank, err := disk.Blank(c.DataDir); {
	case err != nil:
		return "", fmt.Errorf("found a cluster: %w", err)
	case !blank && founded(c.DataDir):
		return "", fmt.Errorf("found a cluster: %w", inCluster(c.DataDir))
	case !blank:
		return "", fmt.Errorf("found a cluster: %s is not empty: choose another data_dir, or, if an earlier init failed in it, remove it first", c.DataDir)
	}
	if err := checkAdminOut(adminOut); err != nil {
		return "", err
	}
	var raw [16]byte
	rand.Read(raw[:]) // never fails: crypto/rand ends the process instead
	clusterID = hex.EncodeToString(raw[:])
	now := time.Now()
	p, err := newPlace(c, clusterID, now)
	if err != nil {
		return "", fmt.Errorf("found a cluster: %w", err)
	}
	defer func() { err = errors.Join(err, p.dir.Close()) }()
	admin, key, err := newAdmin(p.ca, now)
	if err != nil {
		return "", err
	}
	genesis := &command.Init{ClusterID: clusterID, Name: c.Cluster.Name, Node: p.record(c, version), Settings: lifecycle.DefaultSettings(),
		Admin: command.PrincipalRecord{Name: AdminName, Kind: lifecycle.Person, Certs: []string{identity.SPKIHashOf(admin)},
			Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}, {Role: lifecycle.Operator, Keys: "*"}, {Role: lifecycle.Signer, Keys: "*"}, {Role: lifecycle.Auditor, Keys: "*"}}}}
	if err := commitGenesis(ctx, c, p, genesis, log); err != nil {
		return "", fmt.Errorf("found a cluster: %w", err)
	}
	bundle, err := identity.NewBundle(p.ca.Certificate())
	if err != nil {
		return "", err
	}
	leaf, err := p.ca.IssueNode(p.key.Public(), c.hosts(), now)
	if err != nil {
		return "", err
	}
	if err := writeAdmin(adminOut, bundle, admin, key); err != nil {
		return "", err
	}
	return clusterID, p.finish(leaf, bundle, [][]byte{newGossipKey()}, membership{ClusterID: clusterID, ClusterName: c.Cluster.Name, NodeName: c.NodeName})
}

func newAdmin(ca *identity.Authority, now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the admin's key: %w", err)
	}
	cert, err := ca.IssuePrincipal(AdminName, key.Public(), adminLifetime, now)
	return cert, key, err
}

// commitGenesis bootstraps Raft with this one server and commits the first entry.
func commitGenesis(ctx context.Context, c Config, p *place, genesis *command.Init, log *slog.Logger) (err error) {
	node, err := cluster.Start(cluster.Config{ID: p.key.NodeID(), Dir: p.dir, Address: c.Advertise.Node, Logger: log, Elapsed: elapsed,
		Streams: cluster.Streams{Listener: newDeafListener(), Identify: func(net.Conn) lifecycle.NodeID { return "" },
			Dial: func(string, lifecycle.NodeID, time.Duration) (net.Conn, error) {
				return nil, errors.New("init talks to nobody")
			}}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := node.Bootstrap(); err != nil {
		return err
	}
	for !node.Leadership().Ready {
		select {
		case <-node.LeadershipChanged():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o, err := node.Propose(ctx, &command.Command{Body: genesis, Header: command.Header{At: lifecycle.Instant(time.Now().UnixMilli()), Actor: "init", Node: p.key.NodeID()}})
	if err != nil {
		return err
	}
	return o.Err()
}

// elapsed is the lease clock.
func elapsed() time.Duration { return time.Duration(fresh.BootClock{}.Now()) }

// checkAdminOut looks before the cluster is founded whether its first credential can
// be written, because nobody could get in without.
func checkAdminOut(dir string) error {
	for _, name := range []string{"admin.key", "admin.crt", "ca.pem"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("found a cluster: %s holds %s already: choose another --admin-out", dir, name)
		}
	}
	if err := os.MkdirAll(dir, disk.DirMode); err != nil {
		return fmt.Errorf("found a cluster: --admin-out takes no files: %w", err)
	}
	trial, err := os.CreateTemp(dir, ".trial-*")
	if err != nil {
		return fmt.Errorf("found a cluster: --admin-out takes no files: %w", err)
	}
	return errors.Join(trial.Close(), os.Remove(trial.Name()))
}

func writeAdmin(dir string, bundle *identity.Bundle, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the admin's key: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
		mode os.FileMode
	}{
		{"ca.pem", bundle.PEM(), 0o644},
		{"admin.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644},
		{"admin.key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600},
	} {
		if err := disk.WriteFileAtomic(filepath.Join(dir, f.name), f.data, f.mode); err != nil {
			return fmt.Errorf("write the admin's credential: %w", err)
		}
	}
	return nil
}

// deafListener accepts nothing.
type deafListener struct {
	done chan struct{}
	once sync.Once
}

func newDeafListener() *deafListener { return &deafListener{done: make(chan struct{})} }

func (l *deafListener) Accept() (net.Conn, error) {
	<-l.done
	return nil, net.ErrClosed
}

func (l *deafListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *deafListener) Addr() net.Addr { return &net.TCPAddr{} }
