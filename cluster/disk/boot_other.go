//go:build !linux && !darwin

package disk

import "errors"

func kernelBootID() (string, error) {
	return "", errors.New("servers run on Linux and macOS only")
}
