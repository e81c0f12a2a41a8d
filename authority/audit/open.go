package audit

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
	"unicode/utf8"
)

// Open opens the journal in dir, making it when it does not exist, and starts its
// committer: a journal that cannot commit is of no use. It checks the last
// segment line by line and that it follows the one before it; Verify checks all.
//
// An incomplete last write was never acknowledged. It is dropped and a Recovered
// record says so. Anything else that does not hold is ErrBroken and nothing is
// changed.
func Open(dir string, o Options) (*Journal, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make audit directory: %w", err)
	}
	held, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	t, torn, err := openTail(dir, o)
	if err != nil {
		held.Close() // nothing was written to it
		return nil, err
	}
	j := &Journal{
		dir: dir, node: o.Node, clock: o.Clock, log: o.Logger, delay: o.FlushDelay,
		wake:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		ended:    make(chan struct{}),
		flush:    time.NewTimer(time.Hour),
		headSeq:  t.seq,
		headHash: t.hash,
		opened:   Head{Seq: t.seq, Hash: string(t.hash[:])},
		uses:     map[string]*Use{},
		tail:     t,
		lock:     held,
	}
	j.flush.Stop()
	j.pool.New = func() any {
		return &waiter{buf: make([]byte, 0, 1024), ends: make([]int, 0, 1), done: make(chan struct{}, 1)}
	}
	go j.run()
	if torn > 0 {
		if err := j.noteRecovery(torn); err != nil {
			return nil, err
		}
	}
	return j, nil
}

func (o *Options) complete() error {
	if o.Node == "" || len(o.Node) > maxNodeBytes || !utf8.ValidString(o.Node) {
		return fmt.Errorf("open audit journal: node name must have 1 to %d bytes of UTF-8", maxNodeBytes)
	}
	if o.SegmentBytes < 0 || o.SegmentBytes > maxSegmentBytes {
		return fmt.Errorf("open audit journal: segment size must be at most %d bytes", int64(maxSegmentBytes))
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.FlushDelay <= 0 {
		o.FlushDelay = defaultFlushDelay
	}
	if o.disk == nil {
		o.disk = osDisk{}
	}
	return nil
}

// openTail brings the last segment into a state that can be appended to, and
// tells how many bytes of an incomplete last write it dropped.
//
// The segment is always written anew, synced and renamed over the old one. What
// we read may come from pages that a failed sync before the restart has marked
// clean without writing them: appending after such lines would build on records
// that the disk does not have.
func openTail(dir string, o Options) (tail, int64, error) {
	t := tail{disk: o.disk, limit: o.SegmentBytes, hash: zeroHash}
	if err := removePartials(dir); err != nil {
		return t, 0, err
	}
	list, err := listSegments(dir)
	if err != nil || len(list) == 0 {
		return t, 0, err // with no segment the first record makes one
	}
	last := list[len(list)-1]
	w, good, err := readTail(dir, list)
	if err != nil {
		return t, 0, fmt.Errorf("open audit journal: %w; keep %s as evidence, move it away and start the node again", err, dir)
	}
	t.seq = w.seq
	if w.seq < w.header.firstSeq {
		// A crash between beginning the segment and its first record: the first
		// append begins it again under the same name.
		t.header.segment, t.hash = w.header.segment-1, w.header.prev
		return t, w.tornBytes, nil
	}
	t.header, t.hash, t.records = w.header, w.head, int(w.seq-w.header.firstSeq+1)
	if err := t.begin(filepath.Join(dir, last.name), good); err != nil {
		return t, 0, fmt.Errorf("rewrite audit segment: %w", err)
	}
	if w.header.node != o.Node {
		// The node has a new label: its records begin a new segment.
		if err := t.end(); err != nil {
			return t, 0, fmt.Errorf("end audit segment: %w", err)
		}
	}
	return t, w.tornBytes, nil
}

// readTail checks the last segment and returns its whole lines.
func readTail(dir string, list []segment) (*walk, []byte, error) {
	var good bytes.Buffer
	w := &walk{dir: dir}
	keep := func(line []byte) error {
		good.Write(line)
		return nil
	}
	if err := w.segments(list[len(list)-1:], keep, nil); err != nil {
		return nil, nil, err
	}
	if len(list) == 1 {
		return w, good.Bytes(), nil
	}
	before, err := lastLineHash(dir, list[len(list)-2])
	if err != nil {
		return nil, nil, err
	}
	if before != w.header.prev {
		return nil, nil, &BrokenError{File: list[len(list)-1].name, Line: 1, Seq: w.header.firstSeq - 1, Err: errLinkBefore}
	}
	return w, good.Bytes(), nil
}

func (j *Journal) noteRecovery(tornBytes int64) error {
	detail := fmt.Sprintf("dropped %d bytes of an incomplete last write, never acknowledged", tornBytes)
	if _, err := j.Append(context.Background(), Record{Kind: Recovered, Detail: detail}); err != nil {
		j.Close() // the append's error is the one to report
		return fmt.Errorf("record recovery: %w", err)
	}
	j.log.Warn("the audit journal ended in an incomplete write", "node", j.node, "dropped_bytes", tornBytes)
	return nil
}
