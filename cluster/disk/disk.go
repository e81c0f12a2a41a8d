// Package disk owns a node's data directory: who may open it, in which layout it
// is written, whether what lies in it can be trusted after the last stop, and how
// files in it are replaced.
//
// Threat and concurrency model: exactly one process holds a directory, by an
// exclusive flock that dies with the process, so a stale pid never blocks a start.
// Everything is 0700/0600: the directory holds the identity key. A *Dir may be used
// from any goroutine; Close may be called once the stores in it are closed.
package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Permissions of everything below a data directory.
const (
	DirMode  fs.FileMode = 0o700
	FileMode fs.FileMode = 0o600
)

// Sentinels; Open and its callers wrap them with the directory and the remedy.
var (
	// ErrLocked is returned when another process holds the directory.
	ErrLocked = errors.New("data directory is in use")
	// ErrNewerLayout is returned when a newer binary wrote the directory.
	ErrNewerLayout = errors.New("data directory has a newer layout")
	// ErrForeign is returned when a directory holds files but no layout file.
	ErrForeign = errors.New("not a chancery data directory")
	// ErrPermissions is returned when others may read or write the directory.
	ErrPermissions = errors.New("data directory is open to others")
	// ErrDamaged is returned when a file of this package cannot be what we wrote.
	ErrDamaged = errors.New("data directory is damaged")
	// ErrSetAside is returned by Forsake when the directory was started over before.
	ErrSetAside = errors.New("data was set aside before")
	// ErrNoSpace is returned by CheckSpace.
	ErrNoSpace = errors.New("too little free disk space")
)

// Options of Open. The zero value is right for a server.
type Options struct {
	// BootID tells which boot of the kernel this is; nil asks the kernel.
	BootID func() (string, error)

	// crash, in tests, is called before each durable step with the step's name; an
	// error makes the code stop there as a power cut would, cleaning nothing up.
	crash func(step string) error
}

// Dir is an open, locked data directory.
type Dir struct {
	root string
	opts Options
	lock *os.File

	mu          sync.Mutex // owns what follows
	marker      marker
	incarnation string
	closed      bool
}

// subdirectories are made by Open; each method below names one of them or a file in it.
var subdirectories = []string{"raft", "raft/snapshots", "state", "identity", "audit", "keys"}

// Open locks the directory, creating it when absent, checks layout and
// permissions, and notes that it is in use. It changes nothing when it refuses.
func Open(root string, opts Options) (*Dir, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("resolve data directory: %w", err)
	}
	if opts.BootID == nil {
		opts.BootID = kernelBootID
	}
	boot, err := opts.BootID()
	if err != nil {
		return nil, fmt.Errorf("read kernel boot id: %w", err)
	}
	if err := os.MkdirAll(root, DirMode); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	d := &Dir{root: root, opts: opts}
	fresh, err := d.inspect()
	if err != nil {
		return nil, err
	}
	if d.lock, err = acquire(d.path("lock"), root); err != nil {
		return nil, err
	}
	if err := errors.Join(d.OpenReserve().relieve(), d.prepare(fresh, boot)); err != nil {
		_ = d.lock.Close() // the error that matters is err; closing only drops the lock
		return nil, err
	}
	return d, nil
}

// inspect refuses directories that are not ours or that others can enter. An
// empty directory made by hand is tightened; a loose one with content is refused,
// because somebody may already have read the identity key.
func (d *Dir) inspect() (fresh bool, err error) {
	info, err := os.Stat(d.root)
	if err != nil {
		return false, fmt.Errorf("look at data directory: %w", err)
	}
	entries, err := os.ReadDir(d.root)
	if err != nil {
		return false, fmt.Errorf("list data directory: %w", err)
	}
	fresh = true
	for _, e := range entries {
		// A crash during the very first Open leaves the lock file or a temporary.
		if e.Name() != "lock" && !isTemporary(e.Name()) {
			fresh = false
		}
	}
	// Before the lock file is made: a stranger's directory gets nothing of ours.
	if _, err := os.Stat(d.path("layout")); !fresh && errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("open %s: %w: it has files but no layout file; choose an empty directory or the right one", d.root, ErrForeign)
	}
	if info.Mode().Perm()&0o077 != 0 {
		if !fresh {
			return false, fmt.Errorf("open %s: %w (mode %04o): run chmod -R go= %s, and replace the node's identity if others could log in here",
				d.root, ErrPermissions, info.Mode().Perm(), d.root)
		}
		if err := os.Chmod(d.root, DirMode); err != nil {
			return false, fmt.Errorf("restrict data directory: %w", err)
		}
	}
	return fresh, nil
}

// prepare runs under the lock. Each step is repeatable: dying after any of them
// leaves a directory that the next Open completes.
func (d *Dir) prepare(fresh bool, boot string) error {
	if err := d.checkLayout(fresh); err != nil {
		return err
	}
	// Here the layout file is durable: from now on the directory is ours.
	if err := d.sweep(); err != nil {
		return err
	}
	if err := d.loadIncarnation(); err != nil {
		return err
	}
	if err := d.finishAside(); err != nil {
		return err
	}
	for _, sub := range subdirectories {
		if err := os.MkdirAll(d.path(sub), DirMode); err != nil {
			return fmt.Errorf("create %s: %w", sub, err)
		}
	}
	if err := SyncDir(d.root); err != nil {
		return err
	}
	return d.enter(boot, fresh)
}

// sweep removes temporaries of writes that a crash cut short.
func (d *Dir) sweep() error {
	return filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("sweep data directory: %w", err)
		case e.IsDir() && path != d.root && filepath.Dir(path) == d.root && strings.HasPrefix(e.Name(), asidePrefix):
			return fs.SkipDir // evidence set aside stays exactly as it was
		case !e.IsDir() && isTemporary(e.Name()):
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove unfinished file: %w", err)
			}
		}
		return nil
	})
}

// Close notes a clean stop and releases the directory. Call it only after every
// store below it has been synced and closed: a clean mark tells the next start
// that the state file can be trusted.
func (d *Dir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	m := d.marker
	m.Open = false
	err := d.writeMarker(m)
	return errors.Join(err, d.lock.Close())
}

// Abandon releases the directory without the clean mark, for a stop after an error.
func (d *Dir) Abandon() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	return d.lock.Close()
}

func (d *Dir) path(elem ...string) string {
	return filepath.Join(append([]string{d.root}, elem...)...)
}

// Root is the directory's absolute path.
func (d *Dir) Root() string { return d.root }

// RaftLog is the file of the Raft log and stable store.
func (d *Dir) RaftLog() string { return d.path("raft", "log.db") }

// Snapshots is the directory of Raft snapshots.
func (d *Dir) Snapshots() string { return d.path("raft", "snapshots") }

// State is the directory of the state file.
func (d *Dir) State() string { return d.path("state") }

// Identity is the directory of the identity key, certificates and CA instance.
func (d *Dir) Identity() string { return d.path("identity") }

// Audit is the directory of the audit records.
func (d *Dir) Audit() string { return d.path("audit") }

// Keys is the directory of the sealed software key store.
func (d *Dir) Keys() string { return d.path("keys") }

// AdminSocket is where `chancery seal --local` and `node rebuild` find the process.
func (d *Dir) AdminSocket() string { return AdminSocket(d.root) }

// AdminSocket is that of the data directory root, for those who do not open it.
func AdminSocket(root string) string { return filepath.Join(root, "admin.sock") }
