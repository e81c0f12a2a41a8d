package daemon

import (
	"fmt"
	"syscall"

	"github.com/chancery-project/chancery/transport"
)

// maxScrapers bounds the connections of the metrics listener.
const maxScrapers = 64

// maxConnections is how many connections the API listener may hold, and the public
// one: as configured, and no more than leaves a quarter of the process's file
// descriptors to Raft, the state, the journal and the key store. Whoever connects to
// the public listener often enough would else stop the node.
func (d *Daemon) maxConnections() (int, error) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		return 0, fmt.Errorf("ask how many files this process may open: %w", err)
	}
	wanted := d.config.Limits.Connections
	if wanted == 0 {
		wanted = transport.DefaultConnections
	}
	n := connectionsOf(wanted, files.Cur)
	if n < wanted {
		d.log.Warn("fewer connections than wanted: raise the limit of open files (LimitNOFILE)", "open_files", files.Cur, "connections", n, "wanted", wanted)
	}
	return n, nil
}

// connectionsOf is the share of one of the two listeners.
func connectionsOf(wanted int, files uint64) int {
	return int(min(uint64(wanted), max(1, files/8*3)))
}
