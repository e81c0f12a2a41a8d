package disk

import (
	"os"
	"strings"
)

// kernelBootID reads the random UUID that Linux draws at each boot.
func kernelBootID() (string, error) {
	raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw)), err
}
