package audit

import (
	"fmt"
	"path/filepath"
	"runtime"
)

// tail is the end of the chain as the committer writes it. No other goroutine
// touches it between Open and Close.
type tail struct {
	disk    disk
	file    file
	header  header
	seq     uint64
	hash    hexHash
	size    int64 // bytes in the segment
	records int   // records in the segment
	limit   int64 // size at which the next record goes to a new segment
	out     []byte
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
	if err == nil && len(batch) > 0 {
		err = j.write(batch)
	}
	lost := 0
	for i, w := range batch {
		w.err = err
		if !w.async {
			w.done <- struct{}{}
		} else {
			if err != nil {
				lost += len(w.ends)
			}
			j.pool.Put(w)
		}
		batch[i] = nil
	}
	j.spare = batch
	if lost > 0 { // callers that wait were told, of these nobody else will know
		j.log.Error("audit records of outcomes were lost", "node", j.node, "records", lost, "err", err)
	}
}

// write makes a batch durable, or poisons the journal.
func (j *Journal) write(batch []*waiter) error {
	err := j.tail.append(batch, j)
	j.mu.Lock()
	if err == nil {
		j.headSeq, j.headHash = j.tail.seq, j.tail.hash
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
	// Dying from here to the end of the sync leaves a part of out in the file.
	// Whole lines of it count after the restart, records of actions that were
	// never taken; an incomplete last line is dropped. Nobody has been told yet.
	if _, err := t.file.Write(out); err != nil {
		return fmt.Errorf("write audit records: %w", err)
	}
	if err := t.file.Datasync(); err != nil {
		return fmt.Errorf("sync audit records: %w", err)
	}
	t.seq, t.hash = seq, hash
	t.size += int64(len(out))
	t.records += records
	return nil
}

// rotate ends the segment, every byte of which is synced, and begins the next.
// Dying anywhere in it leaves the old segment as the last, with or without a
// partial file that Open removes, or a new one with a header and no record.
func (t *tail) rotate(j *Journal) error {
	h := header{
		node:     j.node,
		segment:  t.header.segment + 1,
		firstSeq: t.seq + 1,
		at:       j.clock(),
		prev:     t.hash,
	}
	line := h.append(nil)
	f, err := makeSegment(t.disk, filepath.Join(j.dir, segmentName(h.firstSeq)), func(f file) error {
		_, err := f.Write(line)
		return err
	})
	if err != nil {
		return fmt.Errorf("begin audit segment: %w", err)
	}
	if err := t.close(); err != nil {
		f.Close() // the first error is the one to report
		return fmt.Errorf("end audit segment: %w", err)
	}
	t.file, t.header, t.hash = f, h, h.hash
	t.size, t.records = int64(len(line)), 0
	return nil
}

func (t *tail) close() error {
	if t.file == nil {
		return nil
	}
	f := t.file
	t.file = nil
	return f.Close()
}

// makeSegment writes a segment's beginning under another name, syncs it and
// renames it into the chain, so that a segment always has a whole header. The
// file stays open for appending.
func makeSegment(d disk, path string, fill func(file) error) (file, error) {
	f, err := d.create(path + partialSuffix)
	if err != nil {
		return nil, err
	}
	if err = fill(f); err == nil {
		err = f.Datasync()
	}
	if err == nil {
		err = d.rename(path+partialSuffix, path)
	}
	if err != nil {
		f.Close() // the first error is the one to report
		return nil, err
	}
	return f, nil
}
