package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/softkey"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/transport/wire"
)

// node is one daemon of a test, in this process.
type node struct {
	config Config
	cancel context.CancelFunc
	done   chan error
}

func configure(t *testing.T, name string) Config {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var addr [5]string
	for i := range addr {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr[i] = l.Addr().String()
		defer l.Close()
	}
	text := fmt.Sprintf("node_name = %q\ndata_dir = \"data\"\n[listen]\napi = %q\npublic = %q\nnode = %q\ngossip = %q\nmetrics = %q\n[tls]\nplain_public = true\n[keystore]\ndriver = \"soft\"\nkey_file = \"seal.key\"\n[log]\nlevel = \"warn\"\n",
		name, addr[0], addr[1], addr[2], addr[3], addr[4])
	path := filepath.Join(dir, "chancery.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := softkey.CreateKeyFile(filepath.Join(dir, "seal.key")); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func start(t *testing.T, c Config) *node {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	n := &node{config: c, cancel: cancel, done: make(chan error, 1)}
	ready := make(chan struct{})
	go func() { n.done <- Run(ctx, c, "test", func(*Daemon) { close(ready) }) }()
	select {
	case <-ready:
	case err := <-n.done:
		t.Fatalf("%s did not start: %v", c.NodeName, err)
	}
	t.Cleanup(func() { n.stop(t) })
	return n
}

func (n *node) stop(t *testing.T) {
	n.cancel()
	if err := <-n.done; err != nil {
		t.Errorf("%s stopped with %v", n.config.NodeName, err)
	}
	n.done <- nil
}

// TestInitAfterACheck: the README has the key store checked first, and a service manager
// may start the server before anybody founds a cluster. A founded one is left alone.
func TestInitAfterACheck(t *testing.T) {
	ctx, c, log := t.Context(), configure(t, "n1"), slog.New(slog.DiscardHandler)
	ks, err := OpenKeyStore(ctx, c, log)
	if err != nil {
		t.Fatal(err)
	}
	if prober, ok := ks.(hsm.Prober); ok {
		if _, err := prober.Probe(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := ks.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Run(ctx, c, "test", func(*Daemon) { t.Error("it serves") }); !errors.Is(err, errNotMember) {
		t.Fatalf("a server without a cluster ended with %v", err)
	}
	if _, err := Init(ctx, c, filepath.Join(t.TempDir(), "admin"), "test", log); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(ctx, c, filepath.Join(t.TempDir(), "admin"), "test", log); err == nil || !strings.Contains(err.Error(), "belongs to a cluster already") {
		t.Errorf("founded twice: %v", err)
	}
}

// TestInitNeedsAPlaceForTheCredential: a cluster that nobody can get into is not founded.
func TestInitNeedsAPlaceForTheCredential(t *testing.T) {
	c, file := configure(t, "n1"), filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Init(t.Context(), c, file, "test", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--admin-out") {
		t.Errorf("init with a file for --admin-out: %v", err)
	}
	if blank, err := disk.Blank(c.DataDir); err != nil || !blank {
		t.Errorf("something was founded: %t, %v", blank, err)
	}
}

// TestThreeNodes founds a cluster, lets two nodes join with tokens, and signs on
// each, through the real listeners.
func TestThreeNodes(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first := configure(t, "n1")
	admin := filepath.Join(t.TempDir(), "admin")
	if _, err := Init(ctx, first, admin, "test", slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	start(t, first)
	c, err := client.New(client.Config{Addrs: []string{first.Advertise.API}, CAFile: filepath.Join(admin, "ca.pem"),
		CertFile: filepath.Join(admin, "admin.crt"), KeyFile: filepath.Join(admin, "admin.key"), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	configs := []Config{first}
	for _, name := range []string{"n2", "n3"} {
		configs = append(configs, joined(ctx, t, c, name))
	}
	if _, err := c.CreateKey(ctx, wire.CreateKey{Name: "ci", Purpose: "artifact", Alg: "ES256", Owner: "me@example.com", BusinessReason: "test"}, client.Wait("active", 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("hello"))
	for _, conf := range configs {
		sig, err := c.Sign(ctx, "ci", wire.SignRequest{Digest: digest[:], Hash: "SHA-256"}, client.At(conf.Advertise.API))
		if err != nil {
			t.Fatalf("sign on %s: %v", conf.NodeName, err)
		}
		if sig.Node != conf.NodeName {
			t.Errorf("asked %s, %s signed", conf.NodeName, sig.Node)
		}
		t.Logf("%s: kid %s, %s", sig.Node, sig.KID, base64.StdEncoding.EncodeToString(sig.Signature))
	}
	if _, err := c.CreateKey(ctx, wire.CreateKey{Name: "code", Purpose: "code", Alg: "ES256", Owner: "me@example.com", BusinessReason: "test"}, client.Wait("active", 30*time.Second)); err != nil {
		t.Fatal(err)
	}
	recorded := map[uint64]bool{}
	for _, conf := range configs { // a strict key: leader and followers bring their records to the log
		sig, err := c.Sign(ctx, "code", wire.SignRequest{Digest: digest[:], Hash: "SHA-256"}, client.At(conf.Advertise.API))
		if err != nil {
			t.Fatalf("sign strictly on %s: %v", conf.NodeName, err)
		}
		if !sig.Strict || sig.RecordIndex == 0 || recorded[sig.RecordIndex] {
			t.Errorf("%s: strict %v, recorded at %d", conf.NodeName, sig.Strict, sig.RecordIndex)
		}
		recorded[sig.RecordIndex] = true
	}
	statements(ctx, t, c, configs, wire.Good)
	if _, err := c.Revoke(ctx, "ci", wire.Revoke{Reason: "keyCompromise"}); err != nil {
		t.Fatal(err)
	}
	for _, conf := range configs {
		_, err := c.Sign(ctx, "ci", wire.SignRequest{Digest: digest[:]}, client.At(conf.Advertise.API))
		if err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("%s signed after the revocation: %v", conf.NodeName, err)
		}
	}
	statements(ctx, t, c, configs, wire.Revoked)
}

// statements asks each node for signed answers, over plain HTTP, and verifies them
// with the CA bundle that init wrote.
func statements(ctx context.Context, t *testing.T, c *client.Client, configs []Config, want string) {
	t.Helper()
	k, err := c.Key(ctx, "ci")
	if err != nil {
		t.Fatal(err)
	}
	kid := string(k.Versions[0].Instances[0].KID)
	for _, conf := range configs {
		at := client.At("http://" + conf.Advertise.Public)
		s := awaitStatus(ctx, t, func() (*client.Status, error) { return c.KeyStatus(ctx, "ci", at) })
		if s.Status != want || s.Node != conf.NodeName || s.Position.Index < k.Position.Index {
			t.Errorf("%s says of the key: %+v", conf.NodeName, s.StatusClaims)
		}
		if one := awaitStatus(ctx, t, func() (*client.Status, error) { return c.KIDStatus(ctx, kid, at) }); one.Status != want {
			t.Errorf("%s says of the kid: %+v", conf.NodeName, one.StatusClaims)
		}
		set, claims, err := c.TrustSet(ctx, "ci", at)
		if err != nil || (len(set.KIDs()) > 0) != (want == wire.Good) || claims.Node != conf.NodeName {
			t.Errorf("trust set of %s: %+v, %v", conf.NodeName, claims, err)
		}
	}
}

// awaitStatus waits for the certificate of a node that has just started.
func awaitStatus(ctx context.Context, t *testing.T, ask func() (*client.Status, error)) *client.Status {
	t.Helper()
	for {
		s, err := ask()
		if err == nil {
			return s
		}
		if !errors.Is(err, client.ErrUnsigned) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

func joined(ctx context.Context, t *testing.T, c *client.Client, name string) Config {
	t.Helper()
	conf := configure(t, name)
	enter(ctx, t, c, conf)
	start(t, conf)
	if _, err := c.Promote(ctx, name, wire.Promote{Voter: true, Signer: true}); err != nil {
		t.Fatal(err)
	}
	return conf
}

// enter lets a node join; it is not started.
func enter(ctx context.Context, t *testing.T, c *client.Client, conf Config) {
	t.Helper()
	token, err := c.CreateJoinToken(ctx, wire.CreateJoinToken{})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(token.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Join(ctx, conf, path, "test"); err != nil {
		t.Fatal(err)
	}
}
