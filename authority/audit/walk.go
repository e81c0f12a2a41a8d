package audit

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
)

// walk reads segments line by line and checks each link. It holds one line in
// memory.
type walk struct {
	dir  string
	done int // segments finished or begun

	header header // of the segment being read
	head   hexHash
	seq    uint64 // of the last good record
	first  uint64 // seq of the first record this walk may yield

	goodBytes int64 // whole good lines in the segment being read
	tornBytes int64 // of an incomplete last write after them
	scratch   []byte
}

// errStopWalk ends a walk early without an error.
var errStopWalk = errors.New("stop")

// segments walks the given segments in order. keep receives each good line with
// its newline, header lines included, and may be nil; visit each record.
func (w *walk) segments(list []segment, keep func([]byte) error, visit func(*Entry) error) error {
	for i, s := range list {
		err := w.segment(s, i == len(list)-1, keep, visit)
		if errors.Is(err, errStopWalk) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) segment(s segment, last bool, keep func([]byte) error, visit func(*Entry) error) error {
	f, err := os.Open(filepath.Join(w.dir, s.name))
	if err != nil {
		return fmt.Errorf("open audit segment: %w", err)
	}
	defer f.Close() // read only
	r := bufio.NewReaderSize(f, maxLineBytes)
	w.goodBytes, w.tornBytes = 0, 0
	for line := 1; ; line++ {
		broken := func(why error) error { return &BrokenError{File: s.name, Line: line, Seq: w.seq, Err: why} }
		raw, err := r.ReadSlice('\n')
		switch {
		case last && line > 1 && bytes.IndexByte(raw, 0) >= 0:
			// No line holds a zero: this is the reserved space, or a write that a crash
			// left incomplete in it.
			if w.tornBytes, err = torn(f, w.goodBytes); err != nil {
				return broken(err)
			}
			w.done++
			return nil
		case errors.Is(err, io.EOF) && line == 1:
			return broken(errors.New("is not there: the segment has no header"))
		case errors.Is(err, io.EOF) && len(raw) == 0:
			w.done++
			return nil
		case errors.Is(err, io.EOF) && last:
			w.tornBytes = int64(len(raw))
			w.done++
			return nil
		case errors.Is(err, io.EOF):
			return broken(errors.New("is incomplete, and another segment follows"))
		case errors.Is(err, bufio.ErrBufferFull):
			return broken(fmt.Errorf("is longer than %d bytes", maxLineBytes))
		case err != nil:
			return fmt.Errorf("read audit segment %s: %w", s.name, err)
		}
		if err := w.line(s, line, raw[:len(raw)-1], visit); err != nil {
			if errors.Is(err, errStopWalk) {
				return err
			}
			return broken(err)
		}
		w.goodBytes += int64(len(raw))
		if keep != nil {
			if err := keep(raw); err != nil {
				return err
			}
		}
	}
}

var errHole = errors.New("is followed by neither lines nor reserved space: it was altered")

// torn judges the end of the last segment, from the end of its last good line on, and
// returns the size of the incomplete write there: 0 when all is reserved space.
//
// Such a write is the last one of the file and no longer than maxCommitBytes. Of its
// sectors each is on the disk as it was written, or still zero; so the zeros begin
// where a sector does, or where the write did, and go on to the end of a sector. Bits
// that flipped in acknowledged lines do not look like this. Someone who can write to
// the disk can make it look so, and cut lines off with that, as by shortening the file.
func torn(f io.ReaderAt, from int64) (int64, error) {
	rest := io.NewSectionReader(f, from, math.MaxInt64-from)
	head := make([]byte, maxCommitBytes)
	n, err := io.ReadFull(rest, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, err
	}
	write := bytes.TrimRight(head[:n], "\x00")
	if err := onlyZeros(rest); err != nil {
		return 0, err
	}
	start := bytes.IndexByte(write, 0)
	if start < 0 {
		return int64(len(write)), nil // a beginning, or nothing
	}
	if begin := from + int64(start); start > 0 && begin%sectorBytes != 0 {
		return 0, errHole
	}
	end := (from+int64(start))/sectorBytes*sectorBytes + sectorBytes - from
	if int64(len(write)) < end || len(bytes.TrimRight(write[start:end], "\x00")) > 0 {
		return 0, errHole
	}
	return int64(len(write)), nil
}

func onlyZeros(r io.Reader) error {
	for b := make([]byte, len(zeros)); ; {
		n, err := r.Read(b)
		switch {
		case !bytes.Equal(b[:n], zeros[:n]):
			return errHole
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// line checks one line and moves the head over it.
func (w *walk) line(s segment, number int, raw []byte, visit func(*Entry) error) error {
	if number == 1 {
		return w.readHeader(s, raw)
	}
	var e Entry
	var err error
	if e, w.scratch, err = parseLine(raw, w.scratch); err != nil {
		return err
	}
	switch {
	case e.Prev != string(w.head[:]):
		return errors.New("does not follow the line before it")
	case e.Seq != w.seq+1:
		return fmt.Errorf("has seq %d where %d was due", e.Seq, w.seq+1)
	case e.Node != w.header.node:
		return fmt.Errorf("is of node %q in a segment of node %q", e.Node, w.header.node)
	}
	w.seq = e.Seq
	copy(w.head[:], e.Hash)
	if visit == nil {
		return nil
	}
	return visit(&e)
}

func (w *walk) readHeader(s segment, raw []byte) error {
	h, err := parseHeader(raw)
	switch {
	case err != nil:
		return err
	case h.firstSeq != s.firstSeq:
		return fmt.Errorf("begins at seq %d, its file name says %d", h.firstSeq, s.firstSeq)
	}
	if w.done == 0 {
		// The walk's starting point is taken as it is, unless it is the beginning.
		if h.firstSeq == 1 && (h.prev != zeroHash || h.segment != 1) {
			return errors.New("is not the beginning that seq 1 must be")
		}
		w.first, w.seq = h.firstSeq, h.firstSeq-1
	} else if h.prev != w.head || h.firstSeq != w.seq+1 || h.segment != w.header.segment+1 {
		return errLinkBefore
	}
	w.header, w.head = h, h.hash
	return nil
}

// lastLineHash returns the hash that the last line of a segment claims, without
// reading the rest.
func lastLineHash(dir string, s segment) (hexHash, error) {
	var h hexHash
	f, err := os.Open(filepath.Join(dir, s.name))
	if err != nil {
		return h, fmt.Errorf("open audit segment: %w", err)
	}
	defer f.Close() // read only
	info, err := f.Stat()
	if err != nil {
		return h, fmt.Errorf("stat audit segment: %w", err)
	}
	tail := make([]byte, min(info.Size(), int64(len(h)+len("\"}\n"))))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil {
		return h, fmt.Errorf("read audit segment %s: %w", s.name, err)
	}
	hash, ok := bytes.CutSuffix(tail, []byte("\"}\n"))
	if !ok || len(hash) != len(h) {
		return h, &BrokenError{File: s.name, Err: errors.New("does not end in a whole line, and another segment follows")}
	}
	copy(h[:], hash)
	return h, nil
}
