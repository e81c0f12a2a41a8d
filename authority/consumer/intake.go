package consumer

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// Times and sizes of the intake.
const (
	// DefaultGather is how long an entry waits after the one before: ten a second at
	// most, however many confirm.
	DefaultGather = 100 * time.Millisecond

	maxWaiting     = 20_000    // confirmations in the queue: two seconds of the most that is taken in
	maxGather      = 600 << 10 // bytes of one entry, with room for its header below command.MaxEntryBytes
	proposeTimeout = 10 * time.Second
)

// intake brings confirmations to the log, many in an entry. The first that comes after
// a quiet time goes at once; what comes while an entry is on its way, or sooner than
// the gathering time after it, shares the next.
type intake struct {
	desk *Desk

	mu      sync.Mutex // owns what follows
	waiting []*slip
	working bool
	last    time.Time // when the last entry was proposed
}

// slip is one confirmation on its way.
type slip struct {
	set  command.LoadedSet
	item command.ConfirmationItem
	done chan struct{} // closed when err is set
	err  error
}

// put records a confirmation and returns what came of it.
func (in *intake) put(ctx context.Context, set command.LoadedSet, item command.ConfirmationItem) error {
	s, err := in.add(set, item)
	if err != nil {
		return err
	}
	select {
	case <-s.done:
		return s.err
	case <-ctx.Done():
		return fmt.Errorf("%w: the confirmation is on its way to the log", ledger.ErrIndeterminate)
	}
}

// add queues a confirmation.
func (in *intake) add(set command.LoadedSet, item command.ConfirmationItem) (*slip, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting) >= maxWaiting {
		return nil, fmt.Errorf("%w: %d confirmations wait to be recorded", ledger.ErrBusy, len(in.waiting))
	}
	s := &slip{set: set, item: item, done: make(chan struct{})}
	in.waiting = append(in.waiting, s)
	if !in.working {
		in.working = true
		go in.work()
	}
	return s, nil
}

// work takes what waits into entries until nothing does.
func (in *intake) work() {
	for {
		in.mu.Lock()
		pause := in.desk.Gather - time.Since(in.last)
		in.mu.Unlock()
		if pause > 0 {
			time.Sleep(pause) // the rate is what is promised, not a wait for somebody
		}
		batch, c := in.take()
		if batch == nil {
			return
		}
		in.carry(batch, c)
	}
}

// take removes from the queue what fits one entry. nil ends the work.
func (in *intake) take() ([]*slip, *command.RecordConfirmations) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting) == 0 {
		in.working, in.waiting = false, nil
		return nil, nil
	}
	in.last = time.Now()
	c := &command.RecordConfirmations{}
	places := map[string]uint64{}
	taken, sizeBytes := 0, 0
	for _, s := range in.waiting {
		name := string(s.set.Key) + " " + s.set.Digest
		at, known := places[name]
		more := len(s.item.Consumer) + len(s.item.Instance) + 16 + 9*len(s.item.Proven)
		if !known {
			more += len(name) + 16 + 48*len(s.set.KIDs)
		}
		if len(c.Items) == command.MaxConfirmations || len(c.Items) > 0 && sizeBytes+more > maxGather {
			break
		}
		if !known {
			at = uint64(len(c.Sets))
			places[name] = at
			c.Sets = append(c.Sets, s.set)
		}
		item := s.item
		item.Set = at
		c.Items = append(c.Items, item)
		sizeBytes += more
		taken++
	}
	batch := append([]*slip(nil), in.waiting[:taken]...)
	clear(in.waiting[:taken])
	in.waiting = in.waiting[taken:]
	return batch, c
}

// carry brings one entry to the log and tells everybody what became of theirs.
func (in *intake) carry(batch []*slip, c *command.RecordConfirmations) {
	ctx, cancel := context.WithTimeout(context.Background(), proposeTimeout)
	defer cancel()
	o, err := in.desk.propose(ctx, c)
	if err == nil && len(o.Groups) != len(batch) {
		err = fmt.Errorf("the log answered for %d of %d confirmations", len(o.Groups), len(batch))
	}
	for i, s := range batch {
		if s.err = err; err == nil && o.Groups[i].Code != "" {
			s.err = refuse(string(o.Groups[i].Code), "chancery consumer show "+s.item.Consumer, "the log refuses the confirmation: %s", o.Groups[i].Detail)
		}
		close(s.done)
	}
}

// propose says something as the cluster itself.
func (d *Desk) propose(ctx context.Context, body command.Body) (state.Outcome, error) {
	cmd := &command.Command{Body: body, Header: command.Header{At: d.now(), Actor: "system", Node: d.Ledger.NodeID()}}
	o, err := d.Ledger.Propose(ctx, cmd)
	if err != nil {
		return o, fmt.Errorf("propose %s: %w", body.Kind(), err)
	}
	return o, o.Err()
}
