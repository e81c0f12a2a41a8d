package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/template"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/integration/netlab"
	"github.com/chancery-project/chancery/transport/wire"
)

// lab is a set of real servers on the loopback interface, made by the commands
// an operator would type.
type lab struct {
	t     *testing.T
	dir   string
	nodes []*node
	admin *client.Client // of the first admin, all nodes

	// Of a laboratory only, see breakable_test.go.
	net     *netlab.Lab
	outside *netlab.Host // where callers are
	retired []*node      // removed from the cluster; their processes may still run
}

// node is one member.
type node struct {
	*process
	c                                  *lab
	dir                                string
	voter                              bool
	api, public, peer, gossip, metrics string // addresses
}

func (n *node) data(elem ...string) string {
	return filepath.Join(append([]string{n.dir, "data"}, elem...)...)
}

var serverConfig = template.Must(template.New("config").Parse(`node_name = "{{.Name}}"
data_dir = "data"

[listen]
api = "{{.API}}"
public = "{{.Public}}"
node = "{{.Peer}}"
gossip = "{{.Gossip}}"
metrics = "{{.Metrics}}"

[tls]
plain_public = true

[cluster]
name = "lab"

[keystore]
driver = "soft"
key_file = "keystore.key"

[log]
level = "{{.Level}}"
`))

// startCluster founds a cluster with n voting and signing nodes and waits until each
// of them can sign.
func startCluster(t *testing.T, n int) *lab {
	t.Helper()
	c := &lab{t: t, dir: t.TempDir()}
	t.Cleanup(c.end)
	first := c.layOut()
	c.found(first)
	for len(c.nodes) < n {
		c.promote(c.join())
	}
	for _, m := range c.nodes {
		c.waitReady(m, "?for=sign")
	}
	return c
}

// found makes the cluster with its first node.
func (c *lab) found(first *node) {
	c.t.Helper()
	first.must("init", "--config", first.config, "--admin-out", c.path("admin"))
	c.writeBundle()
	first.voter = true
	first.start(c.t)
	c.waitReady(first, "")
	c.admin = c.client()
}

// must runs a command line on the node's machine and wants exit code 0.
func (n *node) must(args ...string) ended {
	n.c.t.Helper()
	if n.host == nil {
		return must(n.c.t, nil, args...)
	}
	cmd := exec.Command(binary(n.c.t), args...)
	r := finish(n.c.t, cmd, nil, func() error { return n.host.Run(cmd) })
	if r.code != 0 {
		n.c.t.Fatalf("chancery %s on %s: exit %d\n%s%s", strings.Join(args, " "), n.name, r.code, r.stdout, r.stderr)
	}
	return r
}

func (c *lab) path(elem ...string) string {
	return filepath.Join(append([]string{c.dir}, elem...)...)
}

