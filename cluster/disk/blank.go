package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// unmeaning are the files that Open leaves in a directory, and the lock of a software key
// store that holds nothing.
var unmeaning = []string{"lock", "layout", "boot", "incarnation", filepath.Join("keys", "lock")}

var errStored = errors.New("something is stored here")

// Blank tells whether nobody has stored anything below root: it is absent, or empty, or
// Open has made it and that was all, as when a key store is checked or a server is started
// before the node has a cluster.
func Blank(root string) (bool, error) {
	if real, err := filepath.EvalSymlinks(root); err == nil {
		root = real // WalkDir would not go through a link
	}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return nil
		}
		if name, err := filepath.Rel(root, path); err != nil || !slices.Contains(unmeaning, name) {
			return errStored
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return true, nil
	case errors.Is(err, errStored):
		return false, nil
	}
	return false, fmt.Errorf("look through data directory: %w", err)
}
