package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/chancery-project/chancery/fsm"
)

// ErrBroken is returned by every call after damage was found or a write failed.
var ErrBroken = errors.New("raft store is not used after damage")

// What to do next, at the end of a reason to stop.
var (
	errRebuild = errors.New("this node's raft log is damaged, the other nodes' are not concerned. Run: chancery node rebuild")
	errDisk    = errors.New("check the disk under data_dir, then start the node again; if it stops once more run: chancery node rebuild")
)

// exitStartOver is EX_TEMPFAIL of sysexits(3): a supervisor starts the node again.
const exitStartOver = 75

// failStop ends the process at the first damage. Where its hook returns, as in
// tests, everything that asks it afterwards is refused, so that nothing read or
// half written gets further.
type failStop struct {
	fatal  func(reason error)
	broken atomic.Pointer[error]
}

// Exit is the default of Config.Fatal: it says why and what to do, and ends the
// process with the exit codes of fsm.Exit. Deferred functions do not run, on
// purpose: nothing may be written any more.
func Exit(log *slog.Logger) func(reason error) {
	return func(reason error) {
		if code := announce(log, reason); code != 0 {
			os.Exit(code)
		}
		fsm.Exit(log)(reason)
	}
}

// announce logs a reason that was born in this package and chooses the exit code;
// it is 0 for the state machine's own.
func announce(log *slog.Logger, reason error) (code int) {
	switch {
	case errors.Is(reason, errStartOver):
		code = exitStartOver
	case errors.Is(reason, errRebuild), errors.Is(reason, ErrStuck):
		code = fsm.ExitUntrusted
	case errors.Is(reason, errDisk):
		code = fsm.ExitStorage
	default:
		return 0
	}
	log.Error("stopping: the raft store cannot be used", "reason", reason.Error())
	return code
}

func (s *failStop) usable() error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *failStop) fail(reason error) error {
	wrapped := fmt.Errorf("%w: %w", ErrBroken, reason)
	if s.broken.CompareAndSwap(nil, &wrapped) {
		s.fatal(reason)
	}
	return wrapped
}

// damaged stops because of what was read.
func (s *failStop) damaged(what string, err error) error {
	return s.fail(fmt.Errorf("read %s: %w: %w", what, err, errRebuild))
}

// read runs a read. Any error but absence and a closed file is damage. The two
// stay unwrapped, because raft compares them with == and by their text.
func (s *failStop) read(what string, f func() error) error {
	if err := s.usable(); err != nil {
		return err
	}
	err := f()
	if err == nil || err == raft.ErrLogNotFound || err == raftboltdb.ErrKeyNotFound || errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return err
	}
	return s.damaged(what, err)
}

// write runs a write. After a failed one nobody knows what the kernel holds in its
// cache and calls clean, and asking again would get a false yes, so the process
// ends. A full disk is the exception: bbolt finds out before it syncs, the
// transaction is rolled back, and raft steps down.
func (s *failStop) write(what string, f func() error) error {
	if err := s.usable(); err != nil {
		return err
	}
	err := f()
	if err == nil || errors.Is(err, bolterrors.ErrDatabaseNotOpen) || errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return s.fail(fmt.Errorf("write %s: %w: %w", what, err, errDisk))
}
