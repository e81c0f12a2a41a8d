//go:build cgo && !nopkcs11

package pkcs11

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
)

// faulty is SoftHSM behind a module that misbehaves on request; see
// testdata/faultmodule.c for what it can do.
type faulty struct {
	*hsmtest.SoftHSM
	dir string
}

// newFaulty builds a module of its own, because a module stays loaded for the life
// of the process and remembers its directory.
func newFaulty(t testing.TB, labels ...string) *faulty {
	t.Helper()
	f := &faulty{SoftHSM: hsmtest.NewSoftHSM(t, labels...), dir: t.TempDir()}
	library := filepath.Join(f.dir, "faultmodule.so")
	out, err := exec.Command("cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, "testdata/faultmodule.c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("build the fault module: %v\n%s", err, out)
	}
	t.Setenv("CHANCERY_FAULT_MODULE", f.Module)
	t.Setenv("CHANCERY_FAULT_DIR", f.dir)
	f.Module = library
	return f
}

// set makes a fault; the file name says which.
func (f *faulty) set(t testing.TB, name string, number uint) {
	t.Helper()
	// Renamed into place, so that the module never reads half a number.
	tmp := filepath.Join(f.dir, "tmp")
	if err := os.WriteFile(tmp, []byte(strconv.FormatUint(uint64(number), 10)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(f.dir, name)); err != nil {
		t.Fatal(err)
	}
}

func (f *faulty) clear(t testing.TB, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(f.dir, name)); err != nil {
		t.Fatal(err)
	}
}

// pending reports whether a once-fault was not used yet.
func (f *faulty) pending(name string) bool {
	_, err := os.Stat(filepath.Join(f.dir, name))
	return err == nil
}

// logins counts the calls of C_Login.
func (f *faulty) logins(t testing.TB) int {
	t.Helper()
	calls, err := os.ReadFile(filepath.Join(f.dir, "calls"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.Count(string(calls), "C_Login\n")
}

// eventually polls a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		if condition() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// mustRefuse opens a configuration that must not open.
func mustRefuse(t *testing.T, cfg hsm.Config) error {
	t.Helper()
	s, err := Open(hsmtest.Context(t), cfg, testLog(t))
	if err == nil {
		t.Errorf("opened (%v)", s.Close())
		return nil
	}
	if strings.Contains(err.Error(), hsmtest.UserPIN) {
		t.Errorf("the PIN is in the error: %v", err)
	}
	return err
}
