package audit

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// formatVersion is written into each header. A reader refuses versions it does
// not know.
const formatVersion = 1

const (
	segmentPrefix = "audit-"
	segmentSuffix = ".jsonl"
	partialSuffix = ".partial" // a segment being made; never part of the chain
)

// header is a segment's first line. It is a link of the chain like any other:
// prev is the hash of the last line of the segment before, and the first record
// follows on the header's own hash.
type header struct {
	node     string
	segment  uint64 // 1, 2, 3 ... without gaps
	firstSeq uint64 // seq of the first record that is, or will be, in this segment
	at       time.Time
	prev     hexHash
	hash     hexHash
}

// append encodes the header as a line and sets its hash.
func (h *header) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, `{"chancery_audit":`...)
	dst = strconv.AppendUint(dst, formatVersion, 10)
	dst = appendMember(dst, `,"node":`, h.node)
	dst = appendNumber(dst, `,"segment":`, h.segment)
	dst = appendNumber(dst, `,"first_seq":`, h.firstSeq)
	dst = append(dst, `,"at":"`...)
	dst = appendInstant(dst, h.at)
	dst = append(dst, `","prev":"`...)
	dst = append(dst, h.prev[:]...)
	dst = append(dst, '"')
	dst, h.hash = appendHash(dst, start)
	return dst
}

func parseHeader(line []byte) (header, error) {
	var h header
	c := cursor{rest: line}
	c.literal(`{"chancery_audit":`)
	if v := c.number(); !c.failed && v != formatVersion {
		return h, fmt.Errorf("has audit format %d, this program reads format %d: use the program that wrote it", v, formatVersion)
	}
	h.node = c.member(`,"node":`)
	h.segment = c.optionalNumber(`,"segment":`)
	h.firstSeq = c.optionalNumber(`,"first_seq":`)
	c.literal(`,"at":`)
	h.at = c.instant()
	c.literal(`,"prev":`)
	prev := c.text()
	c.literal(`,"hash":`)
	c.text()
	c.literal(`}`)
	if c.failed || len(c.rest) > 0 || h.segment == 0 || h.firstSeq == 0 || len(prev) != len(h.prev) ||
		h.node == "" || len(h.node) > maxNodeBytes || !validInstant(h.at) {
		return h, errLineForm
	}
	copy(h.prev[:], prev)
	want := h.append(nil)
	return h, sameLine(line, want[:len(want)-1])
}

// segment is a file of the chain, known by its name.
type segment struct {
	name     string
	firstSeq uint64
}

func segmentName(firstSeq uint64) string {
	return fmt.Sprintf("%s%020d%s", segmentPrefix, firstSeq, segmentSuffix)
}

// listSegments returns the segments of a directory in chain order. Files of other
// names are not ours and are left alone.
func listSegments(dir string) ([]segment, error) {
	files, err := os.ReadDir(dir) // sorted by name, and the numbers have equal length
	if err != nil {
		return nil, fmt.Errorf("list audit segments: %w", err)
	}
	var out []segment
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), segmentPrefix)
		if !ok || f.IsDir() {
			continue
		}
		if number, ok = strings.CutSuffix(number, segmentSuffix); !ok {
			continue
		}
		first, err := strconv.ParseUint(number, 10, 64)
		if err != nil || segmentName(first) != f.Name() {
			return nil, &BrokenError{File: f.Name(), Err: errors.New("has a name that no segment can have")}
		}
		out = append(out, segment{f.Name(), first})
	}
	return out, nil
}

// removePartials deletes what a crash in the middle of making a segment left:
// such a file was never renamed into the chain, so no record in it was ever
// acknowledged from there.
func removePartials(dir string) error {
	left, err := filepath.Glob(filepath.Join(dir, segmentPrefix+"*"+partialSuffix))
	if err != nil {
		return fmt.Errorf("list partial audit segments: %w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("remove partial audit segment: %w", err)
		}
	}
	return nil
}

// BrokenError says where the chain stops holding. errors.Is(err, ErrBroken).
type BrokenError struct {
	File string // base name of the segment
	Line int    // 1 is the header, 0 the file as a whole
	Seq  uint64 // last good sequence number before it
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("%v: %s line %d (after seq %d) %v", ErrBroken, e.File, e.Line, e.Seq, e.Err)
}

// Is makes every BrokenError an ErrBroken.
func (e *BrokenError) Is(target error) bool { return target == ErrBroken }

// Unwrap gives the reason.
func (e *BrokenError) Unwrap() error { return e.Err }
