package integration

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// TestMainJob does what the README's first page does, on both key stores: keys made and
// used on each of three nodes, judged by openssl and by a JOSE library that is not ours,
// a rotation, the leader killed, and a revocation that every node obeys.
func TestMainJob(t *testing.T) {
	t.Parallel()
	for _, keystore := range []string{"soft", "pkcs11"} {
		t.Run(keystore, func(t *testing.T) {
			t.Parallel()
			if keystore == "pkcs11" {
				needSoftHSM(t)
			}
			startDev(t, keystore).mainJob()
		})
	}
}

func (d *devCluster) mainJob() {
	t := d.t
	file := d.path("hello.txt")
	if err := os.WriteFile(file, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("key", "create", "ci", "--purpose", "artifact", "--alg", "ES256", "--owner", "release@example.com", "--reason", "sign release tarballs")
	for _, alg := range []string{"ES256", "PS256", "EdDSA"} {
		d.must("key", "create", "web-"+strings.ToLower(alg), "--purpose", "token", "--alg", alg, "--owner", "auth@example.com", "--reason", "session tokens")
	}
	all := []int{1, 2, 3}
	for _, i := range all {
		d.signAt(i, "ci", file)
		d.tokenAt(d.addr(i), "web-es256", all)
		d.tokenAt(d.addr(i), "web-eddsa", all)
	}
	d.tokenAt(d.value("CHANCERY_ADDRS"), "web-ps256", all) // where RSA keys were found late, they wait for their lead
	d.must("key", "rotate", "web-es256")
	var k wire.Key
	if d.json(&k, "key", "show", "web-es256"); len(k.Versions) != 2 {
		t.Errorf("after a rotation there are %d versions", len(k.Versions))
	}

	dead := d.leader()
	d.must("dev", "kill", strconv.Itoa(dead), "--dir", d.dir)
	live := slices.DeleteFunc(all, func(i int) bool { return i == dead })
	for _, i := range live {
		d.signAt(i, "ci", file)
		d.tokenAt(d.addr(i), "web-es256", live)
	}
	d.must("key", "create", "after", "--purpose", "artifact", "--alg", "ES256", "--owner", "release@example.com", "--reason", "made with a node down")
	d.must("dev", "start", strconv.Itoa(dead), "--dir", d.dir)

	d.must("key", "revoke", "ci", "--reason", "keyCompromise", "--comment", "laptop stolen")
	for _, i := range live {
		if r := d.do("sign", "ci", "--in", file, "--out", d.path("late.sig"), "--addr", d.addr(i)); r.code != 1 || !strings.Contains(r.stderr, "was revoked (keyCompromise)") {
			t.Errorf("node %d, asked for a signature of a revoked key, ended with %d: %s", i, r.code, r.stderr)
		}
	}
	eventually(t, 30*time.Second, "the node that was dead says that the key is revoked", func() string {
		r := d.do("sign", "ci", "--in", file, "--out", d.path("late.sig"), "--addr", d.addr(dead), "--timeout", "2s")
		if r.code == 0 {
			t.Fatal("the node that was dead signs with a revoked key")
		}
		if !strings.Contains(r.stderr, "was revoked (keyCompromise)") {
			return r.stderr
		}
		return ""
	})
}

// leader is the number of the node that leads.
func (d *devCluster) leader() int {
	d.t.Helper()
	var nodes wire.List[wire.Node]
	d.json(&nodes, "node", "list")
	for _, n := range nodes.Items {
		if n.Leader {
			number, err := strconv.Atoi(strings.TrimPrefix(n.Name, "n"))
			if err != nil {
				d.t.Fatal(err)
			}
			return number
		}
	}
	d.t.Fatal("nobody leads")
	return 0
}

// tokenAt has a JWT signed by a node at addr and verified, by go-jose alone, with the JWK Set
// that each of the nodes in live serves.
func (d *devCluster) tokenAt(addr, key string, live []int) {
	t := d.t
	t.Helper()
	claims := d.path("claims.json")
	if err := os.WriteFile(claims, []byte(`{"sub":"alice"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	token := strings.TrimSpace(d.must("jwt", "sign", key, "--claims", claims, "--ttl", "5m", "--addr", addr))
	web := &http.Client{Timeout: 10 * time.Second}
	defer web.CloseIdleConnections()
	for _, j := range live {
		r := &relyingParty{web: web, url: d.public(j) + wire.Path(wire.PathKeyJWKS, key)}
		if err := r.verify(token); err != nil {
			t.Errorf("%s, signed at %s, judged by what node %d serves: %v", key, addr, j, err)
		}
	}
	d.must("jwt", "verify", "--key", key, token)
}
