package hsmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
)

// Environment of the SoftHSM tests.
const (
	// EnvModule names the PKCS#11 library to test with instead of searching for
	// libsofthsm2.so.
	EnvModule = "CHANCERY_TEST_PKCS11_MODULE"
	// EnvNoSoftHSM=1 skips tests that need SoftHSM. Without it a missing SoftHSM
	// fails them, so that nobody believes in tests that did not run.
	EnvNoSoftHSM = "CHANCERY_TEST_NO_SOFTHSM"
)

// The credentials of test tokens.
const (
	UserPIN = "4711-user"
	SOPIN   = "0815-officer"
)

// SoftHSM is a set of tokens in a temporary directory.
type SoftHSM struct {
	Module string // path of the library
	Conf   string // what SOFTHSM2_CONF points to
	root   string
}

// NewSoftHSM makes one token per label and points SOFTHSM2_CONF of this process to
// them until the test ends. SoftHSM reads that variable, and the list of tokens,
// only when the library is initialised: name all tokens here, and close every store
// before the test ends. Because of the variable such tests cannot be parallel.
func NewSoftHSM(t testing.TB, labels ...string) *SoftHSM {
	t.Helper()
	s := &SoftHSM{Module: Module(t), root: t.TempDir()}
	s.Conf = filepath.Join(s.root, "softhsm2.conf")
	tokens := filepath.Join(s.root, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	if err := os.WriteFile(s.Conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", s.Conf)
	for _, label := range labels {
		s.util(t, "--init-token", "--free", "--label", label)
		s.WritePIN(t, label, UserPIN+"\n")
	}
	return s
}

// Module finds the SoftHSM library, or fails the test, or skips it when that was
// asked for.
func Module(t testing.TB) string {
	t.Helper()
	if os.Getenv(EnvNoSoftHSM) == "1" {
		t.Skip("skipped because " + EnvNoSoftHSM + "=1")
	}
	if path := os.Getenv(EnvModule); path != "" {
		return path
	}
	triplet := map[string]string{"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}[runtime.GOARCH]
	for _, path := range []string{
		"/usr/lib/softhsm/libsofthsm2.so",
		"/usr/lib/" + triplet + "/softhsm/libsofthsm2.so",
		"/usr/lib/" + triplet + "/pkcs11/libsofthsm2.so",
		"/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so",
		"/opt/homebrew/lib/softhsm/libsofthsm2.so",
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("libsofthsm2.so not found. Install softhsm2, or set %s to its path, or set %s=1 to go without these tests", EnvModule, EnvNoSoftHSM)
	return ""
}

// util runs softhsm2-util on this set's tokens.
func (s *SoftHSM) util(t testing.TB, args ...string) {
	t.Helper()
	args = append(args, "--module", s.Module, "--so-pin", SOPIN, "--pin", UserPIN)
	cmd := exec.Command("softhsm2-util", args...)
	cmd.Env = append(os.Environ(), s.Env()...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
	}
}

// Env is what another process needs to see these tokens.
func (s *SoftHSM) Env() []string { return []string{"SOFTHSM2_CONF=" + s.Conf} }

// PINFile is the path of a token's PIN file.
func (s *SoftHSM) PINFile(label string) string { return filepath.Join(s.root, label+".pin") }

// WritePIN replaces the content of a token's PIN file.
func (s *SoftHSM) WritePIN(t testing.TB, label, content string) {
	t.Helper()
	if err := os.WriteFile(s.PINFile(label), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Config opens the token with this label.
func (s *SoftHSM) Config(label string) hsm.Config {
	return hsm.Config{
		Driver: hsm.DriverPKCS11, Module: s.Module, TokenLabel: label,
		PINFile: s.PINFile(label), ClusterID: "test-cluster", NodeName: "n-" + label,
	}
}

// Wipe re-initialises a token from another process: its objects vanish, its label
// and PIN stay.
func (s *SoftHSM) Wipe(t testing.TB, label string) {
	t.Helper()
	s.util(t, "--init-token", "--token", label, "--label", label)
}

// Remove deletes a token's files, as pulling the device out would.
func (s *SoftHSM) Remove(t testing.TB, label string) {
	t.Helper()
	dirs, err := os.ReadDir(filepath.Join(s.root, "tokens"))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		path := filepath.Join(s.root, "tokens", dir.Name())
		content, err := os.ReadFile(filepath.Join(path, "token.object"))
		if err == nil && strings.Contains(string(content), fmt.Sprintf("%-32s", label)) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no token %q to remove", label)
}
