package scripts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// softHSM is the module that pkcs11-tool loads; Debian has it at both places.
const softHSM = "/usr/lib/softhsm/libsofthsm2.so"

func needSoftHSM(t *testing.T) {
	t.Helper()
	if os.Getenv("CHANCERY_TEST_NO_SOFTHSM") == "1" {
		t.Skip("CHANCERY_TEST_NO_SOFTHSM=1")
	}
	for _, program := range []string{"softhsm2-util", "pkcs11-tool", "script", "strace"} {
		need(t, program)
	}
}

// TestTokenPINsStayOutOfArguments makes a token under strace, which writes down
// every program started with its arguments and environment.
func TestTokenPINsStayOutOfArguments(t *testing.T) {
	needSoftHSM(t)
	dir, trace := filepath.Join(t.TempDir(), "hsm"), filepath.Join(t.TempDir(), "trace")
	r := command(t, nil, "strace", "-f", "-v", "-s", "4096", "-e", "trace=execve", "-o", trace,
		"bash", "./softhsm-token", "--dir", dir, "--label", "node-1")
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	pins := map[string]string{}
	for _, name := range []string{"pin", "so-pin"} {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if pins[name] = string(b); len(b) != 32 {
			t.Errorf("%s has %d characters", name, len(b))
		}
	}
	calls, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(calls), "softhsm2-util") {
		t.Fatalf("the trace does not show softhsm2-util:\n%s", calls)
	}
	for name, pin := range pins {
		if strings.Contains(string(calls), pin) {
			t.Errorf("%s stands in some program's arguments or environment", name)
		}
		if strings.Contains(r.stdout+r.stderr, pin) {
			t.Errorf("%s was printed", name)
		}
	}

	// The PIN opens the token; another does not.
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	login := func(pin string) result {
		return command(t, env, "pkcs11-tool", "--module", softHSM, "--token-label", "node-1", "--login", "--pin", pin, "--list-objects")
	}
	if r := login(pins["pin"]); r.code != 0 {
		t.Errorf("the PIN does not open the token: %s", r.stderr)
	}
	if r := login(pins["so-pin"]); r.code == 0 {
		t.Error("the security officer's PIN opens the token as a user")
	}
}

func TestTokenTakesGivenPINs(t *testing.T) {
	needSoftHSM(t)
	dir := t.TempDir()
	pin := filepath.Join(dir, "my-pin")
	if err := os.WriteFile(pin, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := script(t, nil, "softhsm-token", "--dir", dir, "--label", "n1", "--pin-file", pin)
	if r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	r = command(t, env, "pkcs11-tool", "--module", softHSM, "--token-label", "n1", "--login", "--pin", "correct horse", "--list-objects")
	if r.code != 0 {
		t.Errorf("the given PIN does not open the token: %s", r.stderr)
	}
}

func TestTokenIsNeverReplaced(t *testing.T) {
	needSoftHSM(t)
	dir := t.TempDir()
	if r := script(t, nil, "softhsm-token", "--dir", dir, "--label", "n1"); r.code != 0 {
		t.Fatalf("exit %d: %s", r.code, r.stderr)
	}
	before, err := filepath.Glob(filepath.Join(dir, "tokens", "*"))
	if err != nil {
		t.Fatal(err)
	}
	r := script(t, nil, "softhsm-token", "--dir", dir, "--label", "n1")
	if r.code != 1 || !strings.Contains(r.stderr, "left as it is") {
		t.Errorf("a second time: exit %d, %s", r.code, r.stderr)
	}
	if r := script(t, nil, "softhsm-token", "--dir", dir, "--label", "n2"); r.code != 0 {
		t.Errorf("another label beside it: exit %d, %s", r.code, r.stderr)
	}
	after, err := filepath.Glob(filepath.Join(dir, "tokens", "*"))
	if err != nil || len(before) != 1 || len(after) != 2 {
		t.Errorf("%d tokens, then %d, %v", len(before), len(after), err)
	}
}

func TestTokenRefuses(t *testing.T) {
	needSoftHSM(t)
	short := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(short, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":     {nil, 2, "usage"},
		"no label":    {[]string{"--dir", t.TempDir()}, 2, "usage"},
		"odd":         {[]string{"--dir"}, 2, "usage"},
		"unknown":     {[]string{"--pin", "1234"}, 2, "usage"},
		"quote":       {[]string{"--dir", t.TempDir(), "--label", "n1'; id'"}, 1, "label"},
		"long label":  {[]string{"--dir", t.TempDir(), "--label", strings.Repeat("n", 33)}, 1, "label"},
		"short PIN":   {[]string{"--dir", t.TempDir(), "--label", "n1", "--pin-file", short}, 1, "fewer than 8"},
		"not a place": {[]string{"--dir", "/dev/null/x", "--label", "n1"}, 1, "mkdir"},
	} {
		r := script(t, nil, "softhsm-token", c.args...)
		if r.code != c.code || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: exit %d, %s", name, r.code, r.stderr)
		}
	}
}
