package client

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/transport/wire"
)

// Operation is what became of a request.
func (c *Client) Operation(ctx context.Context, requestID string, opts ...Option) (*wire.Operation, error) {
	return one[wire.Operation](ctx, c, wire.Path(wire.PathOperation, requestID), opts)
}

// Operations lists remembered requests, newest first.
func (c *Client) Operations(ctx context.Context, opts ...Option) (wire.List[wire.Operation], error) {
	return list[wire.Operation](ctx, c, wire.PathOperations, opts)
}

// WaitFor follows an operation until it has reached level, has failed, or ctx
// ends; then it returns the last state seen together with the context's error.
// progress, unless nil, sees every answer.
func (c *Client) WaitFor(ctx context.Context, requestID, level string, progress func(*wire.Operation)) (*wire.Operation, error) {
	var last *wire.Operation
	for {
		began := time.Now()
		op, err := c.Operation(ctx, requestID, Wait(level, holdWithin(ctx)))
		if err != nil {
			if ctx.Err() != nil {
				return last, ctx.Err()
			}
			return last, err
		}
		last = op
		if progress != nil {
			progress(op)
		}
		if op.Has(level) || op.Complete || op.Error != nil || op.Status == wire.PendingApproval && level != wire.Approved {
			return op, nil
		}
		if err := pace(ctx, began); err != nil {
			return last, err
		}
	}
}

// holdWithin is how long a node may hold a request, so that its answer is here before
// ctx ends.
func holdWithin(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return max(0, min(wire.DefaultHold, time.Until(end)/2))
	}
	return wire.DefaultHold
}

// minPoll keeps a server that does not hold requests from being asked in a tight loop.
const minPoll = 200 * time.Millisecond

func pace(ctx context.Context, began time.Time) error {
	timer := time.NewTimer(max(0, minPoll-time.Since(began)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Log lists leaves of the lifecycle log, from number wire.QueryFrom on.
func (c *Client) Log(ctx context.Context, opts ...Option) (wire.List[wire.LogEntry], error) {
	return list[wire.LogEntry](ctx, c, wire.PathLog, opts)
}

// Audit lists records of one node's journal: name it with At. Filters:
// wire.QueryKey, QueryVersion, QueryKID, QueryActor, QuerySince, QueryUntil.
func (c *Client) Audit(ctx context.Context, opts ...Option) (wire.List[wire.AuditRecord], error) {
	return list[wire.AuditRecord](ctx, c, wire.PathAudit, opts)
}

// AuditCheck lets a node walk along its own journal.
func (c *Client) AuditCheck(ctx context.Context, opts ...Option) (*wire.AuditCheck, error) {
	return one[wire.AuditCheck](ctx, c, wire.PathAuditCheck, opts)
}

// Status is the cluster as one node sees it.
func (c *Client) Status(ctx context.Context, opts ...Option) (*wire.Status, error) {
	return one[wire.Status](ctx, c, wire.PathStatus, opts)
}

// Inventory lists every instance of every key.
func (c *Client) Inventory(ctx context.Context, opts ...Option) (wire.List[wire.InventoryItem], error) {
	return list[wire.InventoryItem](ctx, c, wire.PathInventory, opts)
}

// Snapshot streams a snapshot of the state. The caller closes it, and checks what
// it stored: a stream that was cut off fails its trailer hash.
func (c *Client) Snapshot(ctx context.Context, opts ...Option) (io.ReadCloser, error) {
	cl := newCall(http.MethodGet, wire.PathSnapshot, opts)
	cl.raw = true
	return c.do(ctx, cl, nil)
}

// All walks a paged list. fetch is one of the list methods with its filters; it
// is called with Page options until the last page.
func All[T any](fetch func(...Option) (wire.List[T], error), each func(T) error) error {
	for cursor := ""; ; {
		l, err := fetch(Page(0, cursor))
		if err != nil {
			return err
		}
		for _, item := range l.Items {
			if err := each(item); err != nil {
				return err
			}
		}
		if l.Next == "" {
			return nil
		}
		cursor = string(l.Next)
	}
}
