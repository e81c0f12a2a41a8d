package audit

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Filter selects records; a zero member selects all.
type Filter struct {
	Key       string
	Version   uint64
	KID       string
	Principal string
	Node      string
	Since     time.Time // at or after
	Until     time.Time // before
	AfterSeq  uint64    // only later records: the cursor of a page
	Limit     int       // at most so many records
}

// Query yields the matching records of the journal in dir in order, checking the
// chain on the way. It ends with an error where the chain breaks; an incomplete
// last line is passed over. It reads one line at a time, from the segment that
// AfterSeq names. For a stopped node; a running one has Journal.Query.
func Query(dir string, f Filter) iter.Seq2[Entry, error] {
	return query(dir, f, math.MaxUint64)
}

// Query is like the function Query over the records that were appended before the
// iteration begins, those too that AppendAsync has left for the next sync: whoever was
// refused finds it here at once. It never blocks the committer.
func (j *Journal) Query(f Filter) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		j.settle()
		// Everything up to this head was written before: a line behind it, perhaps
		// half written, is never looked at.
		query(j.dir, f, j.Head().Seq)(yield)
	}
}

func query(dir string, f Filter, upTo uint64) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if f.AfterSeq >= upTo || upTo == 0 {
			return
		}
		list, err := listSegments(dir)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		if list, err = sinceSegments(dir, from(list, f.AfterSeq+1), f.Since); err != nil {
			yield(Entry{}, err)
			return
		}
		found := 0
		w := &walk{dir: dir}
		err = w.segments(list, nil, func(e *Entry) error {
			if f.matches(e) {
				if found++; !yield(*e, nil) || found == f.Limit {
					return errStopWalk
				}
			}
			if e.Seq >= upTo {
				return errStopWalk
			}
			return nil
		})
		if err != nil {
			yield(Entry{}, err)
		}
	}
}

// from drops the segments that end before seq.
func from(list []segment, seq uint64) []segment {
	later := sort.Search(len(list), func(i int) bool { return list[i].firstSeq > seq })
	return list[max(later-1, 0):]
}

// clockSlack is by how much a node's wall clock may have been set back within a
// segment without a query by time passing over records.
const clockSlack = time.Hour

// sinceSegments drops the segments that ended long enough before an instant: a segment begins
// after every record of those before it was made.
func sinceSegments(dir string, list []segment, at time.Time) ([]segment, error) {
	if at.IsZero() {
		return list, nil
	}
	for len(list) > 1 {
		h, err := firstLine(dir, list[1])
		if err != nil {
			return nil, err
		}
		if !h.at.Before(at.Add(-clockSlack)) {
			break
		}
		list = list[1:]
	}
	return list, nil
}

// firstLine reads a segment's header.
func firstLine(dir string, s segment) (header, error) {
	f, err := os.Open(filepath.Join(dir, s.name))
	if err != nil {
		return header{}, fmt.Errorf("open audit segment: %w", err)
	}
	defer f.Close() // read only
	line, err := bufio.NewReader(io.LimitReader(f, maxLineBytes)).ReadBytes('\n')
	if err != nil {
		return header{}, &BrokenError{File: s.name, Line: 1, Err: errors.New("is not there: the segment has no header")}
	}
	h, err := parseHeader(line[:len(line)-1])
	if err != nil {
		return h, &BrokenError{File: s.name, Line: 1, Err: err}
	}
	return h, nil
}

func (f *Filter) matches(e *Entry) bool {
	return e.Seq > f.AfterSeq &&
		(f.Key == "" || f.Key == e.Key) &&
		(f.Version == 0 || f.Version == e.Version) &&
		(f.KID == "" || f.KID == e.KID) &&
		(f.Principal == "" || f.Principal == e.Principal) &&
		(f.Node == "" || f.Node == e.Node) &&
		(f.Since.IsZero() || !e.At.Before(f.Since)) &&
		(f.Until.IsZero() || e.At.Before(f.Until))
}
