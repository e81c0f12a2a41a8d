package transport

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
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
	positionIn = 2 * time.Second // how long a request is held for a position (PROTOCOL.md, at_least)
)

// ParseFreshness reads the request headers that name a consistency. linearizable
// says whether the listener offers it.
func ParseFreshness(h http.Header, linearizable bool) (f ledger.Freshness, err error) {
	if v := h[wire.HeaderConsistency]; len(v) > 0 {
		if len(v) > 1 {
			return f, wire.Errorf(wire.Invalid, "%s is given twice", wire.HeaderConsistency)
		}
		if err := parseLevel(&f, v[0]); err != nil {
			return f, err
		}
		if f.Level == ledger.Linearizable && !linearizable {
			return f, wire.Errorf(wire.Invalid, "%s: linearizable reads are for callers with an identity", wire.HeaderConsistency).
				WithHint("ask the API listener (port 7600 by default), or for bounded")
		}
	}
	if f.MinIndex, err = number(h, wire.HeaderMinIndex); err != nil {
		return f, err
	}
	f.MinEpoch, err = number(h, wire.HeaderMinEpoch)
	return f, err
}

// parseLevel reads stale, bounded, bounded=2s or linearizable.
func parseLevel(f *ledger.Freshness, s string) (err error) {
	level, bound, given := strings.Cut(s, "=")
	switch level {
	case wire.Bounded:
		if given {
			f.Within, err = parseBound(bound)
		}
		return err
	case wire.Stale:
		f.Level = ledger.Stale
	case wire.Linearizable:
		f.Level = ledger.Linearizable
	case "at_least":
		return wire.Errorf(wire.Invalid, "%s: at_least is asked for with %s", wire.HeaderConsistency, wire.HeaderMinIndex).
			WithHint("send %s, and %s with the epoch it belongs to", wire.HeaderMinIndex, wire.HeaderMinEpoch)
	default:
		return wire.Errorf(wire.Invalid, "%s %.40q: choose stale, bounded, bounded=2s or linearizable", wire.HeaderConsistency, s)
	}
	if given {
		return wire.Errorf(wire.Invalid, "%s %.40q: only bounded takes a length of time", wire.HeaderConsistency, s)
	}
	return nil
}

func parseBound(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	why := ""
	switch {
	case err != nil:
		why = "it is no length of time"
	case d < 0:
		why = "it is negative"
	case d < time.Millisecond:
		why = "no state is that new: the least is 1ms, and linearizable sees everything that was acknowledged"
	case d > wire.MaxBound:
		why = fmt.Sprintf("nothing older than %s is called good: ask for stale, which never says good", wire.MaxBound)
	default:
		return d, nil
	}
	return 0, wire.Errorf(wire.Invalid, "%s: bounded=%.40s: %s", wire.HeaderConsistency, s, why).WithHint("write it like bounded=2s")
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
	here := r.Ledger.View().Position()
	if f.MinEpoch != 0 && f.MinEpoch != here.Epoch {
		return ledger.Snapshot{}, fmt.Errorf("%w: %d, and this node is in %d", ledger.ErrEpoch, f.MinEpoch, here.Epoch)
	}
	if f.MinIndex > 0 {
		switch {
		case f.MinIndex > here.Index && f.MinIndex-here.Index > maxAhead:
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
	ctx, cancel := context.WithTimeout(ctx, positionIn)
	defer cancel()
	return r.Ledger.Read(ctx, f)
}
