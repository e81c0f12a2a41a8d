package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate takes the blocks without writing them, where the file system can.
func allocate(f *os.File, sizeBytes int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, 0, sizeBytes); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return writeZeros(f, sizeBytes)
		default:
			return os.NewSyscallError("fallocate", err)
		}
	}
}