// layOut writes the configuration and the key file of one more node.
func (c *lab) layOut() *node {
	c.t.Helper()
	name := "n" + strconv.Itoa(len(c.nodes)+1)
	dir := c.path(name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	p := &process{name: name, config: filepath.Join(dir, "chancery.toml"), log: filepath.Join(dir, "log")}
	a := c.place(p, dir)
	n := &node{c: c, dir: dir, api: a[0], public: a[1], peer: a[2], gossip: a[3], metrics: a[4], process: p}
	c.nodes = append(c.nodes, n)
	level := "debug"
	if c.net != nil {
		level = "info" // its callers never pause
	}
	var b bytes.Buffer
	err := serverConfig.Execute(&b, map[string]string{"Name": name, "API": n.api, "Public": n.public, "Peer": n.peer, "Gossip": n.gossip, "Metrics": n.metrics, "Level": level})
	if err := errors.Join(err, os.WriteFile(n.config, b.Bytes(), 0o600)); err != nil {
		c.t.Fatal(err)
	}
	n.must("keystore", "create-key-file", filepath.Join(dir, "keystore.key"))
	return n
}

// place chooses where a node runs: five ports of this machine, or a host of its own.
func (c *lab) place(p *process, dir string) (addresses []string) {
	if c.net != nil {
		return c.placeOnHost(p, dir)
	}
	return freeAddresses(c.t, 5)
}

// join lets one more node in by a token, and starts it: a member without rights.
func (c *lab) join() *node {
	c.t.Helper()
	n := c.layOut()
	c.enrol(n)
	return n
}

// enrol is join for a node that was laid out.
func (c *lab) enrol(n *node) {
	c.t.Helper()
	token, err := c.admin.CreateJoinToken(ctx(c.t), wire.CreateJoinToken{})
	if err != nil {
		c.t.Fatalf("make a join token: %v", err)
	}
	file := filepath.Join(n.dir, "join-token")
	if err := os.WriteFile(file, []byte(token.Token+"\n"), 0o600); err != nil {
		c.t.Fatal(err)
	}
	n.must("join", "--config", n.config, "--token-file", file)
	if err := os.Remove(file); err != nil {
		c.t.Fatal(err)
	}
	n.start(c.t)
	c.waitReady(n, "")
	c.writeBundle()
	c.admin.Close()
	c.admin = c.client()
}

// promote gives a node a vote and the right to sign.
func (c *lab) promote(n *node) {
	c.t.Helper()
	if _, err := c.admin.Promote(ctx(c.t), n.name, wire.Promote{Voter: true, Signer: true}); err != nil {
		c.t.Fatalf("promote %s: %v", n.name, err)
	}
	n.voter = true
}

// promoteSigner gives a node the right to sign and no vote.
func (c *lab) promoteSigner(n *node) {
	c.t.Helper()
	if _, err := c.admin.Promote(ctx(c.t), n.name, wire.Promote{Signer: true}); err != nil {
		c.t.Fatalf("promote %s: %v", n.name, err)
	}
}

// writeBundle collects the CA instances that the nodes know into one file.
func (c *lab) writeBundle() {
	c.t.Helper()
	var all []byte
	for _, n := range c.nodes {
		b, err := os.ReadFile(n.data("identity", "bundle.pem"))
		if err != nil && !os.IsNotExist(err) {
			c.t.Fatal(err)
		}
		all = append(all, b...)
	}
	if err := os.WriteFile(c.path("ca.pem"), all, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// client makes a client of the first admin for the nodes named, or for all.
func (c *lab) client(nodes ...*node) *client.Client {
	c.t.Helper()
	return c.patientClient(3*time.Second, nodes...)
}

// patientClient waits so long for each answer.
func (c *lab) patientClient(attempt time.Duration, nodes ...*node) *client.Client {
	c.t.Helper()
	return c.clientWith(func(cfg *client.Config) { cfg.AttemptTimeout = attempt }, nodes...)
}

// clientWith makes a client of the first admin, changed as the test wants.
func (c *lab) clientWith(change func(*client.Config), nodes ...*node) *client.Client {
	if len(nodes) == 0 {
		nodes = c.nodes
	}
	var addrs []string
	for _, n := range nodes {
		addrs = append(addrs, n.api)
	}
	cfg := client.Config{Addrs: addrs, CAFile: c.path("ca.pem"), CertFile: c.path("admin", "admin.crt"), KeyFile: c.path("admin", "admin.key"),
		Timeout: 20 * time.Second, AttemptTimeout: 3 * time.Second}
	if c.outside != nil {
		cfg.Dial = c.outside.Dial
	}
	change(&cfg)
	k, err := client.New(cfg)
	if err != nil {
		panic(err) // also called by callers, who must not end the test; the files were read before
	}
	return k
}

// waitReady polls a node's probe until it answers 200.
func (c *lab) waitReady(n *node, query string) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, n.name+" ready"+query, func() string {
		if !n.alive() {
			c.t.Fatalf("%s ended before it was ready\n%s", n.name, n.tail(20))
		}
		return c.probe(n, query)
	})
}

var prober = &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// web speaks HTTP to the cluster's public listeners.
func (c *lab) web() *http.Client {
	if c.outside == nil {
		return prober
	}
	return &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: c.outside.Dial}}
}

// probe is "" when the node says that it is ready.
func (c *lab) probe(n *node, query string) string {
	r, err := c.web().Get("http://" + n.public + wire.PathReady + query)
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body) // as much of the reason as arrived
		return r.Status + " " + strings.TrimSpace(b.String())
	}
	return ""
}

