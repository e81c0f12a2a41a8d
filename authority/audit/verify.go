package audit

import (
	"errors"
	"fmt"
	"os"
)

// Report is what Verify found in a chain that holds.
type Report struct {
	Node      string // of the last segment
	Segments  int
	Records   uint64
	FirstSeq  uint64 // above 1 when older segments have been moved away
	Head      Head   // keep it elsewhere to prove later that nothing was cut off
	TornBytes int64  // of an incomplete last write, which the next Open will drop
}

// Verify checks the whole chain in dir without changing anything: form, order and
// hash of each line, and the links between segments. Each anchor is a head seen
// earlier, on which the chain must still pass. It needs one line of memory and is
// meant for a stopped node; under a running one it sees some recent head.
func Verify(dir string, anchors ...Head) (Report, error) {
	list, err := listSegments(dir)
	if err != nil {
		return Report{}, err
	}
	if len(list) == 0 {
		return Report{}, fmt.Errorf("verify audit journal: no segments in %s: %w", dir, os.ErrNotExist)
	}
	due := map[uint64]string{}
	for _, a := range anchors {
		if other, ok := due[a.Seq]; ok && other != a.Hash {
			return Report{}, fmt.Errorf("%w: two anchors disagree about seq %d", ErrBroken, a.Seq)
		}
		if a.Seq > 0 { // the head of an empty journal says nothing
			due[a.Seq] = a.Hash
		}
	}
	var r Report
	w := &walk{dir: dir}
	err = w.segments(list, nil, func(e *Entry) error {
		r.Records++
		r.Head = Head{Seq: e.Seq, Hash: e.Hash}
		if hash, ok := due[e.Seq]; ok {
			if hash != e.Hash {
				return errors.New("is not the line that an anchor names: the journal was written anew")
			}
			delete(due, e.Seq)
		}
		return nil
	})
	if err != nil {
		return Report{}, err
	}
	for _, a := range anchors {
		if _, missing := due[a.Seq]; missing {
			return Report{}, fmt.Errorf("%w: seq %d, which an anchor names, is not there: lines were cut off or moved away", ErrBroken, a.Seq)
		}
	}
	r.Node, r.Segments, r.FirstSeq, r.TornBytes = w.header.node, len(list), w.first, w.tornBytes
	return r, nil
}
