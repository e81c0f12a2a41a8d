package hsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// ErrSecretFile is returned when a secret's file is unsafe or unreadable. The
// message names the file and the repair, never the content.
var ErrSecretFile = errors.New("unsafe secret file")

// maxSecret bounds a PIN, passphrase or key file, in bytes.
const maxSecret = 4096

// ReadSecret reads a PIN, a passphrase or a key from a file that only its owner
// can read: mode 0600 or 0400, owned by this user or by root. One trailing newline
// is dropped. what names the setting for messages, for example "pin_file".
//
// A systemd credential is accepted with mode 0440: systemd grants the service user
// access by an ACL, which shows as a group bit, on a file of root in a directory
// nobody else can enter.
func ReadSecret(what, path string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: %s is not set", ErrSecretFile, what)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrSecretFile, what, err)
	}
	defer f.Close()
	info, err := f.Stat() // of the open file, so that it cannot be exchanged in between
	if err != nil {
		return nil, fmt.Errorf("%w: stat %s: %w", ErrSecretFile, what, err)
	}
	if err := checkSecret(what, path, info); err != nil {
		return nil, err
	}
	secret, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return nil, fmt.Errorf("%w: read %s: %w", ErrSecretFile, what, err)
	}
	if len(secret) > maxSecret {
		return nil, fmt.Errorf("%w: %s %s is larger than %d bytes", ErrSecretFile, what, path, maxSecret)
	}
	secret = bytes.TrimSuffix(bytes.TrimSuffix(secret, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		return nil, fmt.Errorf("%w: %s %s is empty", ErrSecretFile, what, path)
	}
	return secret, nil
}

func checkSecret(what, path string, info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: %s %s is not a regular file", ErrSecretFile, what, path)
	}
	forbidden := os.FileMode(0o077)
	if inCredentials(path) {
		forbidden = 0o037
	}
	if perm := info.Mode().Perm(); perm&forbidden != 0 {
		return fmt.Errorf("%w: %s %s has mode %04o, so other users can use it. Run: chmod 600 %s", ErrSecretFile, what, path, perm, path)
	}
	return checkOwner(what, path, info)
}

// inCredentials reports whether path lies in the directory systemd made for this
// unit's credentials.
func inCredentials(path string) bool {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	return dir != "" && Inside(dir, path)
}

// Inside reports whether path lies in dir, symbolic links resolved as far as the
// paths exist.
func Inside(dir, path string) bool {
	rel, err := filepath.Rel(resolve(dir), resolve(path))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return filepath.Clean(path)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		return real
	}
	// The file may not exist yet; its directory's links still count.
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs
	}
	return filepath.Join(parent, filepath.Base(abs))
}
