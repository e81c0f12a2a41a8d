package audit

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Options configure a journal.
type Options struct {
	Node         string           // label written into each record, 1 to 64 bytes
	Clock        func() time.Time // wall time of records; time.Now when nil
	Logger       *slog.Logger     // slog.Default when nil
	SegmentBytes int64            // a segment that has grown this large is followed by a new one; 16 MiB when 0
	FlushDelay   time.Duration    // the longest that AppendAsync lets a record wait for a sync; 1 s when 0

	disk disk // tests only
}

// Journal is an open audit journal. Its methods may be called from any goroutine.
type Journal struct {
	dir   string
	node  string
	clock func() time.Time
	log   *slog.Logger
	delay time.Duration

	wake    chan struct{} // capacity 1: the queue is not empty
	closing chan struct{}
	ended   chan struct{} // the committer has returned
	pool    sync.Pool     // of *waiter

	// mu guards what callers and the committer share; it is never held over I/O.
	mu       sync.Mutex
	queue    []*waiter
	queued   int  // records in queue
	async    int  // of these, records that nobody waits for
	armed    bool // the flush timer is running
	flush    *time.Timer
	failure  error  // set once: poisoned or closed
	headSeq  uint64 // of the last synced record
	headHash hexHash
	opened   Head            // what was on the disk before
	uses     map[string]*Use // by kid, since then

	// spare and tail belong to the committer.
	spare []*waiter // the queue of the commit before, reused
	tail  tail
	lock  *os.File
}

// waiter is one call of Append, AppendBatch or AppendAsync in the queue.
type waiter struct {
	buf   []byte // encoded bodies, one after the other
	ends  []int  // where each ends in buf
	uses  []use  // those that are about key pairs
	async bool
	seq   uint64        // of the first record, set by the committer
	err   error         // set by the committer
	done  chan struct{} // capacity 1, so that the committer never waits for a caller that has left
}

// Append records r and returns its sequence number when the record is on the
// disk. When ctx ends first the record may or may not have been written; the
// caller must not act on it.
func (j *Journal) Append(ctx context.Context, r Record) (uint64, error) {
	w := j.waiter()
	if err := j.encode(w, &r); err != nil {
		j.pool.Put(w)
		return 0, err
	}
	return j.wait(ctx, w)
}

// AppendBatch records all of rs with consecutive numbers, in one write and one
// sync, and returns the first number. It is all or nothing for the caller: after
// an error none of them may be acted on.
func (j *Journal) AppendBatch(ctx context.Context, rs []Record) (uint64, error) {
	if len(rs) == 0 || len(rs) > maxBatchRecords {
		return 0, fmt.Errorf("%w: a batch has 1 to %d records, not %d", ErrInvalid, maxBatchRecords, len(rs))
	}
	w := j.waiter()
	for i := range rs {
		r := rs[i]
		if err := j.encode(w, &r); err != nil {
			j.pool.Put(w)
			return 0, err
		}
	}
	return j.wait(ctx, w)
}

// AppendAsync queues a record that nobody waits for, such as the outcome of an
// action whose decision is already on the disk. It is written with the next sync,
// at the latest after Options.FlushDelay. ErrBusy and ErrUnavailable mean that it
// was not queued; a crash may lose what is queued.
func (j *Journal) AppendAsync(r Record) error {
	w := j.waiter()
	w.async = true
	err := j.encode(w, &r)
	if err == nil {
		err = j.enqueue(w)
	}
	if err != nil {
		j.pool.Put(w)
	}
	return err
}

// settle returns when what was appended before is on the disk, or cannot be, or when the
// disk takes longer for it than a record may wait anyway.
func (j *Journal) settle() {
	w := j.waiter()
	if j.enqueue(w) != nil {
		j.pool.Put(w)
		return // it is closed, or broken: what is on the disk is all there is
	}
	patience := time.NewTimer(j.delay)
	defer patience.Stop()
	select {
	case <-w.done:
		j.pool.Put(w)
	case <-patience.C: // the committer still holds w
	}
}

// Head returns the last line that is on the disk. Seq 0 means no record yet.
func (j *Journal) Head() Head {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Head{Seq: j.headSeq, Hash: string(j.headHash[:])}
}

// Err is nil while the journal works, and tells afterwards why it does not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure
}

// Close writes what is queued, refuses anything new and gives the directory back.
// It returns the error that poisoned the journal, if one did.
func (j *Journal) Close() error {
	j.mu.Lock()
	select {
	case <-j.closing:
		j.mu.Unlock()
		<-j.ended
		return nil
	default:
	}
	close(j.closing)
	j.mu.Unlock()
	<-j.ended // the committer drains the queue first

	j.mu.Lock()
	defer j.mu.Unlock()
	err := j.failure
	if err == nil {
		j.failure = ErrClosed
		// Not synced: reserved space that a crash brings back is no line.
		if cerr := j.tail.shrink(); cerr != nil {
			err = fmt.Errorf("give reserved audit space back: %w", cerr)
		}
	}
	if cerr := j.tail.close(); err == nil && cerr != nil {
		err = fmt.Errorf("close audit segment: %w", cerr)
	}
	if cerr := j.lock.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("release audit lock: %w", cerr)
	}
	return err
}

func (j *Journal) waiter() *waiter {
	w := j.pool.Get().(*waiter)
	w.buf, w.ends, w.uses, w.async, w.seq, w.err = w.buf[:0], w.ends[:0], w.uses[:0], false, 0, nil
	return w
}

// encode appends r's body to w, on the caller's goroutine.
func (j *Journal) encode(w *waiter, r *Record) error {
	if r.At.IsZero() {
		r.At = j.clock()
	}
	r.fit()
	if err := r.check(); err != nil {
		return err
	}
	w.buf = appendBody(w.buf, r, j.node)
	w.ends = append(w.ends, len(w.buf))
	if r.countable() {
		w.uses = append(w.uses, use{r.Kind, r.Key, r.Version, r.KID, r.At})
	}
	return nil
}

func (j *Journal) wait(ctx context.Context, w *waiter) (uint64, error) {
	if err := ctx.Err(); err != nil {
		j.pool.Put(w)
		return 0, fmt.Errorf("append audit record: %w", err)
	}
	if err := j.enqueue(w); err != nil {
		j.pool.Put(w)
		return 0, err
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		// The committer still holds w: it is left to the collector.
		return 0, fmt.Errorf("wait for audit sync: %w", ctx.Err())
	}
	seq, err := w.seq, w.err
	j.pool.Put(w)
	return seq, err
}

// enqueue puts w into the queue and sees to it that the committer will come.
func (j *Journal) enqueue(w *waiter) error {
	n := len(w.ends)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failure != nil {
		return j.failure
	}
	select {
	case <-j.closing:
		return ErrClosed
	default:
	}
	if j.queued+n > maxQueuedRecords || w.async && j.async+n > maxQueuedAsync {
		return ErrBusy
	}
	j.queue = append(j.queue, w)
	j.queued += n
	if !w.async {
		j.signal()
		return nil
	}
	j.async += n
	if j.async >= maxQueuedAsync/2 {
		j.signal()
	} else if !j.armed {
		j.armed = true
		j.flush.Reset(j.delay)
	}
	return nil
}

// signal wakes the committer, or leaves word that it has work to do next.
func (j *Journal) signal() {
	select {
	case j.wake <- struct{}{}:
	default: // it already has word
	}
}
