package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// faultyModule is node 2's SoftHSM behind a module that misbehaves on request; see
// authority/hsm/pkcs11/testdata/faultmodule.c for what it can do.
type faultyModule struct {
	*process
	t   *testing.T
	d   *devCluster
	dir string
}

// withFaultyModule starts node 2 again, this test's own child, with the module in
// between.
func (d *devCluster) withFaultyModule() *faultyModule {
	t := d.t
	t.Helper()
	f := &faultyModule{t: t, d: d, dir: t.TempDir()}
	library := filepath.Join(f.dir, "faultmodule.so")
	out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, "../authority/hsm/pkcs11/testdata/faultmodule.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("build the module: %v\n%s", err, out)
	}
	d.must("dev", "kill", "2", "--dir", d.dir)
	f.process = &process{name: "n2", config: d.path("n2", "chancery.toml"), log: filepath.Join(f.dir, "log"),
		env: []string{"SOFTHSM2_CONF=" + d.path("n2", "softhsm2.conf"), "CHANCERY_KEYSTORE_MODULE=" + library,
			"CHANCERY_FAULT_MODULE=" + d.module(), "CHANCERY_FAULT_DIR=" + f.dir}}
	f.start(t)
	t.Cleanup(f.kill)
	d.signs(2)
	return f
}

// with has the module misbehave, looks that no signature leaves the node, and that it
// signs again afterwards.
func (f *faultyModule) with(fault string, number int) {
	f.t.Helper()
	// Renamed into place, so that the module never reads half a number.
	tmp := filepath.Join(f.dir, "tmp")
	if err := os.WriteFile(tmp, []byte(strconv.Itoa(number)), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(f.dir, fault)); err != nil {
		f.t.Fatal(err)
	}
	f.d.must("sign", "other", "--in", f.d.path("release.tar"), "--out", f.d.path("other.sig"), "--addr", f.d.addr(1)) // the cluster goes on
	r := f.d.do("sign", "ci", "--in", f.d.path("release.tar"), "--out", f.d.path("faulty.sig"), "--addr", f.d.addr(2), "--timeout", "4s")
	if r.code == 0 {
		f.t.Errorf("with %s node 2 released a signature: %s", fault, r.stdout)
	}
	if err := os.Remove(filepath.Join(f.dir, fault)); err != nil && !os.IsNotExist(err) {
		f.t.Fatal(err)
	}
	if !f.alive() {
		f.start(f.t)
	}
	f.d.signs(2)
}

// faultyToken lets node 2's token be wrong, slow, failing, another one and dead.
func (d *devCluster) faultyToken() {
	t := d.t
	t.Helper()
	d.must("key", "create", "other", "--purpose", "artifact", "--alg", "ES256", "--owner", "lab@example.com", "--reason", "integration test")
	f := d.withFaultyModule()
	d.must("sign", "other", "--in", d.path("release.tar"), "--out", d.path("other.sig"), "--addr", d.addr(2)) // so that there is a handle to take for another
	f.with("corrupt", 1)
	f.with("swap", 1)
	f.with("rv.C_Sign", 0x30) // CKR_DEVICE_ERROR
	f.with("slow.C_Sign", 4500)
	f.with("crash.C_Sign", 1)
	if text := f.text(); !strings.Contains(text, "SIGABRT") {
		t.Errorf("the module did not crash its process:\n%s", f.tail(10))
	}
	f.stop(t)
	d.must("dev", "start", "2", "--dir", d.dir)
	d.signs(2)
}
