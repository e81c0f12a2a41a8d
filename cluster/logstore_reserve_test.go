package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// TestReservedSpace: what bbolt comes to use was written before, so no transaction
// finds a hole; and the zeros are nothing to whoever opens the file again.
func TestReservedSpace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, _ := openStore(t, path)
	var last uint64
	for range 3 { // over and over again, also in a file that exists
		for range 150 {
			logs := entries(last+1, last+32)
			last += 32
			for _, l := range logs {
				l.Data = append(l.Data, make([]byte, 500)...)
			}
			if err := s.StoreLogs(logs); err != nil {
				t.Fatal(err)
			}
			used, err := s.bolt.reserve.used()
			if err != nil {
				t.Fatal(err)
			}
			if hole := firstHole(t, path); used == 0 || hole < used+reserveAhead/4 {
				t.Fatalf("after %d entries %d bytes are used and the first hole is at %d", last, used, hole)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, _ = openStore(t, path)
		if n, err := s.Scan(0); n != last || err != nil {
			t.Fatalf("Scan = %d, %v; want %d", n, err, last)
		}
	}
	used, err := s.bolt.reserve.used()
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || used < 4<<20 || info.Size() > used+reserveStep+reserveAhead+16<<20 {
		t.Fatalf("the file has %d bytes for %d that are used (%v)", info.Size(), used, err)
	}
}

// TestReservedSpaceIsReused: entries that were deleted make room; the file does not grow.
func TestReservedSpaceIsReused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	s, _ := openStore(t, path)
	var sizes []int64
	for i := uint64(0); i < 200; i++ {
		logs := entries(i*32+1, i*32+32)
		for _, l := range logs {
			l.Data = append(l.Data, make([]byte, 500)...)
		}
		if err := s.StoreLogs(logs); err != nil {
			t.Fatal(err)
		}
		if err := s.DeleteRange(i*32+1, i*32+32); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, info.Size())
	}
	if sizes[199] != sizes[10] {
		t.Errorf("the file grew from %d to %d bytes, with no more in it", sizes[10], sizes[199])
	}
}

// TestUnknownFormat: of a file that this code cannot read, nothing is reserved.
func TestUnknownFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.db")
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := openReservation(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.file.Close()
	if err := r.spend(lookEvery); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 64<<10 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestReserveOnAFullDisk: a store that finds no room for zeros still stores what bbolt
// has room for; any other error of the disk is one of the log's.
func TestReserveOnAFullDisk(t *testing.T) {
	s, stop := openStore(t, filepath.Join(t.TempDir(), "log.db"))
	asked, answer := 0, error(syscall.ENOSPC)
	s.bolt.reserve.writeAt = func([]byte, int64) (int, error) { asked++; return 0, answer }
	big := func(i uint64) []*raft.Log {
		logs := entries(i, i)
		logs[0].Data = make([]byte, reserveStep)
		return logs
	}
	for i := uint64(1); i <= 3; i++ {
		if err := s.StoreLogs(big(i)); err != nil {
			t.Fatal(err)
		}
	}
	if asked == 0 || len(stop.reasons) != 0 {
		t.Fatalf("asked %d times for room, stopped: %v", asked, stop.reasons)
	}
	answer = syscall.EIO
	if err := s.StoreLogs(big(4)); err == nil || len(stop.reasons) != 1 || !errors.Is(stop.reasons[0], syscall.EIO) {
		t.Errorf("%v, stopped: %v", err, stop.reasons)
	}
}

func firstHole(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	hole, err := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	if err != nil {
		t.Fatal(err)
	}
	return hole
}
