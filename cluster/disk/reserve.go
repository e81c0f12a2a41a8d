package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Bounds of a reserve, with their reasons.
const (
	reserveBytes = 64 << 20 // some ten thousand revocations, with log, state and audit records
	reserveShare = 16       // but no more than this part of a small file system
	lowShare     = 4        // the disk counts as full when less than this part of a reserve is left
)

// Reserve is space in a data directory that is held back for the day on which the file
// system is full: a node that can still write can still withdraw what must be withdrawn.
// It is given up before the first write fails, and from then on the disk counts as full,
// also after a restart, until there is room for all of the reserve again: what was given
// up is for withdrawals, and the owner of a Reserve refuses the rest meanwhile.
//
// The file `reserve` is the memory of that: of full length it is held, empty it was given
// up, and absent there has never been one.
//
// A Reserve belongs to one goroutine.
type Reserve struct {
	path  string
	space func() (free, total uint64, err error)
	fill  func(f *os.File, sizeBytes int64) error
	full  bool
}

// OpenReserve is the reserve of the directory. Nothing is looked at before Tend.
func (d *Dir) OpenReserve() *Reserve {
	return &Reserve{path: d.path("reserve"), fill: allocate, space: func() (uint64, uint64, error) { return spaceOf(d.root) }}
}

// relieve gives a held reserve up when the disk is full, so that a directory can be
// opened at all. It makes none.
func (r *Reserve) relieve() error {
	free, total, err := r.space()
	if err != nil {
		return fmt.Errorf("ask for free space: %w", err)
	}
	info, err := os.Stat(r.path)
	if size := reserveOf(total); err != nil || info.Size() == 0 || free >= size/lowShare {
		return nil // Tend says what is wrong with a reserve that cannot be looked at
	}
	return r.release(uint64(info.Size()))
}

func reserveOf(total uint64) uint64 { return min(reserveBytes, total/reserveShare) }

// Full says whether the disk counted as full when it was last looked at.
func (r *Reserve) Full() bool { return r.full }

// Tend gives the reserve up when the disk is full, and makes it when there is room. It
// says whether Full has changed.
func (r *Reserve) Tend() (changed bool, err error) {
	free, total, err := r.space()
	if err != nil {
		return false, fmt.Errorf("ask for free space: %w", err)
	}
	size := reserveOf(total)
	low := size / lowShare
	var held uint64
	info, err := os.Stat(r.path)
	switch {
	case err == nil:
		held = uint64(info.Size())
	case !errors.Is(err, fs.ErrNotExist):
		return false, fmt.Errorf("look at the reserve: %w", err)
	}
	was, known := r.full, err == nil
	switch {
	case free < low:
		r.full = true
		err = r.release(held)
	case held >= size:
		r.full = false
	case free >= size+2*low:
		if err = r.refill(int64(size)); err == nil {
			r.full = false
		}
	default:
		// Too little for a reserve and more than nothing. Without one it is not full before
		// it is; with one that was given up the rest is not for everybody.
		r.full = known && held == 0
		err = nil
	}
	return was != r.full, err
}

// release gives the space back. To cut a file takes no space on any file system, which
// removing it and making it anew would. Where there is none it makes one: full, it is to
// be remembered.
func (r *Reserve) release(held uint64) error {
	if held == 0 {
		if _, err := os.Stat(r.path); err == nil {
			return nil
		}
	}
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, FileMode)
	if err != nil {
		return fmt.Errorf("give the reserve up: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("give the reserve up: %w", err)
	}
	return nil
}

// refill makes the reserve, whole or not at all.
func (r *Reserve) refill(sizeBytes int64) error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_WRONLY, FileMode)
	if err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	if err := r.fill(f, sizeBytes); err != nil {
		return errors.Join(fmt.Errorf("make the reserve: %w", err), f.Truncate(0), f.Close())
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("make the reserve: %w", err)
	}
	return nil
}

// writeZeros is how space is allocated where the file system offers no other way.
func writeZeros(f *os.File, sizeBytes int64) error {
	zeros := make([]byte, 1<<20)
	for at := int64(0); at < sizeBytes; at += int64(len(zeros)) {
		if _, err := f.WriteAt(zeros[:min(int64(len(zeros)), sizeBytes-at)], at); err != nil {
			return err
		}
	}
	return nil
}
