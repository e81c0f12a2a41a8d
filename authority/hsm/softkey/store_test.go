package softkey_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/hsm/softkey"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func open(t testing.TB, cfg hsm.Config) hsm.KeyStore {
	t.Helper()
	ks, err := hsm.Open(hsmtest.Context(t), cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ks.Close(); err != nil {
			t.Error(err)
		}
	})
	return ks
}

func TestConformance(t *testing.T) {
	hsmtest.Run(t, func(t *testing.T) hsmtest.Factory {
		base := hsmtest.SoftConfig(t)
		return hsmtest.Factory{
			Open: func(t testing.TB, change func(*hsm.Config)) hsm.KeyStore {
				cfg := base
				if change != nil {
					change(&cfg)
				}
				ks, err := hsm.Open(hsmtest.Context(t), cfg, nil)
				if err != nil {
					t.Fatal(err)
				}
				return ks
			},
			Hold: func(_ testing.TB, ks hsm.KeyStore) func() { return softkey.Hold(ks) },
		}
	})
}

func keyPath(cfg hsm.Config, id hsm.ObjectID) string {
	return filepath.Join(cfg.Dir, id.String()+".key")
}

// reopened makes two keys, damages the file of the first and opens the store again:
// the second key keeps the store open.
func reopened(t *testing.T, damage func(cfg hsm.Config, path string)) (hsm.KeyStore, hsm.Object) {
	t.Helper()
	cfg := hsmtest.SoftConfig(t)
	ks := open(t, cfg)
	victim := hsmtest.Generate(t, ks, lifecycle.ES256)
	healthy := hsmtest.Generate(t, ks, lifecycle.ES256)
	if err := ks.Close(); err != nil {
		t.Fatal(err)
	}
	damage(cfg, keyPath(cfg, victim.ID))
	ks = open(t, cfg)
	hsmtest.SignAndVerify(t, ks, hsmtest.RefTo(healthy, lifecycle.ES256), "the other key")
	return ks, victim
}

