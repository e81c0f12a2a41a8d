package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const asidePrefix = "aside-"

// SetAside starts the directory over as a new incarnation: Raft's files and the
// state file are moved to aside-<old incarnation>, where they stay as evidence; the
// identity, the audit records and the sealed keys are kept. Its stores must be
// closed. It returns the path of what was set aside.
//
// An intent is written first, so that a start after a crash anywhere in here
// finishes the move before anything reads the log.
func (d *Dir) SetAside() (string, error) {
	old := d.Incarnation()
	if err := d.intend(old); err != nil {
		return "", err
	}
	if err := d.finishAside(); err != nil {
		return "", err
	}
	for _, sub := range subdirectories {
		if err := os.MkdirAll(d.path(sub), DirMode); err != nil {
			return "", fmt.Errorf("create %s: %w", sub, err)
		}
	}
	if err := SyncDir(d.root); err != nil {
		return "", err
	}
	return d.path(asidePrefix + old), d.Rebuilt() // nothing is left that could be suspect
}

// Forsake writes no more than the intent, for a process whose stores are open and that
// must end now: its next start is a new incarnation with nothing in it.
//
// A node does this by itself once. While what it set aside before still lies there it
// refuses with ErrSetAside: starting over has not helped then, or somebody has not
// looked at the evidence yet.
func (d *Dir) Forsake() error {
	before, err := filepath.Glob(d.path(asidePrefix + "*"))
	if err != nil {
		return fmt.Errorf("look for what was set aside before: %w", err)
	}
	if len(before) > 0 {
		return fmt.Errorf("%w: %s: move it away when it has been looked at", ErrSetAside, before[0])
	}
	return d.intend(d.Incarnation())
}

// intend is the point of no return: the old incarnation never starts again.
func (d *Dir) intend(old string) error { return d.write("setting-aside", []byte(old+"\n")) }

// finishAside does what an intent of SetAside still asks for, or nothing.
//
// The new number is durable before the log moves: a process that holds no log must
// never answer to the old one's name, or a voter without its memory votes twice.
func (d *Dir) finishAside() error {
	raw, err := os.ReadFile(d.path("setting-aside"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read intent to set aside: %w", err)
	}
	old := strings.TrimSuffix(string(raw), "\n")
	if !isIncarnation(old) {
		return fmt.Errorf("read %s: %w: it must name an incarnation", d.path("setting-aside"), ErrDamaged)
	}
	if d.Incarnation() == old {
		if err := d.drawIncarnation(); err != nil {
			return err
		}
	}
	aside := d.path(asidePrefix + old)
	if err := os.MkdirAll(aside, DirMode); err != nil {
		return fmt.Errorf("create %s: %w", aside, err)
	}
	for _, sub := range []string{"raft", "state"} {
		if err := d.moveOnce(d.path(sub), filepath.Join(aside, sub)); err != nil {
			return err
		}
	}
	if err := d.crash("end intent"); err != nil {
		return err
	}
	if err := os.Remove(d.path("setting-aside")); err != nil {
		return fmt.Errorf("end intent to set aside: %w", err)
	}
	return SyncDir(d.root)
}

// moveOnce moves from to to unless an earlier attempt has.
func (d *Dir) moveOnce(from, to string) error {
	if _, err := os.Lstat(to); err == nil {
		return nil
	}
	if err := d.crash("move " + filepath.Base(from)); err != nil {
		return err
	}
	if err := Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set %s aside: %w", filepath.Base(from), err)
	}
	return nil
}

func (d *Dir) crash(step string) error {
	if d.opts.crash == nil {
		return nil
	}
	return d.opts.crash(step)
}
