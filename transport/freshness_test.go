package transport

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/transport/wire"
)

func asks(level string) http.Header { return http.Header{wire.HeaderConsistency: {level}} }

func TestLevels(t *testing.T) {
	for level, want := range map[string]ledger.Freshness{
		"stale": {Level: ledger.Stale}, "linearizable": {Level: ledger.Linearizable}, "bounded": {},
		"bounded=2s": {Within: 2 * time.Second}, "bounded=1ms": {Within: time.Millisecond}, "bounded=1m": {Within: wire.MaxBound},
		wire.BoundedBy(1500 * time.Millisecond): {Within: 1500 * time.Millisecond},
	} {
		if f, err := ParseFreshness(asks(level), true); err != nil || f != want {
			t.Errorf("%s = %+v, %v", level, f, err)
		}
	}
	for _, level := range []string{"", "Bounded", "bounded ", "bounded=", "bounded=0", "bounded=0s", "bounded=-2s", "bounded=-1ns", "bounded=1ns", "bounded=999us",
		"bounded=1m1ms", "bounded=2562047h", "bounded=99999999999h", "bounded=2", "bounded=two", "bounded=2s=3s", "stale=2s", "linearizable=1s", "strong", "at_least", "at_least=1-5",
		"stale, bounded"} {
		_, err := ParseFreshness(asks(level), true)
		var e *wire.Error
		if !errors.As(err, &e) || e.Code != wire.Invalid || e.HTTPStatus() != http.StatusBadRequest || e.Retryable {
			t.Errorf("%q: %v", level, err)
		}
	}
	_, err := ParseFreshness(asks(wire.Linearizable), false)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != wire.Invalid || e.Hint == "" {
		t.Errorf("linearizable where it is not offered: %v", err)
	}
}

// TestPositionsAskedFor: what can never come is refused at once, what may come is
// waited for, but not for long.
func TestPositionsAskedFor(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	r := &Reader{Ledger: l}
	at := l.View().Position()
	for name, c := range map[string]struct {
		f      ledger.Freshness
		status int // 0 = served
		at     bool
	}{
		"here":                {ledger.Freshness{MinEpoch: at.Epoch, MinIndex: at.Index}, 0, true},
		"the index alone":     {ledger.Freshness{MinIndex: at.Index}, 0, true},
		"another epoch":       {ledger.Freshness{MinEpoch: at.Epoch + 1, MinIndex: 1}, http.StatusPreconditionFailed, true},
		"an epoch, no index":  {ledger.Freshness{MinEpoch: at.Epoch + 1}, http.StatusPreconditionFailed, true},
		"an epoch, stale":     {ledger.Freshness{Level: ledger.Stale, MinEpoch: at.Epoch + 1}, http.StatusPreconditionFailed, true},
		"far ahead":           {ledger.Freshness{MinIndex: at.Index + maxAhead + 1}, http.StatusPreconditionFailed, true},
		"absurd":              {ledger.Freshness{MinIndex: 1<<64 - 1}, http.StatusPreconditionFailed, true},
		"absurd, and stale":   {ledger.Freshness{Level: ledger.Stale, MinIndex: 1<<64 - 1}, http.StatusPreconditionFailed, true},
		"a little ahead":      {ledger.Freshness{MinIndex: at.Index + 1}, http.StatusPreconditionFailed, false},
		"ahead, linearizable": {ledger.Freshness{Level: ledger.Linearizable, MinIndex: at.Index + 1}, http.StatusPreconditionFailed, false},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond) // the caller's patience: positionIn is longer
		_, err := r.Read(ctx, c.f)
		waited := ctx.Err() != nil
		cancel()
		switch {
		case c.status == 0 && err != nil, c.status != 0 && (err == nil || Failure(err).HTTPStatus() != c.status):
			t.Errorf("%s: %v", name, err)
		case c.at && waited:
			t.Errorf("%s: the request was held", name)
		case !c.at && !waited:
			t.Errorf("%s: the request was not held", name)
		}
	}
	if r.waiting.Load() != 0 {
		t.Errorf("%d still wait", r.waiting.Load())
	}
}

// TestStampsSayHowOld: whatever is answered, errors included, names the state.
func TestStampsSayHowOld(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	s := NewStamper("n1")
	h := http.Header{}
	s.Refusal(t.Context(), h, l)
	for _, name := range []string{wire.HeaderIndex, wire.HeaderEpoch, wire.HeaderAsOf, wire.HeaderFreshness, wire.HeaderNode} {
		if h.Get(name) == "" {
			t.Errorf("a refusal without %s", name)
		}
	}
	if h.Get(wire.HeaderFreshness) != wire.Stale {
		t.Errorf("a refusal claims to be %s", h.Get(wire.HeaderFreshness))
	}
	h = http.Header{}
	if s.View(h, l.View().Position()); h.Get(wire.HeaderFreshness) != wire.Stale {
		t.Errorf("a state of unknown age is %q", h.Get(wire.HeaderFreshness))
	}
}

// FuzzParseFreshness: whatever the headers say, no bound is wider than the widest, and
// who may not have a linearizable read gets none.
func FuzzParseFreshness(f *testing.F) {
	for _, s := range []string{"", "stale", "bounded=2s", "bounded=1h", "bounded=-1ns", "linearizable", "at_least", "bounded=\xff"} {
		f.Add(s, "1902", "1")
	}
	f.Add("bounded", "18446744073709551616", "-1")
	f.Fuzz(func(t *testing.T, level, index, epoch string) {
		h := asks(level)
		h[wire.HeaderMinIndex], h[wire.HeaderMinEpoch] = []string{index}, []string{epoch}
		got, err := ParseFreshness(h, false)
		var e *wire.Error
		switch {
		case err != nil && (!errors.As(err, &e) || e.Code != wire.Invalid):
			t.Errorf("%q %q %q: %v", level, index, epoch, err)
		case err == nil && (got.Level == ledger.Linearizable || got.Within < 0 || got.Within > wire.MaxBound):
			t.Errorf("%q gives %+v", level, got)
		}
	})
}
