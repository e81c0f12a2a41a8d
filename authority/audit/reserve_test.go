package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// killed makes a journal and copies its only segment while it is open, as a kill
// would leave it: first records, then one write of last records.
func killed(t *testing.T, first, last int) (segment []byte, acked Head) {
	t.Helper()
	dir := t.TempDir()
	j := open(t, dir, Options{})
	appendN(t, j, first)
	acked = j.Head()
	batch := make([]Record, last)
	for i := range batch {
		batch[i] = decision("last")
	}
	if last > 0 {
		if _, err := j.AppendBatch(context.Background(), batch); err != nil {
			t.Fatal(err)
		}
	}
	segment, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil {
		t.Fatal(err)
	}
	return segment, acked
}

func asJournal(t *testing.T, segment []byte) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, segmentName(1)), segment, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func length(segment []byte) int { return len(bytes.TrimRight(segment, "\x00")) }

// TestReservedSpaceIsNoLine: a killed node leaves zeros behind its lines; they are
// neither a loss nor damage, and a stop in order leaves none.
func TestReservedSpaceIsNoLine(t *testing.T) {
	segment, acked := killed(t, 3, 0)
	if len(segment) != reserveBytes {
		t.Fatalf("a segment of %d bytes, with %d of lines", len(segment), length(segment))
	}
	dir := asJournal(t, segment)
	if r, err := Verify(dir, acked); err != nil || r.TornBytes != 0 || r.Head != acked {
		t.Fatalf("%+v, %v", r, err)
	}
	j := open(t, dir, Options{})
	if j.Head() != acked {
		t.Errorf("head %+v, was %+v", j.Head(), acked)
	}
	appendN(t, j, 1)
	closeJournal(t, j)
	after, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
	if err != nil || bytes.IndexByte(after, 0) >= 0 || !bytes.HasPrefix(after, segment[:length(segment)]) {
		t.Errorf("%d bytes after the stop, %v", len(after), err)
	}
}

// TestSpaceIsReservedInSteps fills more than one step in a segment of two and a half.
func TestSpaceIsReservedInSteps(t *testing.T) {
	const limit = reserveBytes * 5 / 2
	dir := t.TempDir()
	j := open(t, dir, Options{SegmentBytes: limit})
	batch := make([]Record, 512)
	for i := range batch {
		batch[i] = decision("k")
		batch[i].Detail = strings.Repeat("x", 1000)
	}
	for written := int64(0); written < limit; {
		if _, err := j.AppendBatch(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, segmentName(1)))
		if err != nil {
			t.Fatal(err)
		}
		written = int64(length(b))
		if free := int64(len(b)) - written; free > reserveBytes || free == 0 && written < limit {
			t.Fatalf("%d bytes reserved after %d", free, written)
		}
	}
	appendN(t, j, 1)
	head := j.Head()
	closeJournal(t, j)
	if r, err := Verify(dir, head); err != nil || r.Segments != 2 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestLostSectors: of a write that was never acknowledged a stopped machine keeps any
// of the sectors. Every acknowledged line stays, and the loss is recorded.
func TestLostSectors(t *testing.T) {
	segment, acked := killed(t, 3, 12)
	before := bytes.Index(segment, []byte(`{"seq":4,`))
	first := before / sectorBytes
	sectors := (length(segment)+sectorBytes-1)/sectorBytes - first
	if sectors < 4 {
		t.Fatalf("the last write has %d sectors", sectors)
	}
	for lost := 1; lost < 1<<sectors; lost += 5 {
		bad := bytes.Clone(segment)
		for i := range sectors {
			if lost>>i&1 == 1 {
				clear(bad[max(before, (first+i)*sectorBytes) : (first+i+1)*sectorBytes])
			}
		}
		dir := asJournal(t, bad)
		r, err := Verify(dir, acked)
		if err != nil || r.Records >= 15 || r.TornBytes == 0 && length(bad) > before && lost>>(sectors-1)&1 == 0 {
			t.Fatalf("sectors %b lost: %+v, %v", lost, r, err)
		}
		j := open(t, dir, Options{})
		appendN(t, j, 1)
		closeJournal(t, j)
		want := r.Records + 1
		if r.TornBytes > 0 {
			want++ // the note
		}
		if r, err := Verify(dir, acked); err != nil || r.Records != want || r.TornBytes != 0 {
			t.Fatalf("sectors %b lost, afterwards: %+v, %v; want %d records", lost, r, err, want)
		}
	}
}

// TestHolesThatNoCrashLeaves are damage: Open refuses them.
func TestHolesThatNoCrashLeaves(t *testing.T) {
	segment, _ := killed(t, 3, 1000)
	end := length(segment)
	if end < maxCommitBytes+4*sectorBytes {
		t.Fatalf("%d bytes are too few for this test", end)
	}
	early := (end - maxCommitBytes) / sectorBytes * sectorBytes / 2 / sectorBytes * sectorBytes
	late := (end/sectorBytes - 4) * sectorBytes
	for name, change := range map[string]func(b []byte){
		"far from the end":         func(b []byte) { clear(b[early : early+sectorBytes]) },
		"off the sector's start":   func(b []byte) { clear(b[late+1 : late+sectorBytes]) },
		"not to the sector's end":  func(b []byte) { clear(b[late : late+sectorBytes-1]) },
		"one byte":                 func(b []byte) { b[late+7] = 0 },
		"bytes far behind the end": func(b []byte) { b[end+maxCommitBytes+9] = 'x' },
		"a byte behind the end":    func(b []byte) { b[(end/sectorBytes+1)*sectorBytes-1] = 'x' },
	} {
		t.Run(name, func(t *testing.T) {
			bad := bytes.Clone(segment)
			change(bad)
			dir := asJournal(t, bad)
			if r, err := Verify(dir); !errors.Is(err, ErrBroken) {
				t.Errorf("verify: %+v, %v", r, err)
			}
			if _, err := Open(dir, Options{Node: "n1", Logger: quiet()}); !errors.Is(err, ErrBroken) {
				t.Errorf("open: %v", err)
			}
		})
	}
}
