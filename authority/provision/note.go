package provision

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// notes are files, one per destruction that has begun, named by CKA_ID. A note is on
// the disk before the key store is asked to destroy, and stays until the log says
// that the instance is erased.
type notes struct{ dir string }

// note is the content of such a file, for whoever reads the directory.
type note struct {
	Key     lifecycle.KeyID   `json:"key"`
	Version uint64            `json:"version"`
	KID     string            `json:"kid,omitempty"`
	BegunAt lifecycle.Instant `json:"begun_at_ms"`
}

func openNotes(dir string) (notes, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return notes{}, fmt.Errorf("make directory for destruction notes: %w", err)
	}
	return notes{dir}, nil
}

func (n notes) path(id lifecycle.CKAID) string { return filepath.Join(n.dir, id.String()) }

// read returns nil when no destruction was begun.
func (n notes) read(id lifecycle.CKAID) (*note, error) {
	b, err := os.ReadFile(n.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read destruction note: %w", err)
	}
	var found note
	if err := json.Unmarshal(b, &found); err != nil {
		return nil, fmt.Errorf("read destruction note %s: %w", id, err)
	}
	return &found, nil
}

// write returns when the note would survive a loss of power.
func (n notes) write(id lifecycle.CKAID, content note) error {
	b, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode destruction note: %w", err)
	}
	temp := n.path(id) + ".new"
	if err := writeSynced(temp, b); err != nil {
		return fmt.Errorf("write destruction note: %w", err)
	}
	if err := os.Rename(temp, n.path(id)); err != nil {
		return fmt.Errorf("write destruction note: %w", err)
	}
	return n.sync()
}

func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

func (n notes) sync() error {
	d, err := os.Open(n.dir)
	if err != nil {
		return fmt.Errorf("sync destruction notes: %w", err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove forgets a destruction that the log has recorded.
func (n notes) remove(id lifecycle.CKAID) error {
	if err := os.Remove(n.path(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove destruction note: %w", err)
	}
	return nil
}

// list names the CKA_IDs that have a note.
func (n notes) list() (map[string]bool, error) {
	entries, err := os.ReadDir(n.dir)
	if err != nil {
		return nil, fmt.Errorf("list destruction notes: %w", err)
	}
	out := make(map[string]bool, len(entries))
	for _, e := range entries {
		out[e.Name()] = true
	}
	return out, nil
}