func TestDamagedFileIsNeverAbsent(t *testing.T) {
	ks, victim := reopened(t, func(_ hsm.Config, path string) {
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file[len(file)/2] ^= 0x10
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	ctx := hsmtest.Context(t)
	_, findErr := ks.Find(ctx, victim.ID)
	_, signErr := ks.Sign(ctx, hsmtest.RefTo(victim, lifecycle.ES256), hsmtest.InputFor(lifecycle.ES256, "m"))
	destroyErr := ks.Destroy(ctx, victim.ID, victim.SPKI)
	for call, err := range map[string]error{"Find": findErr, "Sign": signErr, "Destroy": destroyErr} {
		if !errors.Is(err, hsm.ErrCorrupt) || errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s of a damaged key: %v, want ErrCorrupt", call, err)
		}
	}
	if _, err := ks.Generate(ctx, hsm.Spec{ID: victim.ID, Alg: lifecycle.ES256}); !errors.Is(err, hsm.ErrExists) {
		t.Errorf("Generate over a damaged key: %v, want ErrExists", err)
	}
	if h := ks.Health(); h.OK || !strings.Contains(h.Why, victim.ID.String()) {
		t.Errorf("Health: %+v, want the damaged file named", h)
	}
	objects, err := ks.Inventory(ctx)
	if err != nil || len(objects) != 2 {
		t.Errorf("inventory: %v, %v; want the damaged key listed too", objects, err)
	}
}

func TestRenamedFileDoesNotOpen(t *testing.T) {
	other := hsmtest.NewID(t)
	ks, _ := reopened(t, func(cfg hsm.Config, path string) {
		if err := os.Rename(path, keyPath(cfg, other)); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := ks.Find(hsmtest.Context(t), other); !errors.Is(err, hsm.ErrCorrupt) {
		t.Errorf("a renamed key file: %v, want ErrCorrupt", err)
	}
}

func TestForeignFilesAreIgnored(t *testing.T) {
	ks, victim := reopened(t, func(cfg hsm.Config, path string) {
		for _, name := range []string{"README", "x.key", strings.ToUpper(filepath.Base(path)), filepath.Base(path) + ".tmp"} {
			if err := os.WriteFile(filepath.Join(cfg.Dir, name), []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	})
	if objects, err := ks.Inventory(hsmtest.Context(t)); err != nil || len(objects) != 2 || !ks.Health().OK {
		t.Errorf("inventory: %v, %v, health %+v", objects, err, ks.Health())
	}
	hsmtest.SignAndVerify(t, ks, hsmtest.RefTo(victim, lifecycle.ES256), "m")
}

func TestWrongSecretIsRefused(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, cfg *hsm.Config){
		"another key file": func(t *testing.T, cfg *hsm.Config) {
			cfg.KeyFile = filepath.Join(t.TempDir(), "other.key")
			if err := softkey.CreateKeyFile(cfg.KeyFile); err != nil {
				t.Fatal(err)
			}
		},
		"a passphrase instead": func(t *testing.T, cfg *hsm.Config) {
			cfg.KeyFile, cfg.PassphraseFile = "", secretFile(t, "a long enough passphrase", 0o600)
		},
		"another cluster": func(_ *testing.T, cfg *hsm.Config) { cfg.ClusterID = "other" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := hsmtest.SoftConfig(t)
			ks := open(t, cfg)
			hsmtest.Generate(t, ks, lifecycle.EdDSA)
			if err := ks.Close(); err != nil {
				t.Fatal(err)
			}
			wrong := cfg
			change(t, &wrong)
			if _, err := hsm.Open(hsmtest.Context(t), wrong, nil); !errors.Is(err, hsm.ErrCorrupt) || errors.Is(err, hsm.ErrNotFound) {
				t.Errorf("Open: %v, want ErrCorrupt", err)
			}
			if objects, err := open(t, cfg).Inventory(hsmtest.Context(t)); err != nil || len(objects) != 1 {
				t.Errorf("the right secret afterwards: %v, %v", objects, err)
			}
		})
	}
}

// TestMissingKeyFile: a lost one is brought back, and only a new node gets a new one.
func TestMissingKeyFile(t *testing.T) {
	cfg := hsmtest.SoftConfig(t)
	cfg.KeyFile = filepath.Join(t.TempDir(), "gone.key")
	_, err := hsm.Open(hsmtest.Context(t), cfg, nil)
	if !errors.Is(err, hsm.ErrSecretFile) || !strings.Contains(err.Error(), "copy back") || !strings.Contains(err.Error(), "create-key-file "+cfg.KeyFile) {
		t.Errorf("Open: %v", err)
	}
}

func secretFile(t *testing.T, content string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // past the umask
		t.Fatal(err)
	}
	return path
}

func TestPassphrase(t *testing.T) {
	cfg := hsmtest.SoftConfig(t)
	cfg.KeyFile, cfg.PassphraseFile = "", secretFile(t, "correct horse battery\n", 0o600)
	ks := open(t, cfg)
	a, b := hsmtest.Generate(t, ks, lifecycle.ES256), hsmtest.Generate(t, ks, lifecycle.EdDSA)
	if err := ks.Close(); err != nil {
		t.Fatal(err)
	}
	fileA, errA := os.ReadFile(keyPath(cfg, a.ID))
	fileB, errB := os.ReadFile(keyPath(cfg, b.ID))
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if !bytes.Equal(fileA[20:36], fileB[20:36]) {
		t.Error("two files of one store have two salts: opening would cost one Argon2id each")
	}
	cfg.PassphraseFile = secretFile(t, "correct horse battery", 0o400) // without the newline
	hsmtest.SignAndVerify(t, open(t, cfg), hsmtest.RefTo(a, lifecycle.ES256), "m")
}

func TestUnsafeConfiguration(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, cfg *hsm.Config){
		"no secret":           func(_ *testing.T, cfg *hsm.Config) { cfg.KeyFile = "" },
		"two secrets":         func(_ *testing.T, cfg *hsm.Config) { cfg.PassphraseFile = cfg.KeyFile },
		"no cluster":          func(_ *testing.T, cfg *hsm.Config) { cfg.ClusterID = "" },
		"missing file":        func(_ *testing.T, cfg *hsm.Config) { cfg.KeyFile += ".gone" },
		"readable by others":  func(t *testing.T, cfg *hsm.Config) { chmod(t, cfg.KeyFile, 0o644) },
		"readable by a group": func(t *testing.T, cfg *hsm.Config) { chmod(t, cfg.KeyFile, 0o640) },
		"a directory":         func(t *testing.T, cfg *hsm.Config) { cfg.KeyFile = t.TempDir() },
		"not a key file":      func(t *testing.T, cfg *hsm.Config) { cfg.KeyFile = secretFile(t, "hunter2", 0o600) },
		"short passphrase": func(t *testing.T, cfg *hsm.Config) {
			cfg.KeyFile, cfg.PassphraseFile = "", secretFile(t, "hunter2", 0o600)
		},
		"inside the data directory": func(t *testing.T, cfg *hsm.Config) { cfg.DataDir = filepath.Dir(cfg.KeyFile) },
		"inside by a symbolic link": func(t *testing.T, cfg *hsm.Config) {
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(filepath.Dir(cfg.KeyFile), link); err != nil {
				t.Fatal(err)
			}
			cfg.DataDir = link
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := hsmtest.SoftConfig(t)
			change(t, &cfg)
			ks, err := hsm.Open(hsmtest.Context(t), cfg, nil)
			if err == nil {
				t.Fatal(errors.Join(errors.New("opened"), ks.Close()))
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the secret is in the error: %v", err)
			}
			if _, statErr := os.Stat(cfg.Dir); statErr == nil {
				t.Error("a refused configuration made a store")
			}
		})
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsKeptOut(t *testing.T) {
	cfg := hsmtest.SoftConfig(t)
	open(t, cfg)
	if _, err := hsm.Open(hsmtest.Context(t), cfg, nil); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("second Open: %v", err)
	}
}

func TestCreateKeyFileNeverReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "k")
	if err := softkey.CreateKeyFile(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := softkey.CreateKeyFile(path); err == nil {
		t.Error("a key file was replaced")
	}
	after, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the key file changed (%v)", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWarnsAtOpen(t *testing.T) {
	var log bytes.Buffer
	ks, err := hsm.Open(context.Background(), hsmtest.SoftConfig(t), slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer ks.Close()
	hsmtest.Generate(t, ks, lifecycle.ES256)
	if n := strings.Count(log.String(), "software key store: for development and small installations"); n != 1 || !strings.Contains(log.String(), "level=WARN") {
		t.Errorf("warned %d times:\n%s", n, log.String())
	}
}

func TestPrivateKeyIsNotOnDisk(t *testing.T) {
	cfg := hsmtest.SoftConfig(t)
	o := hsmtest.Generate(t, open(t, cfg), lifecycle.ES256)
	file, err := os.ReadFile(keyPath(cfg, o.ID))
	if err != nil {
		t.Fatal(err)
	}
	// PKCS#8 of an EC key carries the public point; neither it nor the label may show.
	if bytes.Contains(file, o.SPKI[len(o.SPKI)-64:]) || bytes.Contains(file, []byte(o.Label)) {
		t.Error("the file shows plaintext")
	}
	if info, err := os.Stat(keyPath(cfg, o.ID)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode: %v, %v", info.Mode(), err)
	}
}
