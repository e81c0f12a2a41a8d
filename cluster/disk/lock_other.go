//go:build !unix

package disk

import (
	"errors"
	"os"
)

var errPlatform = errors.New("servers run on Linux and macOS only")

func acquire(string, string) (*os.File, error) { return nil, errPlatform }

func spaceOf(string) (free, total uint64, err error) { return 0, 0, errPlatform }
