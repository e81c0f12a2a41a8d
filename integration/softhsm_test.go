package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// devCluster is a cluster made by `chancery dev --detach`, driven by the command line
// alone, as the README does it.
type devCluster struct {
	t   *testing.T
	dir string
	env []string // of its env file
}

func startDev(t *testing.T, keystore string) *devCluster {
	t.Helper()
	d := &devCluster{t: t, dir: t.TempDir()}
	t.Cleanup(d.end)
	must(t, nil, "dev", "--dir", d.dir, "--keystore", keystore, "--detach")
	b, err := os.ReadFile(filepath.Join(d.dir, "env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "export "); ok {
			d.env = append(d.env, strings.ReplaceAll(v, "'", ""))
		}
	}
	return d
}

func (d *devCluster) end() {
	if r := run(d.t, nil, "dev", "stop", "--dir", d.dir); r.code != 0 {
		d.t.Errorf("dev stop: %s", r.stderr)
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		b, err := os.ReadFile(d.path(name, "log"))
		if err != nil {
			d.t.Error(err)
		}
		noPanic(d.t, name, string(b))
	}
	if !d.t.Failed() {
		return
	}
	for _, name := range []string{"log", "n1/log", "n2/log", "n3/log"} {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		d.t.Logf("%s: %v\n%s", name, err, strings.Join(lines[max(0, len(lines)-30):], "\n"))
	}
}

// do runs one command as the admin.
func (d *devCluster) do(args ...string) ended { return run(d.t, d.env, args...) }

func (d *devCluster) must(args ...string) string { return must(d.t, d.env, args...).stdout }

func (d *devCluster) path(elem ...string) string {
	return filepath.Join(append([]string{d.dir}, elem...)...)
}

// addr is the API of node i, from 1; public, where it publishes.
func (d *devCluster) addr(i int) string   { return strings.Split(d.value("CHANCERY_ADDRS"), ",")[i-1] }
func (d *devCluster) public(i int) string { return strings.Split(d.value("CHANCERY_PUBLIC"), ",")[i-1] }

// value is what the env file sets a variable to.
func (d *devCluster) value(variable string) string {
	d.t.Helper()
	for _, e := range d.env {
		if v, ok := strings.CutPrefix(e, variable+"="); ok {
			return v
		}
	}
	d.t.Fatalf("the env file does not set %s", variable)
	return ""
}

// signAt signs a file on one node and lets openssl verify it with that node's key.
func (d *devCluster) signAt(i int, key, file string) {
	d.t.Helper()
	name := "n" + strconv.Itoa(i)
	sig, pub := d.path(name+".sig"), d.path(name+".pem")
	d.must("sign", key, "--in", file, "--out", sig, "--addr", d.addr(i))
	d.must("key", "export", key, "--node", name, "--format", "pem", "--out", pub)
	out, err := exec.Command("openssl", "dgst", "-sha256", "-verify", pub, "-signature", sig, file).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Verified OK") {
		d.t.Errorf("openssl about %s: %s %v", name, out, err)
	}
}

func needSoftHSM(t *testing.T) {
	t.Helper()
	if os.Getenv("CHANCERY_TEST_NO_SOFTHSM") == "1" {
		t.Skip("CHANCERY_TEST_NO_SOFTHSM=1")
	}
	for _, program := range []string{"softhsm2-util", "openssl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%v: run scripts/deps, or set CHANCERY_TEST_NO_SOFTHSM=1", err)
		}
	}
}

