package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/chancery-project/chancery/client"
)

// The highest position seen is kept between commands, so that `key create` on one
// node and `sign` on another a moment later belong together: the second node
// answers when it has caught up. One small file per cluster, told by its CA.

type seenPosition struct {
	Epoch uint64 `json:"epoch"`
	Index uint64 `json:"index"`
}

// positionFile is "" when the cluster or the directory is not known.
func positionFile(p profile) string {
	ca, err := os.ReadFile(p.CA)
	if err != nil {
		return ""
	}
	dir, err := configDir()
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(ca)
	return filepath.Join(dir, "seen-"+hex.EncodeToString(sum[:8])+".json")
}

func readPosition(file string) (p seenPosition) {
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &p) != nil {
		return seenPosition{} // a file that is missing or damaged promises nothing
	}
	return p
}

// anchor makes the connection go on where the last command was.
func anchor(c *client.Client, p profile) {
	if seen := readPosition(positionFile(p)); seen.Epoch > 0 {
		c.Anchor(seen.Epoch, seen.Index)
	}
}

// keepPosition stores what this command has seen. It is a convenience: a failure
// is shown with --verbose and changes nothing else.
func keepPosition(c *client.Client, p profile) error {
	file := positionFile(p)
	epoch, index := c.Seen()
	if old := readPosition(file); file == "" || epoch == 0 || old.Epoch == epoch && old.Index >= index {
		return nil
	}
	b, err := json.Marshal(seenPosition{epoch, index})
	if err != nil {
		return fmt.Errorf("encode the position: %w", err)
	}
	return writeUnsynced(file, b)
}

// forgetPosition is the way on after a restore: the error was shown, and the next
// command anchors in the new epoch.
func forgetPosition(p profile) error {
	if err := os.Remove(positionFile(p)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("forget the old epoch: %w", err)
	}
	return nil
}
