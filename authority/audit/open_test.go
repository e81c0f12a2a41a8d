package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTornTail cuts the last line at every byte: a crash in the middle of a
// write. The lines before it stay, the loss is recorded, the chain goes on.
func TestTornTail(t *testing.T) {
	src := t.TempDir()
	_, list := written(t, src, 3, 0)
	whole, err := os.ReadFile(filepath.Join(src, list[0].name))
	if err != nil {
		t.Fatal(err)
	}
	lastLine := bytes.LastIndexByte(whole[:len(whole)-1], '\n') + 1
	dir := t.TempDir()
	for cut := lastLine + 1; cut < len(whole); cut += 7 {
		path := filepath.Join(dir, fmt.Sprint(cut))
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(path, list[0].name), whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Verify(path); err != nil || r.TornBytes != int64(cut-lastLine) || r.Records != 2 {
			t.Fatalf("cut at %d: %+v, %v", cut, r, err)
		}
		j := open(t, path, Options{})
		appendN(t, j, 1)
		closeJournal(t, j)
		var kinds []Kind
		for e, err := range Query(path, Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			kinds = append(kinds, e.Kind)
			if e.Kind == Recovered && !strings.Contains(e.Detail, fmt.Sprintf("dropped %d bytes", cut-lastLine)) {
				t.Errorf("recovery notes %q", e.Detail)
			}
		}
		if got, want := fmt.Sprint(kinds), fmt.Sprint([]Kind{Decision, Decision, Recovered, Decision}); got != want {
			t.Fatalf("cut at %d: records %s, want %s", cut, got, want)
		}
		if r, err := Verify(path); err != nil || r.TornBytes != 0 {
			t.Fatalf("cut at %d, afterwards: %+v, %v", cut, r, err)
		}
	}
}

// TestWholeUnacknowledgedLinesStay: a crash after the write and before the sync
// returned leaves whole lines, which are good records of actions never taken.
func TestWholeUnacknowledgedLinesStay(t *testing.T) {
	d, dir := &tapDisk{}, t.TempDir()
	j := open(t, dir, Options{disk: d})
	appendN(t, j, 1)
	d.set(func(d *tapDisk) { d.syncErr = syscall.EIO })
	if _, err := j.Append(t.Context(), decision("unacknowledged")); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	j.Close() // poisoned
	j = open(t, dir, Options{})
	if got := j.Head().Seq; got != 2 {
		t.Errorf("head %d after the restart", got)
	}
}

// TestBrokenTailChangesNothing: what is not a torn line is evidence. Open refuses
// and leaves every byte.
func TestBrokenTailChangesNothing(t *testing.T) {
	dir := t.TempDir()
	_, list := written(t, dir, 3, 0)
	path := filepath.Join(dir, list[0].name)
	for name, change := range map[string]func([]byte) []byte{
		"changed last line": func(b []byte) []byte { b[len(b)-10] ^= 1; return b },
		"changed middle":    func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"bad then torn":     func(b []byte) []byte { b[len(b)/2] ^= 1; return b[:len(b)-9] },
		"zeros with end":    func(b []byte) []byte { return append(b, "\x00\x00\n"...) },
	} {
		t.Run(name, func(t *testing.T) {
			good, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			rewrite(t, path, change)
			bad, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Open(dir, Options{Node: "n1", Logger: quiet()})
			if !errors.Is(err, ErrBroken) || !strings.Contains(err.Error(), "evidence") {
				t.Errorf("open: %v", err)
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, bad) {
				t.Error("open changed the evidence")
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestCrashWhileBeginningASegment puts the disk into each state that dying inside
// rotate leaves behind.
func TestCrashWhileBeginningASegment(t *testing.T) {
	for name, leave := range map[string]func(dir string, h header) error{
		"partial file empty": func(dir string, h header) error {
			return os.WriteFile(filepath.Join(dir, segmentName(h.firstSeq)+partialSuffix), nil, 0o600)
		},
		"partial file whole": func(dir string, h header) error {
			return os.WriteFile(filepath.Join(dir, segmentName(h.firstSeq)+partialSuffix), h.append(nil), 0o600)
		},
		"header, no record": func(dir string, h header) error {
			return os.WriteFile(filepath.Join(dir, segmentName(h.firstSeq)), h.append(nil), 0o600)
		},
		"header, torn record": func(dir string, h header) error {
			return os.WriteFile(filepath.Join(dir, segmentName(h.firstSeq)), append(h.append(nil), `{"seq":`...), 0o600)
		},
	} {
		for _, records := range []int{0, 3} {
			t.Run(fmt.Sprintf("%s after %d", name, records), func(t *testing.T) {
				dir := t.TempDir()
				h := header{node: "n1", segment: 1, firstSeq: 1, at: instant, prev: zeroHash}
				if records > 0 {
					head, list := written(t, dir, records, 0)
					h.segment, h.firstSeq = uint64(len(list))+1, head.Seq+1
					copy(h.prev[:], head.Hash)
				}
				if err := leave(dir, h); err != nil {
					t.Fatal(err)
				}
				j := open(t, dir, Options{Node: "n2"}) // the label changed as well
				appendN(t, j, 2)
				closeJournal(t, j)
				r, err := Verify(dir)
				if err != nil {
					t.Fatal(err)
				}
				want := uint64(records + 2)
				if strings.Contains(name, "torn") {
					want++ // the note of the recovery
				}
				if r.Records != want || r.Head.Seq != want || r.Node != "n2" {
					t.Errorf("%+v, want %d records", r, want)
				}
			})
		}
	}
}

// TestOpenFailsClosed: a disk on which the tail cannot be made durable again gives
// no journal, and the old segment stays.
func TestOpenFailsClosed(t *testing.T) {
	dir := t.TempDir()
	head, _ := written(t, dir, 3, 0)
	for name, d := range map[string]*tapDisk{
		"no space to create": {createErr: syscall.ENOSPC},
		"no space to write":  {writeErr: syscall.ENOSPC, bytesLeft: 20},
		"rename":             {renameErr: syscall.EIO},
	} {
		if j, err := Open(dir, Options{Node: "n1", Logger: quiet(), disk: d}); err == nil {
			j.Close() // the test has failed already
			t.Errorf("%s: opened", name)
		}
		if _, err := Verify(dir, head); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	open(t, dir, Options{})
}
