package disk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// kernelBootID is the time of the boot, the closest thing macOS offers. A clock
// set while the system runs moves it, which costs one needless rebuild.
func kernelBootID() (string, error) {
	tv, err := unix.SysctlTimeval("kern.boottime")
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("boottime-%d.%06d", tv.Sec, tv.Usec), nil
}
