package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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

const secretMode fs.FileMode = 0o600
