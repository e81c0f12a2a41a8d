package dev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/cmd/daemon"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Cluster is a running development cluster.
type Cluster struct {
	Options
	version  string
	configs  []daemon.Config
	nodes    []*process
	stopping chan struct{}
	stopOnce sync.Once
}

const (
	setupTimeout = 2 * time.Minute
	endGrace     = 15 * time.Second
)

// Run brings the cluster up, calls ready once every node can sign and the env file
// is written, and keeps it until ctx ends or `dev stop`.
func Run(ctx context.Context, o Options, version string, ready func()) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	control, err := o.listenControl()
	if err != nil {
		return err
	}
	defer control.Close()
	c := &Cluster{Options: o, version: version, stopping: make(chan struct{})}
	if err := os.Remove(o.env()); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the old env file: %w", err)
	}
	defer func() { err = errors.Join(err, c.end()) }()
	setup, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	if err := c.setUp(setup); err != nil {
		return fmt.Errorf("%w\nthe nodes' logs are in %s", err, filepath.Join(o.Dir, "n*", "log"))
	}
	go c.serveControl(control)
	ready()
	select {
	case <-ctx.Done():
	case <-c.stopping:
	}
	return nil
}

// setUp starts every node, founds the cluster at the first time, and writes the
// env file last.
func (c *Cluster) setUp(ctx context.Context) error {
	if err := c.prepareKeyStores(); err != nil {
		return err
	}
	given := map[string]bool{}
	for i := 1; i <= c.Nodes; i++ {
		if err := c.layOut(i, given); err != nil {
			return err
		}
		conf, err := daemon.LoadConfig(c.config(i), nil)
		if err != nil {
			return err
		}
		for _, addr := range []string{conf.Listen.API, conf.Listen.Public, conf.Listen.Node, conf.Listen.Gossip, conf.Listen.Metrics} {
			given[addr] = true // of an earlier run, perhaps
		}
		c.configs = append(c.configs, conf)
		c.nodes = append(c.nodes, &process{options: &c.Options, number: i})
	}
	if err := c.found(ctx); err != nil {
		return err
	}
	admin, err := c.adminClient()
	if err != nil {
		return err
	}
	defer admin.Close()
	for i := 1; i <= c.Nodes; i++ {
		if err := c.bring(ctx, admin, i); err != nil {
			return err
		}
	}
	if err := c.people(ctx, admin); err != nil {
		return err
	}
	for i := range c.nodes {
		if err := c.waitReady(ctx, i, "?for=sign"); err != nil {
			return err
		}
	}
	return c.writeEnv()
}

// found runs init for the first node, once.
func (c *Cluster) found(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(c.admin(), "admin.key")); err == nil {
		return nil
	}
	c.Say("founding the cluster on n1")
	if _, err := daemon.Init(ctx, c.configs[0], c.admin(), c.version, slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	return nil
}

