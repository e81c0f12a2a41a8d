package softkey

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/chancery-project/chancery/authority/hsm"
)

const (
	keySuffix = ".key"
	tmpSuffix = ".tmp"
	lockName  = "lock"
)

func (s *Store) path(id hsm.ObjectID) string {
	return filepath.Join(s.dir, id.String()+keySuffix)
}

// readFile reads one key file. An absent file is fs.ErrNotExist and nothing else
// is: a read error must not look like absence.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, damaged("%s is not a key file: mode %s, %d bytes", path, info.Mode(), info.Size())
	}
	return os.ReadFile(path)
}

// listIDs names the key files in the directory. Other files are none of ours.
func (s *Store) listIDs() ([]hsm.ObjectID, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list key files: %w: %w", hsm.ErrUnavailable, err)
	}
	var ids []hsm.ObjectID
	for _, entry := range entries {
		if id, ok := parseName(entry.Name()); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

func parseName(name string) (hsm.ObjectID, bool) {
	digits, ok := strings.CutSuffix(name, keySuffix)
	raw, err := hex.DecodeString(digits)
	if !ok || err != nil || len(raw) != len(hsm.ObjectID{}) {
		return hsm.ObjectID{}, false
	}
	id := hsm.ObjectID(raw)
	return id, id.String() == digits // lower case only, or one id would have several names
}

// writeFile puts a new key file in place so that after a crash it is there whole
// or not at all.
func (s *Store) writeFile(id hsm.ObjectID, file []byte) error {
	tmp := filepath.Join(s.dir, id.String()+tmpSuffix)
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write key file: %w: %w", hsm.ErrUnavailable, err)
	}
	_, err = f.Write(file)
	err = errors.Join(err, f.Sync(), f.Close())
	// A crash before the rename leaves only the .tmp file: the pair was never
	// reported to anyone, and the next attempt overwrites it.
	if err == nil {
		err = os.Rename(tmp, s.path(id))
	}
	if err != nil {
		err = errors.Join(err, os.Remove(tmp))
		return fmt.Errorf("write key file: %w: %w", hsm.ErrUnavailable, err)
	}
	// A crash here may still lose the name; the caller has no answer yet and looks
	// the id up again.
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("write key file: %w: %w", hsm.ErrUnavailable, err)
	}
	return nil
}

// removeFile deletes a key file and proves it by two look-ups, by name and by
// listing.
func (s *Store) removeFile(id hsm.ObjectID) error {
	if err := os.Remove(s.path(id)); err != nil {
		return fmt.Errorf("remove key file: %w: %w", hsm.ErrUnavailable, err)
	}
	if err := syncDir(s.dir); err != nil {
		return fmt.Errorf("remove key file: %w: %w", hsm.ErrUnavailable, err)
	}
	if _, err := os.Lstat(s.path(id)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove key file: %w: it is still there (%v)", hsm.ErrUnavailable, err)
	}
	ids, err := s.listIDs()
	if err != nil {
		return err
	}
	for _, other := range ids {
		if other == id {
			return fmt.Errorf("remove key file: %w: the directory still lists it", hsm.ErrUnavailable)
		}
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
