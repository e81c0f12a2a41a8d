//go:build !unix

package softkey

import (
	"errors"
	"os"
)

// lockDir refuses: without owners, modes and locks the promises of this store do
// not hold. Such systems run client commands only.
func lockDir(string) (*os.File, error) {
	return nil, errors.New("open software key store: not offered on this operating system; run the server on Linux")
}