// leader waits until every node named agrees on a leader that runs.
func (c *lab) leader() *node {
	c.t.Helper()
	var found *node
	eventually(c.t, 20*time.Second, "a leader", func() string {
		s, err := c.admin.Status(ctx(c.t), client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		for _, n := range c.nodes {
			if n.name == string(s.Leader) && n.alive() {
				found = n
				return ""
			}
		}
		return fmt.Sprintf("the leader is %q", s.Leader)
	})
	return found
}

// leads reports whether a node says of itself that it leads.
func (c *lab) leads(n *node) bool {
	s, err := c.admin.Status(ctx(c.t), client.At(n.api), client.Consistency(wire.Stale))
	return err == nil && string(s.Leader) == n.name
}

// others are all nodes but some.
func (c *lab) others(not ...*node) []*node {
	var out []*node
	for _, n := range c.nodes {
		skip := false
		for _, x := range not {
			skip = skip || x == n
		}
		if !skip {
			out = append(out, n)
		}
	}
	return out
}

// createKey makes an artifact key and waits until its first version signs.
func (c *lab) createKey(name, policy string) {
	c.t.Helper()
	k := wire.CreateKey{Name: name, Purpose: "artifact", Alg: "ES256", Owner: "lab@example.com", BusinessReason: "integration test"}
	if policy != "" {
		k.Policy = []byte(policy)
	}
	op, err := c.admin.CreateKey(ctx(c.t), k, client.Wait(wire.Activated, 20*time.Second))
	if err != nil {
		c.t.Fatalf("create %s: %v", name, err)
	}
	if !op.Has(wire.Activated) {
		c.t.Fatalf("create %s: it is %q, not active: %v", name, op.Reached, op.WaitsFor)
	}
}

// sign makes one signature on one node, or hears why not: the client repeats what may
// go better, and is given little time for that.
func (c *lab) sign(n *node, key, message string) (*wire.Signature, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return c.admin.Sign(ctx, key, wire.SignRequest{Message: []byte(message)}, client.At(n.api))
}

// mustSign waits until the node signs: after an election its state is fresh again
// within a second or two.
func (c *lab) mustSign(n *node, key string) *wire.Signature {
	c.t.Helper()
	var s *wire.Signature
	eventually(c.t, 15*time.Second, n.name+" signs with "+key, func() string {
		var err error
		if s, err = c.sign(n, key, "message for "+key); err != nil {
			return err.Error()
		}
		return ""
	})
	return s
}

// end kills what still runs and shows the logs of a test that failed.
func (c *lab) end() {
	c.nodes = append(c.nodes, c.retired...)
	for _, n := range c.nodes {
		n.send(syscall.SIGCONT)
		n.kill()
	}
	if c.admin != nil {
		c.admin.Close()
	}
	for _, n := range c.nodes {
		noPanic(c.t, n.name, n.text())
	}
	if !c.t.Failed() {
		return
	}
	for _, n := range c.nodes {
		c.t.Log(n.tail(60))
	}
}

// noPanic looks for what the Go runtime says of a fault, also in a process that was
// started again since.
func noPanic(t *testing.T, name, log string) {
	t.Helper()
	for _, words := range []string{"panic: ", "fatal error: ", "WARNING: DATA RACE", "goroutine 1 ["} {
		if at := strings.Index(log, words); at >= 0 {
			t.Errorf("%s: %s", name, log[at:min(len(log), at+4000)])
			return
		}
	}
}

// ctx bounds whatever a test asks the cluster for in one call.
func ctx(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// given are the addresses of all nodes of this run: one that is down still has its own.
var given sync.Map

// freeAddresses finds loopback ports that are free for TCP and for UDP, which gossip
// needs, below the range from which the kernel takes ports for outgoing connections:
// a node that is down must find its port free when it comes back.
func freeAddresses(t *testing.T, n int) (out []string) {
	t.Helper()
	for try := 0; len(out) < n && try < 1000; try++ {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(12000+rand.IntN(20000)))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		defer l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue
		}
		defer u.Close()
		if _, taken := given.LoadOrStore(addr, true); !taken {
			out = append(out, addr)
		}
	}
	if len(out) < n {
		t.Fatalf("only %d of %d ports are free", len(out), n)
	}
	return out
}
