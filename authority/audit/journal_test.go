package audit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func open(t testing.TB, dir string, o Options) *Journal {
	t.Helper()
	if o.Node == "" {
		o.Node = "n1"
	}
	if o.Logger == nil {
		o.Logger = quiet()
	}
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() }) // tests that care close it themselves
	return j
}

func decision(key string) Record {
	return Record{Kind: Decision, Principal: "alice", Verb: "sign", Key: key, Version: 1, Allowed: true}
}

func appendN(t testing.TB, j *Journal, n int) {
	t.Helper()
	for i := range n {
		if _, err := j.Append(t.Context(), decision(fmt.Sprintf("key-%d", i))); err != nil {
			t.Fatal(err)
		}
	}
}

func closeJournal(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// until polls for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func TestChainOverSegmentsAndRestarts(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		j := open(t, dir, Options{SegmentBytes: 2000})
		if got := j.Head().Seq; got != uint64(20*round) {
			t.Fatalf("round %d begins at seq %d", round, got)
		}
		appendN(t, j, 20)
		head := j.Head()
		closeJournal(t, j)
		r, err := Verify(dir, head)
		if err != nil {
			t.Fatal(err)
		}
		if r.Head != head || r.Records != uint64(20*(round+1)) || r.FirstSeq != 1 || r.TornBytes != 0 || r.Node != "n1" {
			t.Errorf("round %d: report %+v, head %+v", round, r, head)
		}
		if r.Segments < 3*(round+1) {
			t.Errorf("round %d: %d segments, rotation by size does not work", round, r.Segments)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, segmentName(1))); err != nil {
		t.Error(err)
	}
}

func TestNodeLabelChangeBeginsSegment(t *testing.T) {
	dir := t.TempDir()
	for _, node := range []string{"old", "new", "new", "old"} {
		j := open(t, dir, Options{Node: node})
		appendN(t, j, 2)
		closeJournal(t, j)
	}
	r, err := Verify(dir)
	if err != nil || r.Segments != 3 || r.Records != 8 || r.Node != "old" {
		t.Errorf("report %+v, %v", r, err)
	}
}

func TestLoneAppendIsOneWriteAndOneSync(t *testing.T) {
	d := &tapDisk{}
	j := open(t, t.TempDir(), Options{disk: d})
	appendN(t, j, 1) // makes the segment
	for i := range 10 {
		w0, s0 := d.counts()
		appendN(t, j, 1)
		if w, s := d.counts(); w-w0 != 1 || s-s0 != 1 {
			t.Fatalf("append %d took %d writes and %d syncs", i, w-w0, s-s0)
		}
	}
}

// TestGroupCommit holds the first sync back while others queue up: all of them
// must share the second.
func TestGroupCommit(t *testing.T) {
	d := &tapDisk{gate: make(chan struct{}), atGate: make(chan struct{}, 4)}
	j := open(t, t.TempDir(), Options{disk: d})
	seqs := make(chan uint64, 64)
	appendOne := func() {
		seq, err := j.Append(context.Background(), decision("k"))
		if err != nil {
			t.Error(err)
		}
		seqs <- seq
	}
	go appendOne()
	<-d.atGate
	const crowd = 31
	for range crowd {
		go appendOne()
	}
	until(t, "the crowd to queue up", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.queued == crowd
	})
	if got := j.Head().Seq; got != 0 {
		t.Errorf("head is %d before any sync has returned", got)
	}
	d.gate <- struct{}{}
	<-d.atGate
	d.gate <- struct{}{}
	seen := map[uint64]bool{}
	for range crowd + 1 {
		seen[<-seqs] = true
	}
	if len(seen) != crowd+1 || !seen[1] || !seen[crowd+1] {
		t.Errorf("%d different sequence numbers for %d records", len(seen), crowd+1)
	}
	if w, s := d.counts(); w != 2 || s != 2 {
		t.Errorf("%d records took %d writes and %d syncs, want 2 and 2", crowd+1, w, s)
	}
}

func TestConcurrentAppenders(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{SegmentBytes: 8000, FlushDelay: time.Millisecond})
	const appenders, each = 16, 20
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[uint64]string{}
	for a := range appenders {
		wg.Go(func() {
			for i := range each {
				key := fmt.Sprintf("k-%d-%d", a, i)
				seq, err := j.Append(context.Background(), decision(key))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				seen[seq] = key
				mu.Unlock()
				if err := j.AppendAsync(Record{Kind: Outcome, Key: key}); err != nil {
					t.Error(err)
				}
				if j.Head().Seq < seq {
					t.Errorf("head is behind the acknowledged seq %d", seq)
				}
			}
		})
	}
	wg.Wait()
	closeJournal(t, j)
	decisions, outcomes := 0, 0
	for e, err := range Query(dir, Filter{}) {
		switch {
		case err != nil:
			t.Fatal(err)
		case e.Kind == Outcome:
			outcomes++
		default:
			decisions++
			if seen[e.Seq] != e.Key {
				t.Errorf("seq %d holds %s, its appender wrote %s", e.Seq, e.Key, seen[e.Seq])
			}
		}
	}
	if decisions != appenders*each || outcomes != appenders*each || len(seen) != decisions {
		t.Errorf("%d decisions, %d outcomes, %d numbers", decisions, outcomes, len(seen))
	}
}