// TestSoftHSMCluster: three nodes on three tokens. One gets a wrong PIN, then loses its
// token, then gets an empty one: it says why it does not sign, asks the token once, and
// makes no key of its own accord.
func TestSoftHSMCluster(t *testing.T) {
	t.Parallel()
	needSoftHSM(t)
	d := startDev(t, "pkcs11")
	d.must("key", "create", "ci", "--purpose", "artifact", "--alg", "ES256", "--owner", "lab@example.com", "--reason", "integration test")
	file := d.path("release.tar")
	if err := os.WriteFile(file, []byte("what is released"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 3; i++ {
		d.signAt(i, "ci", file)
	}
	d.pinsStayHidden()
	d.faultyToken()
	d.wrongPIN()
	d.wipedToken(file)
}

func (d *devCluster) pinsStayHidden() {
	t := d.t
	t.Helper()
	hidden := secrets{}
	for _, n := range []string{"n1", "n2", "n3"} {
		pin, err := os.ReadFile(d.path(n, "pin"))
		if err != nil {
			t.Fatal(err)
		}
		hidden.text("the PIN of "+n, string(pin))
	}
	for _, n := range []string{"n1", "n2", "n3"} {
		b, err := os.ReadFile(d.path(n, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		hidden.notShownBy(t, pid)
		hidden.notBelow(t, d.path(n), d.path(n, "pin"))
	}
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	hidden.notIn(t, "the log of dev", log)
}

// spies are where opensc puts the module that writes down each PKCS#11 call.
var spies = []string{"/usr/lib/x86_64-linux-gnu/pkcs11-spy.so", "/usr/lib/aarch64-linux-gnu/pkcs11-spy.so", "/usr/lib64/pkcs11/pkcs11-spy.so"}

// wrongPIN starts node 2 with a PIN that its token refuses.
func (d *devCluster) wrongPIN() {
	t := d.t
	t.Helper()
	spy := ""
	for _, s := range spies {
		if _, err := os.Stat(s); err == nil {
			spy = s
		}
	}
	if spy == "" {
		t.Fatal("no pkcs11-spy.so: run scripts/deps (opensc)")
	}
	d.must("dev", "kill", "2", "--dir", d.dir)
	pin, err := os.ReadFile(d.path("n2", "pin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.path("n2", "pin"), []byte("0000000000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := run(t, []string{"SOFTHSM2_CONF=" + d.path("n2", "softhsm2.conf"), "CHANCERY_KEYSTORE_MODULE=" + spy,
		"PKCS11SPY=" + d.module(), "PKCS11SPY_OUTPUT=" + d.path("spy")}, "server", "--config", d.path("n2", "chancery.toml"))
	const sentence = "token 'chancery-n2' refused the PIN. Not retried, because a token locks after a few attempts. Fix pin_file, then restart."
	if r.code != 77 || !strings.Contains(r.stderr, sentence) {
		t.Errorf("with a wrong PIN the server ended with %d:\n%s", r.code, r.stderr)
	}
	calls, err := os.ReadFile(d.path("spy"))
	if n := strings.Count(string(calls), "C_Login\n"); err != nil || n != 1 {
		t.Errorf("the token was asked %d times, want once (%v)", n, err)
	}
	if err := os.WriteFile(d.path("n2", "pin"), pin, 0o600); err != nil {
		t.Fatal(err)
	}
	d.must("dev", "start", "2", "--dir", d.dir)
	d.signs(2)
}

// module is the one that dev found.
func (d *devCluster) module() string {
	d.t.Helper()
	b, err := os.ReadFile(d.path("n2", "chancery.toml"))
	if err != nil {
		d.t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, "module = "); ok {
			return strings.Trim(v, `"`)
		}
	}
	d.t.Fatal("the configuration names no module")
	return ""
}

// signs waits until a node signs.
func (d *devCluster) signs(i int) {
	d.t.Helper()
	eventually(d.t, 20*time.Second, "n"+strconv.Itoa(i)+" signs", func() string {
		r := d.do("sign", "ci", "--in", d.path("release.tar"), "--out", d.path("again.sig"), "--addr", d.addr(i), "--timeout", "2s")
		if r.code != 0 {
			return r.stderr
		}
		return ""
	})
}

// wipedToken takes node 2's token away, and then puts an empty one in its place.
func (d *devCluster) wipedToken(file string) {
	t := d.t
	t.Helper()
	d.must("dev", "kill", "2", "--dir", d.dir)
	tokens := d.path("n2", "tokens")
	if err := os.RemoveAll(tokens); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := "SOFTHSM2_CONF=" + d.path("n2", "softhsm2.conf")
	r := run(t, []string{conf}, "server", "--config", d.path("n2", "chancery.toml"))
	if r.code == 0 || !strings.Contains(r.stderr, "chancery-n2") || !strings.Contains(r.stderr, "token") {
		t.Errorf("without its token the server ended with %d:\n%s", r.code, r.stderr)
	}
	pin, err := os.ReadFile(d.path("n2", "pin"))
	if err != nil {
		t.Fatal(err)
	}
	init := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "chancery-n2", "--so-pin", "12345678", "--pin", strings.TrimSpace(string(pin)))
	init.Env = append(cleanEnv(), conf)
	if out, err := init.CombinedOutput(); err != nil {
		t.Fatalf("make an empty token: %s %v", out, err)
	}
	d.must("dev", "start", "2", "--dir", d.dir)
	eventually(t, 20*time.Second, "n2 says why it does not sign", func() string {
		r := d.do("sign", "ci", "--in", file, "--addr", d.addr(2), "--timeout", "2s")
		if r.code == 0 {
			t.Fatal("n2 signs with a key that its empty token cannot hold")
		}
		if !strings.Contains(r.stderr, "key store") {
			return r.stderr
		}
		return ""
	})
	eventually(t, 20*time.Second, "the loss is on record", func() string {
		var k wire.Key
		d.json(&k, "key", "show", "ci")
		for _, i := range k.Versions[0].Instances {
			if i.Node == "n2" && i.Condition == lifecycle.Lost {
				return ""
			}
		}
		return "the instance of n2 is not lost yet"
	})
	objects, err := filepath.Glob(filepath.Join(tokens, "*", "*-*.object"))
	if err != nil || len(objects) != 0 {
		t.Errorf("in the empty token there are %v now, %v", objects, err)
	}
	d.signs(1)
	d.signs(3)
}

// json runs a command and reads what it prints.
func (d *devCluster) json(out any, args ...string) {
	d.t.Helper()
	if err := json.Unmarshal([]byte(d.must(append(args, "-o", "json")...)), out); err != nil {
		d.t.Fatalf("chancery %s: %v", strings.Join(args, " "), err)
	}
}