// bring starts a node; one that has no membership yet joins first and is promoted.
func (c *Cluster) bring(ctx context.Context, admin *client.Client, i int) error {
	fresh := i > 1 && !exists(filepath.Join(c.configs[i-1].DataDir, "identity", "membership.json"))
	if fresh {
		c.Say("joining %s", nodeName(i))
		if err := c.join(ctx, admin, i); err != nil {
			return err
		}
	}
	if err := c.nodes[i-1].start(); err != nil {
		return err
	}
	if i == 1 && exists(filepath.Join(c.node(min(2, c.Nodes)), "data", "identity", "membership.json")) {
		return nil // without the others it cannot lead yet
	}
	if fresh {
		if _, err := admin.Promote(ctx, nodeName(i), wire.Promote{Voter: true, Signer: true}); err != nil {
			return fmt.Errorf("promote %s: %w", nodeName(i), err)
		}
	}
	if i == 1 || fresh {
		return c.waitReady(ctx, i-1, "")
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func (c *Cluster) join(ctx context.Context, admin *client.Client, i int) error {
	t, err := admin.CreateJoinToken(ctx, wire.CreateJoinToken{})
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	path := filepath.Join(c.node(i), "join-token")
	if err := os.WriteFile(path, []byte(t.Token+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the join token: %w", err)
	}
	defer os.Remove(path)
	return daemon.Join(ctx, c.configs[i-1], path, c.version)
}

func (c *Cluster) adminClient() (*client.Client, error) {
	var addrs []string
	for _, conf := range c.configs {
		addrs = append(addrs, conf.Advertise.API)
	}
	ca := filepath.Join(c.admin(), "ca.pem")
	if exists(c.ca()) {
		ca = c.ca()
	}
	return client.New(client.Config{Addrs: addrs, CAFile: ca, CertFile: filepath.Join(c.admin(), "admin.crt"),
		KeyFile: filepath.Join(c.admin(), "admin.key"), Timeout: time.Minute})
}

// people adds alice and bob, with a token each.
func (c *Cluster) people(ctx context.Context, admin *client.Client) error {
	for _, who := range []string{"alice", "bob"} {
		if exists(c.token(who)) {
			continue
		}
		_, err := admin.AddPrincipal(ctx, wire.AddPrincipal{Name: who, Kind: lifecycle.Person, Roles: []string{"approver", "operator", "signer", "auditor"}})
		var refused *wire.Error
		if err != nil && !(errors.As(err, &refused) && refused.Code == "already_exists") {
			return fmt.Errorf("add %s: %w", who, err)
		}
		t, err := admin.CreateToken(ctx, wire.CreateToken{Principal: who, Label: "dev"})
		if err != nil {
			return fmt.Errorf("make a token for %s: %w", who, err)
		}
		if err := os.WriteFile(c.token(who), []byte(t.Secret+"\n"), 0o600); err != nil {
			return fmt.Errorf("write the token of %s: %w", who, err)
		}
	}
	return nil
}

// waitReady polls a node's probe until it answers 200.
func (c *Cluster) waitReady(ctx context.Context, i int, query string) error {
	url := "http://" + c.configs[i].Advertise.Public + "/readyz" + query
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	why := "it does not answer"
	for {
		if r, err := http.Get(url); err == nil {
			body := make([]byte, 512)
			n, _ := r.Body.Read(body) // only for the message below
			_ = r.Body.Close()        // read as far as wanted
			if r.StatusCode == http.StatusOK {
				return nil
			}
			why = strings.TrimSpace(string(body[:n]))
		}
		if ended, err := c.nodes[i].ended(); ended {
			return fmt.Errorf("%s ended before it was ready: %v", nodeName(i+1), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %s", nodeName(i+1), why)
		case <-tick.C:
		}
	}
}

// writeEnv collects the CA bundle and writes what a shell needs.
func (c *Cluster) writeEnv() error {
	bundle, err := os.ReadFile(filepath.Join(c.configs[0].DataDir, "identity", "bundle.pem"))
	if err != nil {
		return fmt.Errorf("read the CA bundle: %w", err)
	}
	if err := os.WriteFile(c.ca(), bundle, 0o644); err != nil {
		return fmt.Errorf("write the CA bundle: %w", err)
	}
	var apis, publics []string
	for _, conf := range c.configs {
		apis = append(apis, "https://"+conf.Advertise.API)
		publics = append(publics, "http://"+conf.Advertise.Public)
	}
	var b strings.Builder
	for _, v := range [][2]string{
		{"CHANCERY_ADDR", apis[0]}, {"CHANCERY_ADDRS", strings.Join(apis, ",")}, {"CHANCERY_PUBLIC", strings.Join(publics, ",")}, {"CHANCERY_CA", c.ca()},
		{"CHANCERY_CERT", filepath.Join(c.admin(), "admin.crt")}, {"CHANCERY_CERT_KEY", filepath.Join(c.admin(), "admin.key")}, {"CHANCERY_DEV_DIR", c.Dir},
	} {
		fmt.Fprintf(&b, "export %s=%s\n", v[0], quote(v[1]))
	}
	return os.WriteFile(c.env(), []byte(b.String()), 0o600)
}

// quote makes a word that every shell reads as itself.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// end stops the nodes together, so that they need not elect leaders in between.
func (c *Cluster) end() error {
	var wg sync.WaitGroup
	for _, p := range c.nodes {
		wg.Go(func() {
			t := time.AfterFunc(endGrace, func() { _ = p.signal(syscall.SIGKILL) }) // it may have ended meanwhile
			defer t.Stop()
			_ = p.signal(syscall.SIGTERM) // "not running" is what is wanted
		})
	}
	wg.Wait()
	return os.Remove(c.socket())
}
