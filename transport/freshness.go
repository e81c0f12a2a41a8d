package transport

import (
	"context"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/transport/wire"
)

// Reader reads the ledger for callers who may ask for any position. The number of
// those who wait is bounded, and nobody waits for a position that cannot come soon.
type Reader struct {
	Ledger  ledger.Ledger
	waiting atomic.Int64
}

const (
	maxWaiting = 1024            // requests held for a position at one time
	maxAhead   = 1_000_000       // entries: hours of writes; nothing a caller can have seen
	positionIn = 5 * time.Second // how long a request is held for a position
)

// ParseFreshness reads the request headers that name a consistency. linearizable
// says whether the listener offers it.
func ParseFreshness(h http.Header, linearizable bool) (f ledger.Freshness, err error) {
	if v := h[wire.HeaderConsistency]; len(v) > 0 {
		switch {
		case len(v) > 1:
			return f, wire.Errorf(wire.Invalid, "%s is given twice", wire.HeaderConsistency)
		case v[0] == wire.Bounded:
		case v[0] == wire.Stale:
			f.Level = ledger.Stale
		case v[0] == wire.Linearizable && linearizable:
			f.Level = ledger.Linearizable
		case v[0] == wire.Linearizable:
			return f, wire.Errorf(wire.Invalid, "%s: linearizable reads are for callers with an identity", wire.HeaderConsistency).
				WithHint("use the API listener, or bounded")
		default:
			return f, wire.Errorf(wire.Invalid, "%s %q: choose stale, bounded or linearizable", wire.HeaderConsistency, v[0])
		}
	}
	if f.MinIndex, err = number(h, wire.HeaderMinIndex); err != nil {
		return f, err
	}
	f.MinEpoch, err = number(h, wire.HeaderMinEpoch)
	return f, err
}

func number(h http.Header, name string) (uint64, error) {
	v := h[name]
	if len(v) == 0 {
		return 0, nil
	}
	n, err := strconv.ParseUint(v[0], 10, 64)
	if err != nil || len(v) > 1 {
		return 0, wire.Errorf(wire.Invalid, "%s is one whole number, not %q", name, v)
	}
	return n, nil
}

// Read returns a snapshot as fresh as asked for, holding the request where waiting
// helps and there is room to wait.
func (r *Reader) Read(ctx context.Context, f ledger.Freshness) (ledger.Snapshot, error) {
	waits := f.Level == ledger.Linearizable
	if f.MinIndex > 0 {
		here := r.Ledger.View().Position()
		switch {
		case f.MinEpoch != 0 && f.MinEpoch != here.Epoch:
			return ledger.Snapshot{}, ledger.ErrEpoch
		case f.MinIndex > here.Index+maxAhead:
			return ledger.Snapshot{}, wire.Errorf(wire.Behind, "position %d lies far ahead of this node's %d: it is not of this cluster", f.MinIndex, here.Index).
				WithHint("check %s", wire.HeaderMinIndex)
		case f.MinIndex > here.Index:
			if r.waiting.Add(1) > maxWaiting {
				r.waiting.Add(-1)
				return ledger.Snapshot{}, ledger.ErrBusy
			}
			defer r.waiting.Add(-1)
			waits = true
		}
	}
	if !waits { // most reads: a timer would cost more than the read
		return r.Ledger.Read(ctx, f)
	}
	if f.MinIndex > 0 || f.Level == ledger.Linearizable { // others are answered at once
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, positionIn)
		defer cancel()
	}
	return r.Ledger.Read(ctx, f)
}
