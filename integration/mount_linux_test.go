package integration

import (
	"fmt"
	"syscall"
)

// mount mounts a file system in memory, of so many bytes.
func mount(path string, sizeBytes int) error {
	return syscall.Mount("tmpfs", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", sizeBytes))
}

func unmount(path string) error { return syscall.Unmount(path, syscall.MNT_DETACH) }
