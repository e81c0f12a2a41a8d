package webhook

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// batchLeaves are read in one go, so that no transaction of the state file is open
// while a receiver thinks.
const batchLeaves = 256

// runner serves one webhook.
type runner struct {
	sender   *Sender
	hook     lifecycle.Webhook
	client   *http.Client
	progress progress
	cancel   context.CancelFunc
	done     chan struct{}
}

// pending is an event on its way.
type pending struct {
	number uint64
	leaf   *state.Leaf
}

func (s *Sender) start(ctx context.Context, w lifecycle.Webhook, d *lifecycle.Delivery) *runner {
	ctx, cancel := context.WithCancel(ctx)
	r := &runner{sender: s, hook: w, cancel: cancel, done: make(chan struct{})}
	r.progress.after, r.progress.why = d.After, d.Why
	go func() {
		defer close(r.done)
		r.run(ctx)
	}()
	return r
}

func (r *runner) stop() {
	r.cancel()
	<-r.done
}

// run follows the log until ctx ends.
func (r *runner) run(ctx context.Context) {
	c, err := newClient(r.hook)
	if err != nil { // written by a version that let it through
		r.fails(fmt.Errorf("the settings of it cannot be used: %w", err))
		return
	}
	defer c.CloseIdleConnections()
	r.client = c
	l := r.sender.config.Ledger
	next, known := uint64(0), false
	for try := 0; ctx.Err() == nil; {
		v := l.View()
		var batch []pending
		var err error
		if !known {
			next, err = v.LeafAfter(r.progress.after)
			known = err == nil
		}
		if known {
			batch, err = read(v, next)
		}
		if err != nil {
			r.fails(fmt.Errorf("the log could not be read: %w", err))
			try++
			r.rest(ctx, try)
			continue
		}
		try = 0
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-l.Changed(v.Position().Index):
			}
			continue
		}
		for _, p := range batch {
			if !r.handle(ctx, v, p) {
				return
			}
			next = p.number + 1
		}
		r.reaches(v, next, batch[len(batch)-1].leaf.Index)
	}
}

func read(v *state.View, next uint64) (batch []pending, err error) {
	err = v.Leaves(next, func(n uint64, l *state.Leaf, _ []byte) bool {
		batch = append(batch, pending{n, l})
		return len(batch) < batchLeaves
	})
	return batch, err
}

// handle brings one event to the receiver, however long that takes; false = ctx ended.
func (r *runner) handle(ctx context.Context, v *state.View, p pending) bool {
	r.passes(p.leaf.Index - 1)
	if !r.hook.Wants(p.leaf.Kind) {
		return true
	}
	for try := 1; ; try++ {
		err := r.send(ctx, v, p)
		if ctx.Err() != nil {
			return false
		}
		if err == nil {
			r.arrived(p.leaf.Index)
			return true
		}
		r.fails(err)
		r.sender.config.Log.Warn("a webhook was not told of an event; it is tried again", "webhook", r.hook.Name, "kind", p.leaf.Kind, "index", p.leaf.Index, "try", try, "err", err)
		r.rest(ctx, try)
	}
}

// send makes one attempt. The event is signed anew for each: the statement says when.
func (r *runner) send(ctx context.Context, v *state.View, p pending) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	body, err := r.sender.config.Body(v, r.hook.Name, p.number, p.leaf)
	if err != nil {
		return fmt.Errorf("the event could not be written: %w", err)
	}
	jws, err := r.sender.config.Sign(ctx, body)
	if err != nil {
		return fmt.Errorf("the event could not be signed: %w", err)
	}
	return post(ctx, r.client, r.hook.URL, jws)
}

// rest waits before the next attempt: longer each time, and not in step with others.
func (r *runner) rest(ctx context.Context, try int) {
	t := r.sender.config.Timing
	d := t.Longest
	if try < 32 && t.First<<(try-1) < d {
		d = t.First << (try - 1)
	}
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// passes notes that every entry up to index is done with.
func (r *runner) passes(index uint64) {
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	r.progress.after = max(r.progress.after, index)
}

// reaches is passes at the end of the log: an entry's leaves are published together, so
// none of the last entry is still to come.
func (r *runner) reaches(v *state.View, next, index uint64) {
	if next >= v.Position().LogSize {
		r.passes(index)
	}
}

func (r *runner) arrived(index uint64) {
	r.sender.Sent.Add(1)
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	r.progress.sent, r.progress.why = index, ""
}

// maxWhy keeps the reason in one line of a status answer.
const maxWhy = 200

func (r *runner) fails(err error) {
	r.sender.Failed.Add(1)
	why := strings.Map(func(c rune) rune {
		if lifecycle.Printable(string(c)) {
			return c
		}
		return ' '
	}, err.Error())
	if len(why) > maxWhy {
		why = strings.ToValidUTF8(why[:maxWhy], "")
	}
	r.progress.mu.Lock()
	defer r.progress.mu.Unlock()
	r.progress.why = why
}
