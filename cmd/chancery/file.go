package main

import (
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

// open opens a file, or stdin for "-".
func (s *session) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(s.in), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open the input: %w", err)
	}
	return f, nil
}

// read reads a file, or stdin for "-", of at most max bytes.
func (s *session) read(name string, max int64) ([]byte, error) {
	f, err := s.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s has more than %d bytes", name, max)
	}
	return b, nil
}

// write writes b to a file, or to stdout for "" and "-". A secret (mode 0600)
// never goes into a file that is there already, because others may have it open.
func (s *session) write(name string, b []byte, mode fs.FileMode) error {
	if name == "" || name == "-" {
		if _, err := s.out.Write(b); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if mode == secretMode {
		flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	} else if err := s.sparesKeys(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, flags, mode)
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// maxKeyFile is the size of the largest file in which private keys are looked for.
const maxKeyFile = 1 << 20

const secretMode fs.FileMode = 0o600

// sparesKeys refuses to write over a private key, which there may be nowhere else.
// Commands call it before they ask for anything.
func (s *session) sparesKeys(outs ...string) error {
	for _, name := range outs {
		if name == "-" {
			continue // stdout, whatever file has that name
		}
		if at, err := os.Stat(name); err != nil || !at.Mode().IsRegular() || at.Size() > maxKeyFile {
			continue // nothing is there, or nothing that a key is kept in
		}
		b, err := s.read(name, maxKeyFile)
		if err != nil {
			return err
		}
		for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
			if strings.HasSuffix(block.Type, "PRIVATE KEY") {
				return &wire.Error{Code: "key_exists", Message: name + " holds a private key: it is not written over",
					Hint: "name another file"}
			}
		}
	}
	return nil
}

// secretFile is where a secret goes that is given out once. It is made before anything
// is asked for, so that the secret is not lost to a file that is there already or to a
// directory that takes none. nil = stdout.
type secretFile struct{ f *os.File }

func newSecretFile(name string) (*secretFile, error) {
	if name == "" || name == "-" {
		return nil, nil
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretMode)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, usagef("%s is there already: a secret goes into a new file, and nothing was asked", name)
	case err != nil:
		return nil, fmt.Errorf("make the file for the secret, before it is asked for: %w", err)
	}
	return &secretFile{f}, nil
}

// write stores the secret. undo is what to do when it cannot.
func (n *secretFile) write(secret, undo string) error {
	_, err := n.f.WriteString(secret + "\n")
	if err = errors.Join(err, n.f.Sync()); err != nil {
		return fmt.Errorf("write %s: %w; the secret is lost with that: %s", n.f.Name(), err, undo)
	}
	kept := n.f
	n.f = nil
	return kept.Close()
}

// close takes the file away again when no secret came.
func (n *secretFile) close() {
	if n != nil && n.f != nil {
		// What stays at worst holds no secret that counts, the next try names it, and the
		// command has an error of its own to tell.
		_ = errors.Join(n.f.Close(), os.Remove(n.f.Name()))
	}
}

// sameFile reports whether two names lead to one file on a disk.
func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil || !x.Mode().IsRegular() {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}
