package cluster

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm"
)

// TestExitCodes: a supervisor may start a node with a bad disk again, and must not
// do so with one that needs a person.
func TestExitCodes(t *testing.T) {
	for name, c := range map[string]struct {
		reason error
		code   int
		says   string
	}{
		"damaged log":   {fmt.Errorf("read raft entry: %w: %w", ErrEntryDigest, errRebuild), fsm.ExitUntrusted, "node rebuild"},
		"livelock":      {fmt.Errorf("%w: %w", ErrStuck, errStartOver), exitStartOver, "start it again"},
		"once more":     {fmt.Errorf("%w: run: chancery node rebuild", ErrStuck), fsm.ExitUntrusted, "node rebuild"},
		"failed write":  {fmt.Errorf("write raft entries: input/output error: %w", errDisk), fsm.ExitStorage, "disk"},
		"state machine": {errors.New("anything else"), 0, ""},
	} {
		var b strings.Builder
		code := announce(slog.New(slog.NewTextHandler(&b, nil)), c.reason)
		if code != c.code || !strings.Contains(b.String(), c.says) || (code != 0) == (b.Len() == 0) {
			t.Errorf("%s: code %d, said %q", name, code, b.String())
		}
	}
}
