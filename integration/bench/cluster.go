//go:build linux && cgo

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	_ "net/http/pprof" // profiles of a server, when asked for
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/cmd/daemon"
	"github.com/chancery-project/chancery/cmd/dev"
	"github.com/chancery-project/chancery/transport/wire"
)

// profileEnv, when set, lets a server answer net/http/pprof.
const profileEnv = "BENCH_PROFILE"

const nodes = 3

// cluster is three servers, with a SoftHSM token each or with software key stores.
type cluster struct {
	dir     string
	cancel  context.CancelFunc
	done    chan error
	configs []daemon.Config
	client  *client.Client
	roots   *x509.CertPool
	token   string // of a principal that may do everything measured here
}

// serveNode is a child that is one node: what `chancery server` does.
func serveNode(args []string) error {
	if len(args) < 2 || args[0] != "--config" {
		return errors.New("usage: server --config FILE")
	}
	conf, err := daemon.LoadConfig(args[1], os.Environ())
	if err != nil {
		return err
	}
	// Every round begins with all callers at once; the queue in front of a token is
	// shorter than that by default, and refuses.
	conf.KeyStore.QueueMax = 256
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, the parent has gone
		stop()
	}()
	// The linker leaves heap profiles out of a program that cannot show them, as it does
	// with chancery; this one can.
	runtime.MemProfileRate = 0
	if os.Getenv(profileEnv) != "" {
		if err := serveProfiles(filepath.Dir(args[1])); err != nil {
			return err
		}
	}
	return daemon.Run(ctx, conf, "bench", func(d *daemon.Daemon) {
		if err := serveInside(d.Signer(), filepath.Dir(args[1])); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err) // whoever asks finds no address
		}
	})
}

func serveProfiles(dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("serve profiles: %w", err)
	}
	go func() { _ = http.Serve(l, nil) }() // ends with the process
	return os.WriteFile(filepath.Join(dir, "pprof"), []byte(l.Addr().String()), 0o600)
}

// start brings the cluster up, once a run.
func (b *bench) start() (c *cluster, err error) {
	if b.cluster == nil {
		b.cluster, err = b.startCluster("cluster", "pkcs11")
	}
	return b.cluster, err
}

// startCluster brings three nodes up in a directory of their own.
func (b *bench) startCluster(name, keystore string) (*cluster, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	if b.profile != "" {
		if err := os.Setenv(profileEnv, "1"); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithCancel(b.ctx)
	c := &cluster{dir: filepath.Join(b.dir, name), cancel: cancel, done: make(chan error, 1)}
	ready := make(chan struct{})
	var once sync.Once
	go func() {
		c.done <- dev.Run(ctx, dev.Options{Dir: c.dir, Nodes: nodes, KeyStore: keystore, Binary: self, Say: b.say}, "bench", func() { once.Do(func() { close(ready) }) })
	}()
	select {
	case <-ready:
	case err := <-c.done:
		return nil, err
	}
	return c, c.connect(b.ctx)
}

func (c *cluster) stop() error {
	c.client.Close()
	c.cancel()
	return <-c.done
}

// connect reads where everybody is and makes the principal that calls.
func (c *cluster) connect(ctx context.Context) error {
	var addrs []string
	for i := 1; i <= nodes; i++ {
		conf, err := daemon.LoadConfig(filepath.Join(c.dir, "n"+strconv.Itoa(i), "chancery.toml"), nil)
		if err != nil {
			return err
		}
		c.configs = append(c.configs, conf)
		addrs = append(addrs, conf.Advertise.API)
	}
	ca := filepath.Join(c.dir, "ca.pem")
	pem, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("read the CA: %w", err)
	}
	c.roots = x509.NewCertPool()
	if !c.roots.AppendCertsFromPEM(pem) {
		return errors.New("read the CA: no certificate")
	}
	admin := filepath.Join(c.dir, "admin")
	c.client, err = client.New(client.Config{Addrs: addrs, CAFile: ca, CertFile: filepath.Join(admin, "admin.crt"),
		KeyFile: filepath.Join(admin, "admin.key"), Timeout: time.Minute})
	if err != nil {
		return err
	}
	if _, err := c.client.AddPrincipal(ctx, wire.AddPrincipal{Name: "bench", Kind: "service", Roles: []string{"operator", "signer", "auditor"}}); err != nil {
		return fmt.Errorf("add a principal: %w", err)
	}
	t, err := c.client.CreateToken(ctx, wire.CreateToken{Principal: "bench", Label: "bench"})
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	c.token = t.Secret
	return nil
}

// api is a node's API listener, with the caller's token.
func (c *cluster) api(node int) *target {
	return &target{address: c.configs[node-1].Advertise.API, header: "Authorization: Bearer " + c.token + "\r\n",
		tls: &tls.Config{RootCAs: c.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}}
}

// public is a node's public listener.
func (c *cluster) public(node int) *target {
	return &target{address: c.configs[node-1].Advertise.Public}
}

// cpu is what all nodes together have used.
func (c *cluster) cpu() (sum time.Duration, err error) {
	for node := 1; node <= nodes; node++ {
		pid, err := c.pid(node)
		if err != nil {
			return 0, err
		}
		used, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

func (c *cluster) pid(node int) (int, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, "n"+strconv.Itoa(node), "pid"))
	if err != nil {
		return 0, fmt.Errorf("find the process of node %d: %w", node, err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// leader is the number of the node that leads, as node sees it; 0 = it knows none.
func (c *cluster) leader(ctx context.Context) (int, error) {
	list, err := c.client.Nodes(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask for the leader: %w", err)
	}
	for _, n := range list.Items {
		if n.Leader {
			return strconv.Atoi(strings.TrimPrefix(n.Name, "n"))
		}
	}
	return 0, nil
}

// key makes a key that signs on every node.
func (c *cluster) key(ctx context.Context, name, policy string) error {
	k := wire.CreateKey{Name: name, Purpose: "artifact", Alg: "ES256", Owner: "bench@example.com", BusinessReason: "measure"}
	if policy != "" {
		k.Policy = []byte(policy)
	}
	if _, err := c.client.CreateKey(ctx, k, client.Wait("active", 30*time.Second)); err != nil {
		return fmt.Errorf("make key %s: %w", name, err)
	}
	return nil
}

// profileNodes takes a CPU profile of each node while fn runs: the processors are shared,
// so what followers spend is missing elsewhere.
func (b *bench) profileNodes(c *cluster, name string, fn func() error) error {
	if b.profile == "" {
		return fn()
	}
	saved := make(chan error, nodes)
	for node := 1; node <= nodes; node++ {
		addr, err := os.ReadFile(filepath.Join(c.dir, "n"+strconv.Itoa(node), "pprof"))
		if err != nil {
			return fmt.Errorf("profile node %d: %w", node, err)
		}
		go func() {
			saved <- save(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", addr, max(1, int(b.each.Seconds()))), filepath.Join(b.profile, fmt.Sprintf("%s-n%d.pprof", name, node)))
		}()
	}
	err := fn()
	for range nodes {
		err = errors.Join(err, <-saved)
	}
	return err
}

func save(url, path string) error {
	resp, err := http.Get(url)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("take a profile: %w", err)
	}
	return os.WriteFile(path, body, 0o644)
}
