package hsm_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
)

func TestMissingDriver(t *testing.T) {
	for driver, want := range map[string]string{
		hsm.DriverPKCS11: "driver pkcs11 is not in this build: it needs cgo",
		hsm.DriverSoft:   "driver soft is not in this build",
		"":               "no key store driver is configured",
		"yubi":           `unknown key store driver "yubi": set driver to pkcs11 or soft`,
	} {
		_, err := hsm.Open(t.Context(), hsm.Config{Driver: driver}, nil)
		if !errors.Is(err, hsm.ErrNoDriver) || !strings.Contains(err.Error(), want) {
			t.Errorf("driver %q: %v", driver, err)
		}
	}
}

func TestRegisterOnce(t *testing.T) {
	opened := false
	open := func(_ context.Context, cfg hsm.Config, log *slog.Logger) (hsm.KeyStore, error) {
		opened = log != nil && cfg.Concurrency > 0 && cfg.QueueMax >= 2*cfg.Concurrency && cfg.AbandonAfter == hsm.DefaultAbandonAfter
		return nil, hsm.ErrUnavailable
	}
	hsm.Register("registry-test", open)
	if _, err := hsm.Open(t.Context(), hsm.Config{Driver: "registry-test"}, nil); !errors.Is(err, hsm.ErrUnavailable) || !opened {
		t.Errorf("opener got no defaults (%v)", err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a second registration did not panic")
		}
	}()
	hsm.Register("registry-test", open)
}

// A driver that fails often returns its own nil pointer, which is no nil KeyStore: who
// closed what failed to open would crash, and the reason would be lost.
func TestOpenFailedIsNil(t *testing.T) {
	hsm.Register("registry-nil", func(context.Context, hsm.Config, *slog.Logger) (hsm.KeyStore, error) {
		var store *struct{ hsm.KeyStore }
		return store, hsm.ErrUnavailable
	})
	if ks, err := hsm.Open(t.Context(), hsm.Config{Driver: "registry-nil"}, nil); ks != nil || !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("opened %#v, %v", ks, err)
	}
}

func TestQueueDefaults(t *testing.T) {
	for configured, want := range map[int]int{0: hsm.DefaultQueue(3), 7: 7, -1: 0} {
		if got := (hsm.Config{Concurrency: 3, QueueMax: configured}).WithDefaults().QueueMax; got != want {
			t.Errorf("QueueMax %d becomes %d, want %d", configured, got, want)
		}
	}
}

func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ path, want string }{
		"0600":            {write("a", "1234\n", 0o600), "1234"},
		"0400":            {write("b", "1234", 0o400), "1234"},
		"CRLF":            {write("c", "1234\r\n", 0o600), "1234"},
		"one newline":     {write("d", "1234\n\n", 0o600), "1234\n"},
		"spaces are kept": {write("e", " 12 34 \n", 0o600), " 12 34 "},
	} {
		if got, err := hsm.ReadSecret("pin_file", test.path); err != nil || string(got) != test.want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, test.want)
		}
	}
	for name, path := range map[string]string{
		"unset":     "",
		"missing":   filepath.Join(dir, "gone"),
		"empty":     write("f", "", 0o600),
		"newline":   write("g", "\n", 0o600),
		"group":     write("h", "1234", 0o640),
		"others":    write("i", "1234", 0o604),
		"directory": dir,
		"huge":      write("j", strings.Repeat("x", 5000), 0o600),
	} {
		got, err := hsm.ReadSecret("pin_file", path)
		if !errors.Is(err, hsm.ErrSecretFile) || !strings.Contains(err.Error(), "pin_file") || strings.Contains(err.Error(), "1234") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestSystemdCredential: systemd shows its ACL as a group bit on credentials.
func TestSystemdCredential(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pin")
	if err := os.WriteFile(path, []byte("1234"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o440); err != nil {
		t.Fatal(err)
	}
	if _, err := hsm.ReadSecret("pin_file", path); !errors.Is(err, hsm.ErrSecretFile) {
		t.Errorf("mode 0440 outside the credentials directory: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	if got, err := hsm.ReadSecret("pin_file", path); err != nil || string(got) != "1234" {
		t.Errorf("systemd credential: %q, %v", got, err)
	}
	if err := os.Chmod(path, 0o444); err != nil {
		t.Fatal(err)
	}
	if _, err := hsm.ReadSecret("pin_file", path); !errors.Is(err, hsm.ErrSecretFile) {
		t.Errorf("credential readable by everybody: %v", err)
	}
}
