package disk

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const incarnationBytes = 8

func isIncarnation(text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && len(b) == incarnationBytes && hex.EncodeToString(b) == text
}

// Incarnation names this data directory's memory: 16 hexadecimal digits, drawn
// when the directory is made and again by SetAside. It is half of the Raft server
// id, so that a voter that lost its log and its vote can never pass for the old one.
func (d *Dir) Incarnation() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.incarnation
}

func (d *Dir) loadIncarnation() error {
	raw, err := os.ReadFile(d.path("incarnation"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		// Right after the layout file, this is the first Open being completed. With a
		// Raft log present it is a loss, and a fresh number would hide whose log it is.
		if _, err := os.Stat(d.RaftLog()); err == nil {
			return fmt.Errorf("open %s: %w: it has a raft log but no incarnation file; restore the file or rejoin in an empty directory", d.root, ErrDamaged)
		}
		return d.drawIncarnation()
	case err != nil:
		return fmt.Errorf("read incarnation: %w", err)
	}
	text := strings.TrimSuffix(string(raw), "\n")
	if !isIncarnation(text) {
		return fmt.Errorf("read %s: %w: restore the file or rejoin in an empty directory", d.path("incarnation"), ErrDamaged)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.incarnation = text
	return nil
}

func (d *Dir) drawIncarnation() error {
	var b [incarnationBytes]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24: it aborts the process
	text := hex.EncodeToString(b[:])
	if err := d.write("incarnation", []byte(text+"\n")); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.incarnation = text
	return nil
}
