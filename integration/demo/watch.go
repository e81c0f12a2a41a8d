package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// watch is a caller of each node who signs again and again and notes what it gets.
type watch struct {
	c       *cluster
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex // owns seen
	seen map[*node]sight
}

// sight is the last signature of a node, and the last refusal.
type sight struct {
	signedAt time.Time
	kid      string
	refusal  string
}

func (c *cluster) watch(ctx context.Context) *watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &watch{c: c, cancel: cancel, seen: map[*node]sight{}}
	for _, n := range c.nodes {
		k := c.client(n)
		w.running.Go(func() { w.follow(ctx, n, k) })
	}
	return w
}

func (w *watch) end() {
	w.cancel()
	w.running.Wait()
}

func (w *watch) follow(ctx context.Context, n *node, k *client.Client) {
	defer k.Close()
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		s, err := k.Sign(within, key, wire.SignRequest{Message: []byte("release 1.2.3")}, client.At(n.api()))
		cancel()
		w.mu.Lock()
		now := w.seen[n]
		if err == nil {
			now.signedAt, now.kid = time.Now(), s.KID
		} else {
			now.refusal = refusal(err)
		}
		w.seen[n] = now
		w.mu.Unlock()
		_ = pause(ctx, 20*time.Millisecond) // the loop looks at ctx itself
	}
}

// refusal is what the server said, without what the client tried.
func refusal(err error) string {
	var gone *client.Unavailable
	var said *wire.Error
	if errors.As(err, &gone) && gone.Err != nil {
		err = gone.Err
	}
	if errors.As(err, &said) {
		return fmt.Sprintf("%s: %s", said.Code, said.Message)
	}
	return err.Error()
}

// allSign waits until every node has signed, and says with what.
func (w *watch) allSign(ctx context.Context) error {
	for _, n := range w.c.nodes {
		for deadline := time.Now().Add(30 * time.Second); ; {
			w.mu.Lock()
			s := w.seen[n]
			w.mu.Unlock()
			if !s.signedAt.IsZero() {
				say("  %s  signs with its own key %s...", n.name, s.kid[:12])
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s does not sign: %s", n.name, s.refusal)
			}
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// last is when a node signed last, and why it does not any more.
func (w *watch) last(n *node) (time.Time, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.seen[n].signedAt, w.seen[n].refusal
}
