package audit

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
)

// tail is the end of the chain as the committer writes it. No other goroutine
// touches it between Open and Close.
type tail struct {
	disk     disk
	file     file
	header   header
	seq      uint64
	hash     hexHash
	size     int64 // bytes of lines in the segment
	reserved int64 // size of its file: zeros follow the lines
	records  int   // records in the segment
	limit    int64 // size at which the next record goes to a new segment
	out      []byte
}

// run is the committer. It ends after Close, when the queue is empty.
//
// It is woken by the first of the callers that a commit before has set free. Before
// it takes the queue it lets all others run that can: under load their records are
// then in the queue too, and one sync does for them; when nobody else can run it
// costs nothing.
func (j *Journal) run() {
	defer close(j.ended)
	for {
		select {
		case <-j.wake:
			runtime.Gosched()
		case <-j.flush.C:
		case <-j.closing:
			j.flush.Stop()
			j.commit() // nothing is queued after closing is closed
			return
		}
		j.commit()
	}
}

// commit writes and syncs everything that is queued and tells the callers.
func (j *Journal) commit() {
	j.mu.Lock()
	batch, err := j.queue, j.failure
	j.queue, j.queued, j.async = j.spare[:0], 0, 0
	if j.armed {
		j.armed = false
		j.flush.Stop()
	}
	j.mu.Unlock()
	lost := 0
	for rest := batch; len(rest) > 0; {
		n := chunk(rest)
		if err == nil {
			err = j.write(rest[:n])
		}
		for i, w := range rest[:n] {
			w.err = err
			if !w.async {
				w.done <- struct{}{}
			} else {
				if err != nil {
					lost += len(w.ends)
				}
				j.pool.Put(w)
			}
			rest[i] = nil
		}
		rest = rest[n:]
	}
	j.spare = batch
	if lost > 0 { // callers that wait were told, of these nobody else will know
		j.log.Error("audit records of outcomes were lost", "node", j.node, "records", lost, "err", err)
	}
}

// chunk is how many of the waiters go into one write: what a crash can leave half
// written is then a small part of the file. See torn.
func chunk(batch []*waiter) int {
	bytes := 0
	for i, w := range batch {
		if bytes += len(w.buf) + len(w.ends)*placeBytes; bytes > maxCommitBytes && i > 0 {
			return i
		}
	}
	return len(batch)
}

// write makes a batch durable, or poisons the journal.
func (j *Journal) write(batch []*waiter) error {
	err := j.tail.append(batch, j)
	j.mu.Lock()
	if err == nil {
		j.headSeq, j.headHash = j.tail.seq, j.tail.hash
		j.count(batch)
		j.mu.Unlock()
		return nil
	}
	// What is on the disk is unknown now, and asking again would not tell: a
	// second fsync may succeed without having written anything.
	err = fmt.Errorf("%w, free or replace its disk and start the node again: %w", ErrUnavailable, err)
	j.failure = err
	j.mu.Unlock()
	return err
}

// append chains, writes and syncs a batch: one write, one sync.
func (t *tail) append(batch []*waiter, j *Journal) error {
	if t.file == nil || t.size >= t.limit && t.records > 0 {
		if err := t.rotate(j); err != nil {
			return err
		}
	}
	out, seq, hash := t.out[:0], t.seq, t.hash
	records := 0
	for _, w := range batch {
		w.seq = seq + 1
		from := 0
		for _, end := range w.ends {
			seq++
			out, hash = appendLine(out, seq, &hash, w.buf[from:end])
			from = end
		}
		records += len(w.ends)
	}
	if t.out = out; cap(out) > maxIdleBufferBytes {
		t.out = nil
	}
	if records == 0 {
		return nil // somebody waits for those before
	}
	// Dying from here to the end of the sync leaves a part of out in the file: of a
	// killed process a beginning of it, of a stopped machine some of its sectors and
	// not others. Whole lines at its beginning count after the restart, records of
	// actions that were never taken; what follows is dropped. Nobody has been told.
	if _, err := t.file.WriteAt(out, t.size); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	if err := t.reserve(t.size + int64(len(out))); err != nil {
		return err
	}
	if err := t.file.Datasync(); err != nil {
		return fmt.Errorf("sync audit records: %w", err)
	}
	t.seq, t.hash = seq, hash
	t.size += int64(len(out))
	t.records += records
	return nil
}

// reserve sees to zeros after the lines, which end at size. Writing over zeros that
// are on the disk allocates nothing, so that a sync is one write to the disk and not
// a commit of the file system's journal as well. The zeros of the next records are
// synced with those before them.
func (t *tail) reserve(size int64) error {
	if size <= t.reserved {
		return nil
	}
	to := max(size, min((size/reserveBytes+1)*reserveBytes, t.limit))
	if err := writeZeros(t.file, size, to); err != nil {
		return fmt.Errorf("reserve audit space: %w", err)
	}
	t.reserved = to
	return nil
}

var zeros [64 << 10]byte

func writeZeros(f file, from, to int64) error {
	for from < to {
		n, err := f.WriteAt(zeros[:min(to-from, int64(len(zeros)))], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

// rotate ends the segment, every line of which is synced, and begins the next.
// Dying anywhere in it leaves the old segment as the last, with or without its
// reserved space and a partial file that Open removes, or a new one with a header
// and no record. A segment that another one follows ends with its last line.
func (t *tail) rotate(j *Journal) error {
	h := header{
		node:     j.node,
		segment:  t.header.segment + 1,
		firstSeq: t.seq + 1,
		at:       j.clock(),
		prev:     t.hash,
	}
	line := h.append(nil)
	if err := t.end(); err != nil {
		return fmt.Errorf("end audit segment: %w", err)
	}
	if err := t.begin(filepath.Join(j.dir, segmentName(h.firstSeq)), line); err != nil {
		return fmt.Errorf("begin audit segment: %w", err)
	}
	t.header, t.hash, t.records = h, h.hash, 0
	return nil
}

// end closes a segment that another one will follow: it ends with its last line, on
// the disk too.
func (t *tail) end() error {
	if t.file == nil {
		return nil
	}
	err := t.shrink()
	if err == nil {
		err = t.file.Datasync()
	}
	return errors.Join(err, t.close())
}

// shrink gives the reserved space back.
func (t *tail) shrink() error {
	if t.file == nil {
		return nil
	}
	return t.file.Truncate(t.size)
}

func (t *tail) close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file = nil
	return f.Close()
}

// begin writes a segment's first lines under another name, syncs them and renames
// the file into the chain, so that a segment always has a whole header.
func (t *tail) begin(path string, lines []byte) error {
	f, err := t.disk.create(path + partialSuffix)
	if err != nil {
		return err
	}
	t.file, t.size, t.reserved = f, int64(len(lines)), 0
	if _, err = f.WriteAt(lines, 0); err == nil {
		err = t.reserve(t.size)
	}
	if err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = t.disk.rename(path+partialSuffix, path)
	}
	if err != nil {
		t.file = nil
		f.Close() // the first error is the one to report
	}
	return err
}
