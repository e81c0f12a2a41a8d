package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// guardSecrets keeps the process's memory out of core files, and away from
// debuggers of the same user.
func guardSecrets() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}
