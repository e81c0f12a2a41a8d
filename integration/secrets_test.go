package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// secrets are values that must stand nowhere but where an operator put them: name to
// value.
type secrets map[string][]byte

// text adds a secret that is written as text.
func (s secrets) text(name, value string) {
	if v := strings.TrimSpace(value); v != "" {
		s[name] = []byte(v)
	}
}

// raw adds secret bytes in each form in which they could be written down.
func (s secrets) raw(name string, value []byte) {
	s[name] = value
	s[name+" in hex"] = []byte(hex.EncodeToString(value))
	s[name+" in base64"] = []byte(base64.RawStdEncoding.EncodeToString(value))
	s[name+" in base64url"] = []byte(base64.RawURLEncoding.EncodeToString(value))
}

// statusKey adds a private status key: its scalar, and the line of the file it is in.
func (s secrets) statusKey(t *testing.T, node string, text []byte) {
	t.Helper()
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatal("the status key of " + node + " is no PEM block")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("the status key of %s is a %T", node, parsed)
	}
	d, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	s.raw("the status key of "+node, d)
	s.text("the status key file of "+node, strings.Split(string(text), "\n")[1])
}

// notIn reports each secret that stands in what was found somewhere.
func (s secrets) notIn(t *testing.T, where string, content []byte) {
	t.Helper()
	for name, value := range s {
		if len(value) < 8 {
			t.Fatalf("%s has %d bytes: it would be found by accident", name, len(value))
		}
		if bytes.Contains(content, value) {
			t.Errorf("%s stands in %s", name, where)
		}
	}
}

// notBelow looks into every file of a directory, except for those named.
func (s secrets) notBelow(t *testing.T, dir string, except ...string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		for _, e := range except {
			if path == e {
				return nil
			}
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		s.notIn(t, path, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 3 {
		t.Errorf("only %d files below %s: nothing was looked at", files, dir)
	}
}

// notShownBy looks at what everybody on the machine can see of a process, and wants
// that it leaves no core file behind.
func (s secrets) notShownBy(t *testing.T, pid int) {
	t.Helper()
	for _, f := range []string{"cmdline", "environ", "comm", "limits"} {
		path := fmt.Sprintf("/proc/%d/%s", pid, f)
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			t.Errorf("read %s: %d bytes, %v", path, len(b), err)
		}
		s.notIn(t, path, b)
		if f == "limits" && !strings.Contains(strings.Join(strings.Fields(string(b)), " "), "Max core file size 0 0") {
			t.Errorf("the server may write a core file:\n%s", b)
		}
	}
}

// TestSecretsStayHidden uses every secret of a cluster with soft key stores and then
// looks for them: in logs, in what /proc shows, in the data directories, in a snapshot.
func TestSecretsStayHidden(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 2)
	hidden := secrets{}
	for _, n := range c.nodes {
		b, err := os.ReadFile(filepath.Join(n.dir, "keystore.key"))
		if err != nil {
			t.Fatal(err)
		}
		hidden.text("the key file of "+n.name, string(b))
	}
	except := map[string][]string{}
	for _, n := range c.nodes {
		file := filepath.Join(n.dir, "data", "identity", "status.key")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		hidden.statusKey(t, n.name, b)
		except[n.dir] = []string{file}
	}
	joinToken, err := c.admin.CreateJoinToken(ctx(t), wire.CreateJoinToken{})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := authority.ParseJoinToken(joinToken.Token)
	if err != nil {
		t.Fatal(err)
	}
	hidden.text("the join token", joinToken.Token)
	hidden.raw("the secret of the join token", parsed.Secret)
	n3 := c.layOut()
	file := filepath.Join(c.path("admin"), "join-token")
	if err := os.WriteFile(file, []byte(joinToken.Token), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, nil, "join", "--config", n3.config, "--token-file", file)
	n3.start(t)
	c.waitReady(n3, "")

	// A bearer token of a signer: used, and used once with a wrong character.
	if _, err := c.admin.AddPrincipal(ctx(t), wire.AddPrincipal{Name: "robot", Kind: lifecycle.Service, Roles: []string{"signer:*"}}); err != nil {
		t.Fatal(err)
	}
	bearer, err := c.admin.CreateToken(ctx(t), wire.CreateToken{Principal: "robot"})
	if err != nil {
		t.Fatal(err)
	}
	hidden.text("the bearer token", bearer.Secret)
	c.createKey("ci", "")
	for _, secret := range []string{bearer.Secret, bearer.Secret[:len(bearer.Secret)-1] + "x"} {
		k, err := client.New(client.Config{Addrs: []string{c.nodes[0].api}, CAFile: c.path("ca.pem"), Token: secret})
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Sign(ctx(t), "ci", wire.SignRequest{Message: []byte("x")})
		if good := secret == bearer.Secret; good != (err == nil) {
			t.Errorf("sign with the token (good: %v): %v", good, err)
		}
		k.Close()
	}
	for _, n := range c.nodes {
		for _, path := range []string{wire.Path(wire.PathKeyStatus, "ci") + "?nonce=0123456789", wire.Path(wire.PathTrustSet, "ci")} {
			var b []byte
			// A node that has just joined waits for the certificate of its status key.
			eventually(t, 20*time.Second, path+" of "+n.name+" is signed", func() string {
				r, err := c.web().Get("http://" + n.public + path)
				if err != nil {
					return err.Error()
				}
				b, err = io.ReadAll(r.Body)
				if err := errors.Join(err, r.Body.Close()); err != nil || r.StatusCode != 200 || !bytes.Contains(b, []byte("eyJ")) {
					return fmt.Sprintf("%d, %v: %s", r.StatusCode, err, b)
				}
				return ""
			})
			hidden.notIn(t, "a signed answer of "+n.name, b)
		}
	}
	snapshot, err := c.admin.Snapshot(ctx(t))
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	content, err := io.ReadAll(snapshot)
	if err != nil || len(content) == 0 {
		t.Fatalf("read the snapshot: %d bytes, %v", len(content), err)
	}
	hidden.notIn(t, "a snapshot", content)
	for _, n := range c.nodes {
		hidden.notShownBy(t, n.pid())
		hidden.notBelow(t, n.dir, append(except[n.dir], filepath.Join(n.dir, "keystore.key"))...)
	}
}
