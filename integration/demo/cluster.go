package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/integration/netlab"
	"github.com/chancery-project/chancery/transport/wire"
)

// cluster is three servers, each on a host of its own, and a fourth host for callers.
type cluster struct {
	program string
	dir     string
	net     *netlab.Lab
	outside *netlab.Host
	nodes   []*node
}

type node struct {
	name string
	dir  string
	host *netlab.Host
	cmd  *exec.Cmd
	life io.Closer // its standard input: when it closes, the server ends
}

func (n *node) addr(port uint16) string { return netip.AddrPortFrom(n.host.Addr, port).String() }
func (n *node) api() string             { return n.addr(7600) }
func (n *node) config() string          { return filepath.Join(n.dir, "chancery.toml") }

func open(program string) (*cluster, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "chancery-demo-")
	if err != nil {
		return nil, err
	}
	c := &cluster{program: program, dir: dir, net: netlab.Start(1)}
	if c.outside, err = c.net.AddHost("outside"); err != nil {
		return nil, errors.Join(err, c.close())
	}
	return c, nil
}

// close ends the servers and leaves nothing behind.
func (c *cluster) close() error {
	for _, n := range c.nodes {
		if n.cmd != nil {
			_ = n.cmd.Process.Kill() // it may have ended already
			_ = n.cmd.Wait()         // killed, as it should be
		}
	}
	return errors.Join(c.net.Close(), os.RemoveAll(c.dir))
}

// found makes the cluster as an operator would: init, then join and promote.
func (c *cluster) found(ctx context.Context) error {
	first, err := c.layOut()
	if err != nil {
		return err
	}
	if err := c.command(first, "init", "--config", first.config(), "--admin-out", filepath.Join(c.dir, "admin")); err != nil {
		return err
	}
	if err := errors.Join(c.start(first), c.ready(ctx, first, "")); err != nil {
		return err
	}
	for len(c.nodes) < 3 {
		if err := c.join(ctx); err != nil {
			return err
		}
	}
	for _, n := range c.nodes {
		if err := c.ready(ctx, n, "?for=sign"); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) layOut() (*node, error) {
	n := &node{name: fmt.Sprintf("n%d", len(c.nodes)+1)}
	n.dir = filepath.Join(c.dir, n.name)
	var err error
	if n.host, err = c.net.AddHost(n.name); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`node_name = %q
data_dir = "data"
[listen]
api = %q
public = %q
node = %q
gossip = %q
metrics = "off"
[tls]
plain_public = true
[cluster]
name = "demo"
[keystore]
driver = "soft"
key_file = "keystore.key"
`, n.name, n.addr(7600), n.addr(7601), n.addr(7602), n.addr(7603))
	if err := errors.Join(os.Mkdir(n.dir, 0o700), os.WriteFile(n.config(), []byte(text), 0o600)); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, n)
	return n, c.command(n, "keystore", "create-key-file", filepath.Join(n.dir, "keystore.key"))
}

func (c *cluster) join(ctx context.Context) error {
	k := c.client(c.nodes...)
	defer k.Close()
	n, err := c.layOut()
	if err != nil {
		return err
	}
	token, err := k.CreateJoinToken(ctx, wire.CreateJoinToken{})
	if err != nil {
		return fmt.Errorf("make a join token: %w", err)
	}
	file := filepath.Join(n.dir, "join-token")
	if err := os.WriteFile(file, []byte(token.Token+"\n"), 0o600); err != nil {
		return err
	}
	if err := c.command(n, "join", "--config", n.config(), "--token-file", file); err != nil {
		return err
	}
	if err := errors.Join(c.start(n), c.ready(ctx, n, "")); err != nil {
		return err
	}
	if _, err := k.Promote(ctx, n.name, wire.Promote{Voter: true, Signer: true}); err != nil {
		return fmt.Errorf("promote %s: %w", n.name, err)
	}
	return nil
}

// command runs a command line on a node's host to its end.
func (c *cluster) command(n *node, args ...string) error {
	cmd := exec.Command(c.program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := n.host.Run(cmd); err != nil {
		return fmt.Errorf("chancery %s on %s: %w\n%s", strings.Join(args, " "), n.name, err, out.String())
	}
	return nil
}

func (c *cluster) start(n *node) error {
	log, err := os.Create(filepath.Join(n.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close() // the server has its own
	n.cmd = exec.Command(c.program, "server", "--config", n.config(), "--end-with-stdin")
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if n.life, err = n.cmd.StdinPipe(); err != nil {
		return err
	}
	return n.host.Start(n.cmd)
}

func (c *cluster) ready(ctx context.Context, n *node, query string) error {
	why := ""
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); {
		body, err := c.get(ctx, n, wire.PathReady+query, wire.Bounded)
		if err == nil {
			return nil
		}
		if why = err.Error(); len(body) > 0 {
			why = string(body)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s is not ready: %s", n.name, strings.TrimSpace(why))
}

// client is the first admin, calling from the host for callers.
func (c *cluster) client(nodes ...*node) *client.Client {
	var addrs []string
	bundle := new(bytes.Buffer)
	for _, n := range c.nodes {
		b, err := os.ReadFile(filepath.Join(n.dir, "data", "identity", "bundle.pem"))
		if err == nil { // a node that has not joined yet has none
			bundle.Write(b)
		}
	}
	for _, n := range nodes {
		addrs = append(addrs, n.api())
	}
	ca := filepath.Join(c.dir, "ca.pem")
	if err := os.WriteFile(ca, bundle.Bytes(), 0o600); err != nil {
		panic(err) // into a directory that this program made
	}
	k, err := client.New(client.Config{Addrs: addrs, CAFile: ca, CertFile: filepath.Join(c.dir, "admin", "admin.crt"), KeyFile: filepath.Join(c.dir, "admin", "admin.key"),
		Timeout: 40 * time.Second, AttemptTimeout: 3 * time.Second, Dial: c.outside.Dial})
	if err != nil {
		panic(err) // all of it was made by this program
	}
	return k
}

func (c *cluster) createKey(ctx context.Context) error {
	k := c.client(c.nodes...)
	defer k.Close()
	op, err := k.CreateKey(ctx, wire.CreateKey{Name: key, Purpose: "artifact", Alg: "ES256", Owner: "release@example.com", BusinessReason: "sign releases"},
		client.Wait(wire.Activated, 30*time.Second))
	if err != nil {
		return fmt.Errorf("create the key: %w", err)
	}
	if !op.Has(wire.Activated) {
		return fmt.Errorf("create the key: it is %q, not active: %v", op.Reached, op.WaitsFor)
	}
	return nil
}

// status is what a node's public listener says of the key.
func (c *cluster) status(ctx context.Context, n *node) (*wire.KeyStatus, error) {
	b, err := c.get(ctx, n, wire.Path(wire.PathKeyStatus, key), wire.Bounded)
	if err != nil {
		return nil, err
	}
	s := new(wire.KeyStatus)
	return s, json.Unmarshal(b, s)
}

func (c *cluster) get(ctx context.Context, n *node, path, level string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.addr(7601)+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(wire.HeaderConsistency, level)
	web := &http.Client{Transport: &http.Transport{DialContext: c.outside.Dial, DisableKeepAlives: true}}
	resp, err := web.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, wire.MaxAnswerBytes))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return b, err
}
