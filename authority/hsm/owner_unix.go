//go:build unix

package hsm

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwner refuses a file that another user could rewrite or chmod at will.
func checkOwner(what, path string, info os.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("%w: owner of %s %s is unknown", ErrSecretFile, what, path)
	}
	if owner := int(stat.Uid); owner != 0 && owner != os.Geteuid() {
		return fmt.Errorf("%w: %s %s belongs to user %d, not to this one (%d). Run: chown %d %s",
			ErrSecretFile, what, path, owner, os.Geteuid(), os.Geteuid(), path)
	}
	return nil
}
