package hsmtest

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/softkey"
)

// SoftConfig makes a configuration for a software key store in a temporary
// directory, its key file beside it.
func SoftConfig(t testing.TB) hsm.Config {
	t.Helper()
	root := t.TempDir()
	cfg := hsm.Config{
		Driver:    hsm.DriverSoft,
		DataDir:   filepath.Join(root, "data"),
		Dir:       filepath.Join(root, "data", "keys"),
		KeyFile:   filepath.Join(root, "softkey.key"),
		ClusterID: "test-cluster",
		NodeName:  "n1",
	}
	if err := softkey.CreateKeyFile(cfg.KeyFile); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Soft opens a fresh software key store, the cheapest KeyStore for tests of other
// packages. It is closed with the test.
func Soft(t testing.TB) hsm.KeyStore {
	t.Helper()
	ks, err := softkey.Open(Context(t), SoftConfig(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ks.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ks
}
