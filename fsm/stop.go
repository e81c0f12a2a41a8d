package fsm

import (
	"errors"
	"log/slog"
	"os"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// Exit codes of Exit, after sysexits(3), so that a supervisor can tell a node that
// needs a person from one that may be started again.
const (
	ExitUntrusted = 78 // this node's state or log is not what the cluster agreed on
	ExitStorage   = 74 // its disk failed; a restart is harmless
)

// Exit is the default of Options.Stop: it says why and what to do, and ends the
// process.
func Exit(log *slog.Logger) func(reason error) {
	return func(reason error) {
		os.Exit(announce(log, reason))
	}
}

// announce logs the reason of a stop and chooses the exit code.
func announce(log *slog.Logger, reason error) int {
	const rebuild = "keep the data directory for whoever investigates, then run: chancery node rebuild"
	var c *state.Corruption
	var d *state.Divergence
	var a *store.Altered
	switch {
	case errors.As(reason, &d):
		log.Error("stopping: this node diverged from the majority", "index", d.Index, "kind", d.What, "mine", d.Mine, "majority", d.Ours, "next", rebuild)
	case errors.As(reason, &c):
		log.Error("stopping: a committed entry cannot be applied", "index", c.Index, "err", c.Err,
			"next", "if other nodes run a newer version, upgrade this one; else "+rebuild)
	case errors.As(reason, &a):
		log.Error("stopping: the state file was altered", "index", a.Index, "kind", a.What, "err", a.Err, "next", rebuild)
	default:
		log.Error("stopping: the state file cannot be used", "err", reason, "next", "check the disk and its free space, then start the node again")
		return ExitStorage
	}
	return ExitUntrusted
}
