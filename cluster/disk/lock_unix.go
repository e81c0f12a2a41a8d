//go:build unix

package disk

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// acquire takes the exclusive lock and writes our pid into it. The lock is the
// flock, never the file's existence or content: those survive a crash.
func acquire(path, root string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, FileMode)
	if err != nil {
		return nil, fmt.Errorf("open lock file: %w", err)
	}
	if err := flock(f); err != nil {
		raw := make([]byte, 32)
		n, _ := f.ReadAt(raw, 0) // the pid is a courtesy: without it the message says "another process"
		_ = f.Close()            // nothing was written
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		holder := "another process"
		if pid, err := strconv.Atoi(strings.TrimSpace(string(raw[:n]))); err == nil {
			holder = fmt.Sprintf("process %d", pid)
		}
		return nil, fmt.Errorf("open %s: %w by %s: stop it first, or give this node its own data_dir", root, ErrLocked, holder)
	}
	pid := []byte(strconv.Itoa(os.Getpid()) + "\n")
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(pid, 0)
	}
	if err != nil {
		_ = f.Close() // already failing with a better error
		return nil, fmt.Errorf("write pid to lock file: %w", err)
	}
	return f, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// spaceOf is what an unprivileged process can still write to the file system, and its size.
func spaceOf(path string) (free, total uint64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, 0, err
	}
	block := uint64(st.Bsize) //nolint:unconvert // int64 on Linux, uint32 on macOS
	return st.Bavail * block, st.Blocks * block, nil
}
