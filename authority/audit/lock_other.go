//go:build !unix

package audit

import (
	"fmt"
	"os"
)

// lock only creates the file: servers run on Unix, elsewhere there are clients.
func lock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open audit lock: %w", err)
	}
	return f, nil
}
