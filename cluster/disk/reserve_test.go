package disk

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// volume is a file system of 1 GiB by hand: others use so much of it.
type volume struct {
	t      *testing.T
	path   string
	others uint64
}

const volumeBytes = 1 << 30

func (v *volume) space() (free, total uint64, err error) {
	used := v.others
	if info, err := os.Stat(v.path); err == nil {
		used += uint64(info.Size())
	}
	return volumeBytes - min(used, volumeBytes), volumeBytes, nil
}

func (v *volume) fill(f *os.File, sizeBytes int64) error {
	if free, _, _ := v.space(); free < uint64(sizeBytes) {
		return syscall.ENOSPC
	}
	return f.Truncate(sizeBytes)
}

func (v *volume) open() *Reserve {
	v.t.Helper()
	r := &Reserve{path: v.path, space: v.space, fill: v.fill}
	if _, err := r.Tend(); err != nil {
		v.t.Fatal(err)
	}
	return r
}

// tend looks once more, when others use so much, and says what is to be seen then.
func (v *volume) tend(r *Reserve, others uint64, full, changed bool, held int64) {
	v.t.Helper()
	v.others = others
	got, err := r.Tend()
	if err != nil {
		v.t.Fatal(err)
	}
	info, err := os.Stat(v.path)
	if err != nil {
		v.t.Fatal(err)
	}
	if r.Full() != full || got != changed || info.Size() != held {
		v.t.Fatalf("with %d MiB used: full %v, changed %v, reserve %d bytes; want %v, %v, %d", others>>20, r.Full(), got, info.Size(), full, changed, held)
	}
}

// TestReserve: it is given up before the disk is full to the last byte, what it leaves is
// not for everybody, a restart does not forget that, and it comes back when there is room.
func TestReserve(t *testing.T) {
	const mib, size = 1 << 20, reserveBytes
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "reserve")}
	r := v.open()
	v.tend(r, 100*mib, false, false, size)
	v.tend(r, volumeBytes-size-17*mib, false, false, size)
	v.tend(r, volumeBytes-size-15*mib, true, true, 0)
	v.tend(r, volumeBytes-size-15*mib, true, false, 0) // 79 MiB are free now
	r = v.open()
	v.tend(r, volumeBytes-10*mib, true, false, 0)
	if err := r.relieve(); err != nil || r.Full() != true {
		t.Errorf("full %v, %v", r.Full(), err)
	}
	v.tend(r, volumeBytes-size-31*mib, true, false, 0)
	v.tend(r, volumeBytes-size-33*mib, false, true, size)
	r = v.open()
	v.tend(r, 100*mib, false, false, size)
}

// TestReserveBeforeTheStart: a directory on a full disk can be opened, and one with room
// keeps what it has.
func TestReserveBeforeTheStart(t *testing.T) {
	const mib = 1 << 20
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "reserve"), others: 100 * mib}
	for others, held := range map[uint64]int64{100 * mib: reserveBytes, volumeBytes - reserveBytes: 0} {
		v.others = 100 * mib
		v.open()
		v.others = others
		r := &Reserve{path: v.path, space: v.space, fill: v.fill}
		if err := r.relieve(); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(v.path); err != nil || info.Size() != held {
			t.Errorf("with %d MiB used by others %d bytes are held (%v), want %d", others/mib, info.Size(), err, held)
		}
	}
}

// TestReserveOnASmallRest: where there has never been room for a reserve the disk is full
// when it is, and not before.
func TestReserveOnASmallRest(t *testing.T) {
	const mib = 1 << 20
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "reserve"), others: volumeBytes - 50*mib}
	r := v.open()
	if r.Full() {
		t.Fatal("full with 50 MiB left")
	}
	if _, err := os.Stat(v.path); err == nil {
		t.Fatal("there is a reserve that nobody had room for")
	}
	v.tend(r, volumeBytes-10*mib, true, true, 0)
	v.tend(r, volumeBytes-50*mib, true, false, 0)
	v.tend(r, 0, false, true, reserveBytes)
}

// TestReserveThatCannotBeMade leaves nothing half made, and says why.
func TestReserveThatCannotBeMade(t *testing.T) {
	v := &volume{t: t, path: filepath.Join(t.TempDir(), "reserve")}
	r := &Reserve{path: v.path, space: v.space, fill: func(f *os.File, n int64) error {
		if err := f.Truncate(n / 2); err != nil {
			return err
		}
		return syscall.ENOSPC
	}}
	if _, err := r.Tend(); err == nil || !strings.Contains(err.Error(), "make the reserve") {
		t.Error(err)
	}
	if info, err := os.Stat(v.path); err != nil || info.Size() != 0 {
		t.Errorf("left behind: %v, %v", info, err)
	}
}
