package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
)

const (
	reserveStep  = 2 << 20   // written at once, a few milliseconds of a disk and one or two thousand entries
	reserveAhead = 512 << 10 // no less than this follows what bbolt uses, unless one transaction takes more
	lookEvery    = 64 << 10  // bytes of entries between two looks, well below reserveAhead
)

// reservation keeps written zeros behind the pages that bbolt uses. bbolt lets its file
// grow as a hole; a sync of pages in a hole is a commit of the file system's journal
// too, and takes what other files wait for along with it, the state file's pages above
// all. Over zeros it is one write to the disk. Nothing depends on the zeros: bbolt does
// not look behind its last page, and without them it grows the file by itself.
//
// The lock of boltStore is held around everything here, so that bbolt never writes
// where zeros are being written.
type reservation struct {
	file    *os.File
	writeAt func(b []byte, at int64) (int, error) // of file; tests replace it
	filled  int64                                 // up to here zeros were written, or what bbolt made of them
	stored  int                                   // bytes of entries since the last look
}

func openReservation(path string) (*reservation, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("open the space of the raft log: %w", err)
	}
	r := &reservation{file: f, writeAt: f.WriteAt}
	if err := r.extend(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return r, nil
}

// spend notes what is about to be stored and looks now and then whether there is room
// for it.
func (r *reservation) spend(bytes int) error {
	if r.stored += bytes; r.stored < lookEvery {
		return nil
	}
	return r.extend()
}

var zeros [256 << 10]byte

// extend sees to the zeros. They are synced with the next transaction. A full disk is
// no error here: what bbolt has room for it may still store.
func (r *reservation) extend() error {
	r.stored = 0
	used, err := r.used()
	if err != nil {
		return fmt.Errorf("look at the space of the raft log: %w", err)
	}
	if used == 0 || used+reserveAhead <= r.filled {
		return nil
	}
	r.filled = max(r.filled, used)
	for end := used + reserveStep; r.filled < end; r.filled += int64(len(zeros)) {
		if _, err := r.writeAt(zeros[:], r.filled); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return fmt.Errorf("reserve space for the raft log: %w", err)
		}
	}
	return nil
}

// What bbolt writes into its first two pages since its format 2: after 16 bytes of page
// header magic, version and page size, and at 56 the number of pages that have ever
// been used.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2
	metaBytes   = 64
)

// used is how many bytes from the beginning bbolt has ever used, 0 when the file is not
// of the format known here. Nobody writes meanwhile, and the number never falls, so the
// larger of both pages is the newer one's.
func (r *reservation) used() (int64, error) {
	var used int64
	page := int64(os.Getpagesize())
	for _, at := range []int64{0, page} {
		var meta [metaBytes]byte
		if _, err := r.file.ReadAt(meta[:], at); err != nil {
			return 0, err
		}
		if order := binary.NativeEndian; order.Uint32(meta[16:]) == boltMagic && order.Uint32(meta[20:]) == boltVersion && int64(order.Uint32(meta[24:])) == page {
			used = max(used, int64(order.Uint64(meta[56:]))*page)
		}
	}
	return used, nil
}
