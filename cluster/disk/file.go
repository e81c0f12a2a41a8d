package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const temporaryInfix = ".unfinished-"

func isTemporary(name string) bool { return strings.Contains(name, temporaryInfix) }

// WriteFileAtomic replaces the file at path durably: after it returns nil, also
// after a power cut, the file holds exactly data; if it fails or the machine dies
// inside it, the file is whatever it was before, whole. perm is not narrowed by
// the umask. The parent directory must exist.
func WriteFileAtomic(path string, data []byte, perm fs.FileMode) error {
	return writeFileAtomic(path, data, perm, nil)
}

func writeFileAtomic(path string, data []byte, perm fs.FileMode, crash func(string) error) (err error) {
	dir, base := filepath.Split(path)
	f, err := os.CreateTemp(dir, base+temporaryInfix+"*")
	if err != nil {
		return fmt.Errorf("create temporary for %s: %w", base, err)
	}
	crashed := false
	at := func(step string) error {
		if crash == nil {
			return nil
		}
		err := crash(step)
		crashed = err != nil
		return err
	}
	defer func() {
		if err != nil && !crashed {
			_ = f.Close()           // already failing with a better error
			_ = os.Remove(f.Name()) // best effort: the next Open sweeps it
		}
	}()
	if err := f.Chmod(perm); err != nil {
		return fmt.Errorf("set mode of %s: %w", base, err)
	}
	if err := at("write " + base); err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", base, err)
	}
	if err := at("sync " + base); err != nil {
		return err
	}
	// Without this sync the rename may reach the disk before the content does.
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", base, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", base, err)
	}
	if err := at("rename " + base); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("rename into %s: %w", base, err)
	}
	// Visible, but the name is durable only after the directory is synced.
	if err := at("sync directory of " + base); err != nil {
		return err
	}
	return SyncDir(filepath.Clean(dir))
}

// Rename moves a file or directory durably; both names must be on one file system.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	// The new name first: dying between the syncs may show both names, never neither.
	if err := SyncDir(filepath.Dir(to)); err != nil {
		return err
	}
	return SyncDir(filepath.Dir(from))
}

// SyncDir makes creations, renames and removals in a directory durable.
func SyncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open directory to sync: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", path, err)
	}
	return nil
}

// write replaces one of this package's own small files.
func (d *Dir) write(name string, data []byte) error {
	if err := writeFileAtomic(d.path(name), data, FileMode, d.opts.crash); err != nil {
		return fmt.Errorf("update data directory: %w", err)
	}
	return nil
}

// FreeBytes tells how much more the data directory's file system takes.
func (d *Dir) FreeBytes() (uint64, error) {
	n, _, err := spaceOf(d.root)
	if err != nil {
		return 0, fmt.Errorf("ask for free space of %s: %w", d.root, err)
	}
	return n, nil
}

// CheckSpace refuses with ErrNoSpace when less than minBytes are free.
func (d *Dir) CheckSpace(minBytes uint64) error {
	n, err := d.FreeBytes()
	if err != nil {
		return err
	}
	if n < minBytes {
		return fmt.Errorf("%w at %s: %d MiB left, %d MiB needed: free some before the next write fails", ErrNoSpace, d.root, n>>20, minBytes>>20)
	}
	return nil
}
