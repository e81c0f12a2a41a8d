package audit

import (
	"fmt"
	"os"
	"path/filepath"
)

// disk is the little of a file system that the journal writes through. Tests
// count its syncs and make them fail.
type disk interface {
	// create makes a new file for writing; it must not exist yet.
	create(path string) (file, error)
	// rename moves a finished file to its name and makes the name durable.
	rename(from, to string) error
}

// file is a segment that grows.
type file interface {
	WriteAt(p []byte, offset int64) (int, error)
	// Datasync returns when all that was written is on the disk, the length
	// included. After an error the contents are unknown and the file is not used
	// again.
	Datasync() error
	Truncate(size int64) error
	Close() error
}

type osDisk struct{}

func (osDisk) create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	defer dir.Close() // read only
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync directory: %w", err)
	}
	return nil
}

type osFile struct{ *os.File }

func (f osFile) Datasync() error { return datasync(f.File) }
