//go:build cgo && !nopkcs11

package dev

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery-project/chancery/authority/hsm/pkcs11"
)

// modules are the places where SoftHSM's module is installed.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// prepareKeyStores finds the module.
func (c *Cluster) prepareKeyStores() error {
	if c.KeyStore != "pkcs11" || c.Module != "" {
		return nil
	}
	for _, m := range modules {
		if exists(m) {
			c.Module = m
			return nil
		}
	}
	return errors.New("no SoftHSM module was found: apt-get install softhsm2, or name one with --module")
}

// initToken makes node i's own SoftHSM token; the PIN stands in pinFile.
func (o *Options) initToken(i int, label, pinFile string) error {
	conf := o.softHSMConf(i)
	tokens := filepath.Join(o.node(i), "tokens")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return fmt.Errorf("make the token directory: %w", err)
	}
	text := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\n"
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return fmt.Errorf("write the SoftHSM configuration: %w", err)
	}
	// SoftHSM reads its environment when the module is initialised, and only then.
	if err := os.Setenv("SOFTHSM2_CONF", conf); err != nil {
		return fmt.Errorf("point SoftHSM at the token: %w", err)
	}
	pin, err := os.ReadFile(pinFile)
	if err != nil {
		return fmt.Errorf("read the PIN: %w", err)
	}
	so := make([]byte, 16)
	rand.Read(so) // never fails: crypto/rand ends the process instead
	return pkcs11.InitToken(o.Module, label, hex.EncodeToString(so), strings.TrimSpace(string(pin)))
}