func TestAppendBatchIsConsecutive(t *testing.T) {
	d := &tapDisk{}
	dir := t.TempDir()
	j := open(t, dir, Options{disk: d})
	appendN(t, j, 1)
	_, before := d.counts()
	seq, err := j.AppendBatch(t.Context(), []Record{decision("a"), decision("b"), decision("c")})
	if err != nil || seq != 2 {
		t.Fatalf("batch begins at %d, %v", seq, err)
	}
	if _, s := d.counts(); s-before != 1 {
		t.Errorf("a batch took %d syncs", s-before)
	}
	if got := j.Head().Seq; got != 4 {
		t.Errorf("head %d after the batch", got)
	}
	for name, rs := range map[string][]Record{
		"empty": nil, "large": make([]Record, maxBatchRecords+1), "one bad": {decision("a"), {Kind: "?"}},
	} {
		if _, err := j.AppendBatch(t.Context(), rs); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := j.Head().Seq; got != 4 {
		t.Errorf("a refused batch moved the head to %d", got)
	}
}

func TestAsyncRidesWithTheNextSync(t *testing.T) {
	d := &tapDisk{}
	j := open(t, t.TempDir(), Options{disk: d, FlushDelay: time.Hour})
	for range 5 {
		if err := j.AppendAsync(Record{Kind: Outcome}); err != nil {
			t.Fatal(err)
		}
	}
	if _, s := d.counts(); s != 0 || j.Head().Seq != 0 {
		t.Fatalf("outcomes alone made %d syncs", s)
	}
	seq, err := j.Append(t.Context(), decision("k"))
	if err != nil || seq != 6 {
		t.Errorf("seq %d, %v: the outcomes did not go first", seq, err)
	}
	if _, s := d.counts(); s != 1 {
		t.Errorf("%d syncs", s)
	}
}

func TestAsyncIsFlushedWithoutCompany(t *testing.T) {
	j := open(t, t.TempDir(), Options{FlushDelay: time.Millisecond})
	for want := range uint64(3) {
		if err := j.AppendAsync(Record{Kind: Outcome}); err != nil {
			t.Fatal(err)
		}
		until(t, "the flush timer", func() bool { return j.Head().Seq == want+1 })
	}
}

func TestQueueIsBounded(t *testing.T) {
	d := &tapDisk{gate: make(chan struct{}), atGate: make(chan struct{}, 256)}
	j := open(t, t.TempDir(), Options{disk: d, FlushDelay: time.Hour})
	first := make(chan error, 1)
	go func() {
		_, err := j.Append(context.Background(), decision("k"))
		first <- err
	}()
	<-d.atGate // the disk hangs
	for range maxQueuedAsync {
		if err := j.AppendAsync(Record{Kind: Outcome}); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.AppendAsync(Record{Kind: Outcome}); !errors.Is(err, ErrBusy) {
		t.Errorf("one outcome too many: %v", err)
	}
	gone, cancel := context.WithCancel(context.Background())
	batch := make([]Record, maxBatchRecords)
	for i := range batch {
		batch[i] = decision("k")
	}
	results := make(chan error, 64)
	room := (maxQueuedRecords - maxQueuedAsync) / maxBatchRecords
	for range room {
		go func() {
			_, err := j.AppendBatch(gone, batch)
			results <- err
		}()
	}
	until(t, "a full queue", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.queued == maxQueuedRecords
	})
	if _, err := j.Append(t.Context(), decision("k")); !errors.Is(err, ErrBusy) {
		t.Errorf("one decision too many: %v", err)
	}
	cancel()
	for range room {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Errorf("a caller whose context ended got %v", err)
		}
	}
	close(d.gate)
	if err := <-first; err != nil {
		t.Error(err)
	}
	// The disk works again: so does the journal, and what was queued is recorded.
	until(t, "room in the queue", func() bool {
		j.mu.Lock()
		defer j.mu.Unlock()
		return j.queued == 0
	})
	if seq, err := j.Append(t.Context(), decision("k")); err != nil || seq != maxQueuedRecords+2 {
		t.Errorf("afterwards seq %d, %v", seq, err)
	}
}

func TestEndedContextRecordsNothing(t *testing.T) {
	j := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := j.Append(ctx, decision("k")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if seq, err := j.Append(t.Context(), decision("k")); err != nil || seq != 1 {
		t.Errorf("seq %d, %v", seq, err)
	}
}

func TestCloseDrainsAndRefuses(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{FlushDelay: time.Hour})
	if err := j.AppendAsync(Record{Kind: Outcome}); err != nil {
		t.Fatal(err)
	}
	closeJournal(t, j)
	closeJournal(t, j)
	if _, err := j.Append(t.Context(), decision("k")); !errors.Is(err, ErrClosed) {
		t.Errorf("append after close: %v", err)
	}
	if err := j.AppendAsync(decision("k")); !errors.Is(err, ErrClosed) {
		t.Errorf("async after close: %v", err)
	}
	if r, err := Verify(dir); err != nil || r.Records != 1 {
		t.Errorf("the queued outcome was lost: %+v, %v", r, err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir, Options{})
	if _, err := Open(dir, Options{Node: "n1", Logger: quiet()}); !errors.Is(err, ErrLocked) {
		t.Errorf("second open: %v", err)
	}
	closeJournal(t, j)
	open(t, dir, Options{})
}

func TestOpenRefusesBadOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no node": {}, "long node": {Node: strings.Repeat("n", maxNodeBytes+1)},
		"negative segment": {Node: "n", SegmentBytes: -1}, "huge segment": {Node: "n", SegmentBytes: maxSegmentBytes + 1},
	} {
		if j, err := Open(t.TempDir(), o); err == nil {
			j.Close() // the test has failed already
			t.Errorf("%s: accepted", name)
		}
	}
}
