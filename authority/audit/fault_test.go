package audit

import (
	"errors"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// tapDisk is the real disk with a counter on each sync and write, a gate that
// holds syncs back, and failures on demand.
type tapDisk struct {
	mu        sync.Mutex
	syncs     int // of segments in the chain, not of ones being made
	writes    int
	bytesLeft int   // written before writeErr strikes
	writeErr  error // nil: writes work
	syncErr   error
	createErr error
	renameErr error
	gate      chan struct{} // when set, each sync takes one token first
	atGate    chan struct{} // and says here that it has come
}

func (d *tapDisk) create(path string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.createErr != nil {
		return nil, d.createErr
	}
	f, err := osDisk{}.create(path)
	return &tapFile{d: d, file: f, making: true}, err
}

func (d *tapDisk) rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.renameErr != nil {
		return d.renameErr
	}
	return osDisk{}.rename(from, to)
}

func (d *tapDisk) set(change func(*tapDisk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

func (d *tapDisk) counts() (writes, syncs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes, d.syncs
}

type tapFile struct {
	d *tapDisk
	file
	making bool // until its first sync
}

func (f *tapFile) WriteAt(p []byte, offset int64) (int, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if !f.making {
		f.d.writes++
	}
	if f.d.writeErr != nil {
		n, err := f.file.WriteAt(p[:min(f.d.bytesLeft, len(p))], offset)
		return n, errors.Join(f.d.writeErr, err)
	}
	return f.file.WriteAt(p, offset)
}

func (f *tapFile) Datasync() error {
	if f.making {
		f.making = false
		return f.file.Datasync()
	}
	f.d.mu.Lock()
	f.d.syncs++
	gate, atGate, err := f.d.gate, f.d.atGate, f.d.syncErr
	f.d.mu.Unlock()
	if gate != nil {
		atGate <- struct{}{}
		<-gate
	}
	if err != nil {
		return err
	}
	return f.file.Datasync()
}

// TestDiskFailurePoisons: after any failure of the disk every call fails, nothing
// more is written or synced, and a restart goes on with a whole chain that holds
// every acknowledged record.
func TestDiskFailurePoisons(t *testing.T) {
	for name, fail := range map[string]func(*tapDisk){
		"sync EIO":          func(d *tapDisk) { d.syncErr = syscall.EIO },
		"write EIO":         func(d *tapDisk) { d.writeErr = syscall.EIO },
		"ENOSPC after part": func(d *tapDisk) { d.writeErr, d.bytesLeft = syscall.ENOSPC, 100 },
		"ENOSPC after line": func(d *tapDisk) { d.writeErr, d.bytesLeft = syscall.ENOSPC, 4000 },
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := &tapDisk{}, t.TempDir()
			j := open(t, dir, Options{disk: d, FlushDelay: time.Hour})
			appendN(t, j, 3)
			acked := j.Head()
			d.set(fail)
			if err := j.AppendAsync(Record{Kind: Outcome}); err != nil {
				t.Fatal(err)
			}
			if _, err := j.Append(t.Context(), decision("lost")); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("append on a bad disk: %v", err)
			}
			w0, s0 := d.counts()
			d.set(func(d *tapDisk) { d.syncErr, d.writeErr = nil, nil }) // the disk comes back, too late
			for range 3 {
				if _, err := j.Append(t.Context(), decision("k")); !errors.Is(err, ErrUnavailable) {
					t.Errorf("append after the failure: %v", err)
				}
			}
			if err := j.AppendAsync(Record{Kind: Outcome}); !errors.Is(err, ErrUnavailable) {
				t.Errorf("async after the failure: %v", err)
			}
			if w, s := d.counts(); w != w0 || s != s0 {
				t.Errorf("%d writes and %d syncs after the failure", w-w0, s-s0)
			}
			if j.Head() != acked || !errors.Is(j.Err(), ErrUnavailable) {
				t.Errorf("head %+v, err %v", j.Head(), j.Err())
			}
			if err := j.Close(); !errors.Is(err, ErrUnavailable) {
				t.Errorf("close: %v", err)
			}
			j = open(t, dir, Options{})
			appendN(t, j, 1)
			closeJournal(t, j)
			if _, err := Verify(dir, acked); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailedRotationPoisons(t *testing.T) {
	for name, fail := range map[string]func(*tapDisk){
		"create": func(d *tapDisk) { d.createErr = syscall.ENOSPC },
		"write":  func(d *tapDisk) { d.writeErr, d.bytesLeft = syscall.ENOSPC, 10 },
		"rename": func(d *tapDisk) { d.renameErr = syscall.EIO },
	} {
		t.Run(name, func(t *testing.T) {
			d, dir := &tapDisk{}, t.TempDir()
			j := open(t, dir, Options{disk: d, SegmentBytes: 1})
			appendN(t, j, 1)
			acked := j.Head()
			d.set(fail)
			if _, err := j.Append(t.Context(), decision("k")); !errors.Is(err, ErrUnavailable) {
				t.Fatalf("append: %v", err)
			}
			j.Close() // poisoned
			j = open(t, dir, Options{SegmentBytes: 1})
			appendN(t, j, 2)
			closeJournal(t, j)
			if r, err := Verify(dir, acked); err != nil || r.Segments != 3 {
				t.Errorf("%+v, %v", r, err)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*"+partialSuffix)); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
