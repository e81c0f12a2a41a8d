package softkey

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/chancery-project/chancery/authority/hsm"
)

// kdfKind says where the sealing key comes from.
type kdfKind byte

const (
	fromKeyFile    kdfKind = 1
	fromPassphrase kdfKind = 2
)

// derivation are the parameters that turn the configured secret into a sealing
// key. They stand in each file's header, so that they can be raised later without
// losing old files.
type derivation struct {
	kind              kdfKind
	passes, memoryKiB uint32
	lanes             uint8
	salt              [saltSize]byte
}

// Argon2id cost for new stores: RFC 9106 section 4, second recommended option, with
// two lanes because a node this store is made for has two cores. The maxima keep a
// damaged or hostile header from taking all memory.
const (
	argonPasses, argonMemoryKiB, argonLanes          = 3, 64 << 10, 2
	maxArgonPasses, maxArgonMemoryKiB, maxArgonLanes = 16, 512 << 10, 16
)

func (d derivation) check() error {
	switch d.kind {
	case fromKeyFile:
		if d.passes != 0 || d.memoryKiB != 0 || d.lanes != 0 {
			return damaged("Argon2id parameters in a file sealed by a key file")
		}
	case fromPassphrase:
		if d.passes == 0 || d.passes > maxArgonPasses || d.memoryKiB < 8 ||
			d.memoryKiB > maxArgonMemoryKiB || d.lanes == 0 || d.lanes > maxArgonLanes {
			return damaged("Argon2id parameters t=%d m=%d KiB p=%d are out of range", d.passes, d.memoryKiB, d.lanes)
		}
	default:
		return damaged("derivation %d is unknown", d.kind)
	}
	return nil
}

// newDerivation draws a salt for a store that has no file yet.
func newDerivation(kind kdfKind) (derivation, error) {
	d := derivation{kind: kind}
	if kind == fromPassphrase {
		d.passes, d.memoryKiB, d.lanes = argonPasses, argonMemoryKiB, argonLanes
	}
	if _, err := rand.Read(d.salt[:]); err != nil {
		return d, fmt.Errorf("draw salt: %w", err)
	}
	return d, nil
}

// sealingKey is a derived key together with how it was derived.
type sealingKey struct {
	kdf    derivation
	secret [32]byte
}

// keyring derives sealing keys from the one configured secret and keeps them,
// because Argon2id costs a tenth of a second and each salt needs it once.
type keyring struct {
	kind   kdfKind
	secret []byte
	keys   map[derivation]sealingKey
}

// maxDerived bounds how many different salts one store may make us derive.
const maxDerived = 64

func (k *keyring) derive(d derivation) (sealingKey, error) {
	if key, ok := k.keys[d]; ok {
		return key, nil
	}
	if d.kind != k.kind {
		return sealingKey{}, damaged("it was sealed with a %s, but a %s is configured", d.kind, k.kind)
	}
	if len(k.keys) >= maxDerived {
		return sealingKey{}, damaged("more than %d different salts in one store", maxDerived)
	}
	key := sealingKey{kdf: d}
	switch d.kind {
	case fromPassphrase:
		copy(key.secret[:], argon2.IDKey(k.secret, d.salt[:], d.passes, d.memoryKiB, d.lanes, 32))
	default:
		okm, err := hkdf.Key(sha256.New, k.secret, d.salt[:], "chancery softkey sealing key v1", 32)
		if err != nil {
			return sealingKey{}, fmt.Errorf("derive sealing key: %w", err)
		}
		copy(key.secret[:], okm)
	}
	k.keys[d] = key
	return key, nil
}

// forget overwrites what it can; copies the runtime made stay until the process
// ends.
func (k *keyring) forget() {
	clear(k.secret)
	clear(k.keys)
}

func (k kdfKind) String() string {
	if k == fromPassphrase {
		return "passphrase"
	}
	return "key file"
}

// keyFilePrefix marks a key file, so that a PIN or a PEM file in its place is
// noticed.
const keyFilePrefix = "chancery-softkey-1:"

// CreateKeyFile draws a new 256-bit sealing key and writes it to path with mode
// 0600. It refuses to replace a file: that would lose every key sealed under it.
func CreateKeyFile(path string) error {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return fmt.Errorf("draw key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("create key file: %s exists. It is kept, because keys may be sealed under it; choose another path", path)
	}
	if err != nil {
		return fmt.Errorf("create key file: %w", err)
	}
	_, err = f.WriteString(keyFilePrefix + base64.StdEncoding.EncodeToString(key[:]) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write key file: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

// openKeyring reads the configured secret.
func openKeyring(cfg hsm.Config) (*keyring, error) {
	what, path, kind := "key_file", cfg.KeyFile, fromKeyFile
	switch {
	case cfg.KeyFile != "" && cfg.PassphraseFile != "":
		return nil, fmt.Errorf("open software key store: key_file and passphrase_file are both set; keep one")
	case cfg.KeyFile == "" && cfg.PassphraseFile == "":
		return nil, fmt.Errorf("open software key store: neither key_file nor passphrase_file is set. Make one with: chancery keystore create-key-file <path>")
	case cfg.PassphraseFile != "":
		what, path, kind = "passphrase_file", cfg.PassphraseFile, fromPassphrase
	}
	for _, dir := range []string{cfg.DataDir, cfg.Dir} {
		if dir != "" && hsm.Inside(dir, path) {
			return nil, fmt.Errorf("open software key store: %s %s lies inside %s, so one stolen backup would hold the keys and what opens them. Move it out", what, path, dir)
		}
	}
	secret, err := hsm.ReadSecret(what, path)
	if errors.Is(err, fs.ErrNotExist) && kind == fromKeyFile {
		return nil, fmt.Errorf("open software key store: %w. Bring its copy back, which alone opens the keys of this node; a new node gets one with: chancery keystore create-key-file %s", err, path)
	}
	if err != nil {
		return nil, fmt.Errorf("open software key store: %w", err)
	}
	if kind == fromKeyFile {
		secret, err = decodeKeyFile(path, secret)
	} else if len(secret) < minPassphrase {
		err = fmt.Errorf("open software key store: the passphrase in %s is shorter than %d bytes", path, minPassphrase)
	}
	if err != nil {
		return nil, err
	}
	return &keyring{kind: kind, secret: secret, keys: make(map[derivation]sealingKey)}, nil
}

// minPassphrase is the shortest passphrase accepted, in bytes.
const minPassphrase = 12

func decodeKeyFile(path string, text []byte) ([]byte, error) {
	encoded, ok := strings.CutPrefix(string(text), keyFilePrefix)
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(key) != 32 {
		return nil, fmt.Errorf("open software key store: %s is not a key file of this program. Restore the right one; a new one opens no existing key", path)
	}
	return key, nil
}
