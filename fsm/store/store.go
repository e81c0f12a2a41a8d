package store

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/state"
)

// Names of files in the state directory.
const (
	fileName    = "state.db"
	newName     = "state.db.new"     // a restore that has not finished
	damagedName = "state.db.damaged" // the last file that could not be read, for who wants to know why
)

// DefaultSyncEvery is how often the file is synced behind the commits.
const DefaultSyncEvery = 3 * time.Second

// DefaultMmapBytes is the size of the memory map: address space, not memory.
// Growing the map would wait for every reader, a snapshot among them.
func DefaultMmapBytes() int {
	if strconv.IntSize == 64 {
		return 64 << 30
	}
	return 256 << 20
}

// Options of Open.
type Options struct {
	Unclean   bool          // the machine stopped while the file was open: throw it away
	SyncEvery time.Duration // 0 = DefaultSyncEvery
	MmapBytes int           // 0 = DefaultMmapBytes
	Logger    *slog.Logger  // nil = slog.Default
	Fatal     func(error)   // called by the sync loop when the file cannot be synced; required; must not Close

	// crash, in tests, is called before each step that matters: to look at the
	// directory as a kill would leave it, to kill the process, or to fail the step.
	crash func(step string) error
}

// Store is an open state file. Methods may be called from any goroutine.
type Store struct {
	dir     string
	opts    Options
	current atomic.Pointer[published]
	watch   watch
	volume  volume

	dirty    atomic.Bool // committed, not synced yet
	stopSync chan struct{}
	syncDone chan struct{}

	mu      sync.Mutex // the writer's: owns what follows and every store to current
	machine *state.Machine
	failed  error // set once; nothing is applied after it
	closed  bool
}

// published is what readers see, replaced as a whole.
type published struct {
	view *state.View
	root *state.Root
	gen  *generation
}

// Open opens the state file in the directory, which must exist, and decodes the
// hot tables. The caller removes a file that fails with ErrDamaged by SetAside and
// opens again.
func Open(dir string, o Options) (*Store, error) {
	if o.Fatal == nil {
		return nil, errors.New("open state file: no Fatal hook")
	}
	if o.SyncEvery == 0 {
		o.SyncEvery = DefaultSyncEvery
	}
	if o.MmapBytes == 0 {
		o.MmapBytes = DefaultMmapBytes()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Store{dir: dir, opts: o, stopSync: make(chan struct{}), syncDone: make(chan struct{})}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	db, err := openGuarded(s.path(fileName), o.MmapBytes)
	if err != nil {
		return nil, err
	}
	if s.machine, err = loadMachine(db); err != nil {
		_ = db.Close() // the error that matters is err
		return nil, fmt.Errorf("open state file: %w", err)
	}
	s.publish(s.machine.Root(), newGeneration(1, db))
	go s.syncLoop()
	return s, nil
}

// sweep removes what a crash left, and after an unclean stop the file itself: half
// of its pages may be from before the last transaction.
func (s *Store) sweep() error {
	names := []string{newName}
	if s.opts.Unclean {
		names = append(names, fileName)
	}
	for _, name := range names {
		if err := os.Remove(s.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return syncDir(s.dir)
}

// SetAside moves a damaged file out of the way, over the one moved before.
func SetAside(dir string) error {
	if err := os.Rename(filepath.Join(dir, fileName), filepath.Join(dir, damagedName)); err != nil {
		return fmt.Errorf("set state file aside: %w", err)
	}
	return syncDir(dir)
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, name) }

// publish runs under mu, or before anybody else knows the Store.
func (s *Store) publish(root *state.Root, gen *generation) {
	s.current.Store(&published{view: state.NewView(root, s.read), root: root, gen: gen})
	s.watch.publish(root.Meta.Index)
}

// View is the newest published state. It never blocks, and works after Close for
// hot rows.
func (s *Store) View() *state.View { return s.current.Load().view }

// Position of the newest published state.
func (s *Store) Position() state.Position { return s.current.Load().root.Meta.Position() }

// Digest is the state digest at Position, both of one published state.
func (s *Store) Digest() (state.Position, [32]byte) {
	meta := &s.current.Load().root.Meta
	return meta.Position(), meta.Digest()
}

// Generation counts files: it is raised by each Restore that replaced the state.
func (s *Store) Generation() uint64 { return s.current.Load().gen.number }

// Changed returns a channel that is closed once a state with Index greater than
// index is published. When very many different indexes are waited for, it is closed
// at the next publication already: look at the View again.
func (s *Store) Changed(index uint64) <-chan struct{} { return s.watch.changed(index) }

// read runs fn on the newest file. A View of an older position may use it: rows of
// the log never change, and the View bounds what it reads by its own log size.
func (s *Store) read(fn func(state.Reader) error) error {
	gen, err := s.acquire()
	if err != nil {
		return err
	}
	defer gen.release()
	tx, err := gen.db.Begin(false)
	if err != nil {
		return fmt.Errorf("read state file: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // fails only on a finished transaction
	return fn(newRows(tx))
}

// acquire takes a reference on the newest generation. A generation is released
// only after its successor was published, so this ends.
func (s *Store) acquire() (*generation, error) {
	for {
		gen := s.current.Load().gen
		if gen.acquire() {
			return gen, nil
		}
		if s.current.Load().gen == gen {
			return nil, ErrClosed
		}
	}
}

// pinned is one committed transaction with the root published for it, and the file
// they are in.
type pinned struct {
	gen  *generation
	tx   *bolt.Tx
	root *state.Root
}

// pin holds the writer off for as long as beginning a transaction takes.
func (s *Store) pin() (*pinned, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	p := s.current.Load()
	if !p.gen.acquire() {
		return nil, ErrClosed
	}
	tx, err := p.gen.db.Begin(false)
	if err != nil {
		p.gen.release()
		return nil, fmt.Errorf("read state file: %w", err)
	}
	p.gen.walks.Add(1)
	return &pinned{gen: p.gen, tx: tx, root: p.root}, nil
}

func (p *pinned) release() {
	_ = p.tx.Rollback() // fails only on a finished transaction
	p.gen.walks.Add(-1)
	p.gen.release()
}

// Close syncs the file and closes it once the reads that run have ended. Snapshots
// must have been released.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	close(s.stopSync)
	<-s.syncDone
	err := s.Sync()
	gen := s.current.Load().gen
	gen.release()
	<-gen.gone
	if err == nil && gen.err != nil {
		err = fmt.Errorf("close state file: %w", gen.err)
	}
	return err
}
