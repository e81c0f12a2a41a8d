package fresh

import (
	"testing"
	"time"
)

const s = Instant(time.Second)

// fresh100 has applied 100 and was fresh at 50 s.
var fresh100 = State{Epoch: 1, Applied: 100, AsOf: 50 * s, Fresh: true}

func TestDecide(t *testing.T) {
	restarted := State{Epoch: 1, Applied: 100}
	cases := map[string]struct {
		state State
		query Query
		now   Instant
		want  Verdict
		good  bool
	}{
		"bounded, fresh":                   {fresh100, Query{Kind: Bounded}, 51 * s, Serve, true},
		"bounded, at the bound":            {fresh100, Query{Kind: Bounded}, 55 * s, Serve, true},
		"bounded, past it":                 {fresh100, Query{Kind: Bounded}, 55*s + 1, RefuseStale, false},
		"bounded, own bound":               {fresh100, Query{Kind: Bounded, Bound: time.Second}, 52 * s, RefuseStale, false},
		"bounded, wide bound":              {fresh100, Query{Kind: Bounded, Bound: time.Minute}, 60 * s, Serve, true},
		"bounded, negative bound":          {fresh100, Query{Kind: Bounded, Bound: -1}, 56 * s, RefuseStale, false},
		"bounded, after restart":           {restarted, Query{Kind: Bounded, Bound: time.Hour}, 1, RefuseStale, false},
		"bounded, clock went back":         {fresh100, Query{Kind: Bounded}, 49 * s, RefuseStale, false},
		"bounded, zero state":              {State{}, Query{Kind: Bounded}, 0, RefuseStale, false},
		"stale, fresh":                     {fresh100, Query{}, 50 * s, Serve, false},
		"stale, old":                       {fresh100, Query{}, 5000 * s, Serve, false},
		"stale, after restart":             {restarted, Query{}, 0, Serve, false},
		"linearizable, exchange came":      {fresh100, Query{Kind: Linearizable, ReceivedAt: 49 * s}, 51 * s, Serve, true},
		"linearizable, same instant":       {fresh100, Query{Kind: Linearizable, ReceivedAt: 50 * s}, 51 * s, Serve, true},
		"linearizable, exchange too early": {fresh100, Query{Kind: Linearizable, ReceivedAt: 50*s + 1}, 51 * s, Wait, false},
		"linearizable, waited":             {fresh100, Query{Kind: Linearizable, ReceivedAt: 51 * s}, 53 * s, RefuseStale, false},
		"linearizable, after restart":      {restarted, Query{Kind: Linearizable, ReceivedAt: 0}, s, Wait, false},
		"linearizable, clock went back":    {fresh100, Query{Kind: Linearizable, ReceivedAt: 48 * s}, 47 * s, RefuseStale, false},
		"at least, reached":                {fresh100, Query{Kind: Bounded, Min: Position{1, 100}}, 51 * s, Serve, true},
		"at least, next":                   {fresh100, Query{Kind: Bounded, Min: Position{1, 101}, ReceivedAt: 50 * s}, 51 * s, Wait, false},
		"at least, waited":                 {fresh100, Query{Kind: Bounded, Min: Position{1, 101}, ReceivedAt: 49 * s}, 51 * s, RefuseBehind, false},
		"at least, far ahead":              {fresh100, Query{Kind: Bounded, Min: Position{1, 101 + MaxAhead}, ReceivedAt: 51 * s}, 51 * s, RefuseBehind, false},
		"at least, as far as allowed":      {fresh100, Query{Kind: Bounded, Min: Position{1, 100 + MaxAhead}, ReceivedAt: 51 * s}, 51 * s, Wait, false},
		"at least, absurd":                 {fresh100, Query{Min: Position{1, 1<<64 - 1}, ReceivedAt: 51 * s}, 51 * s, RefuseBehind, false},
		"at least, reached but old":        {fresh100, Query{Kind: Bounded, Min: Position{1, 100}}, 60 * s, RefuseStale, false},
		"at least, reached and stale":      {fresh100, Query{Min: Position{1, 100}}, 60 * s, Serve, false},
		"at least, stale does not go back": {fresh100, Query{Min: Position{1, 101}, ReceivedAt: 60 * s}, 60 * s, Wait, false},
		"newer epoch":                      {fresh100, Query{Kind: Bounded, Min: Position{2, 1}}, 51 * s, RefuseEpoch, false},
		"older epoch":                      {State{Epoch: 2, Applied: 9, AsOf: 50 * s, Fresh: true}, Query{Kind: Bounded, Min: Position{1, 1}}, 51 * s, RefuseEpoch, false},
		"unknown kind":                     {fresh100, Query{Kind: 9}, 50 * s, RefuseStale, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := Decide(c.state, c.query, c.now)
			if a.Verdict != c.want || a.MayBeGood != c.good {
				t.Errorf("got %s good=%v, want %s good=%v", a.Verdict, a.MayBeGood, c.want, c.good)
			}
			if a.MaySay(true) != c.good || a.MaySay(false) != (c.want == Serve) {
				t.Errorf("may say good %v, bad %v", a.MaySay(true), a.MaySay(false))
			}
		})
	}
}

// TestGoodNeedsEvidence walks a grid: good is never said unless an exchange bounds
// the age of the state.
func TestGoodNeedsEvidence(t *testing.T) {
	for _, fresh := range []bool{false, true} {
		for asOf := Instant(0); asOf <= 4*s; asOf += s {
			for now := Instant(0); now <= 12*s; now += s / 2 {
				for kind := Stale; kind <= Linearizable; kind++ {
					for received := Instant(0); received <= 12*s; received += s {
						state := State{Epoch: 1, Applied: 5, AsOf: asOf, Fresh: fresh}
						a := Decide(state, Query{Kind: kind, ReceivedAt: received}, now)
						young := fresh && now >= asOf && now-asOf <= Instant(DefaultBound)
						after := fresh && now >= asOf && asOf >= received
						allowed := kind == Bounded && young || kind == Linearizable && after
						if a.MayBeGood != allowed {
							t.Fatalf("%s %+v received %d now %d: good = %v", kind, state, received, now, a.MayBeGood)
						}
					}
				}
			}
		}
	}
}

func TestObserve(t *testing.T) {
	cases := map[string]struct {
		state State
		e     Exchanged
		want  State
	}{
		"applied":          {State{Epoch: 1, Applied: 7}, Exchanged{1, 3 * s, 7}, State{1, 7, 3 * s, true}},
		"at instant zero":  {State{Epoch: 1, Applied: 7}, Exchanged{1, 0, 7}, State{1, 7, 0, true}},
		"not yet applied":  {State{Epoch: 1, Applied: 6}, Exchanged{1, 3 * s, 7}, State{Epoch: 1, Applied: 6}},
		"other epoch":      {State{Epoch: 2, Applied: 9}, Exchanged{1, 3 * s, 7}, State{Epoch: 2, Applied: 9}},
		"older than known": {fresh100, Exchanged{1, 49 * s, 3}, fresh100},
		"newer":            {fresh100, Exchanged{1, 51 * s, 100}, State{1, 100, 51 * s, true}},
		"newer, behind":    {fresh100, Exchanged{1, 51 * s, 101}, fresh100},
	}
	for name, c := range cases {
		if got := c.state.Observe(c.e); got != c.want {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBootClock(t *testing.T) {
	var clock Clock = BootClock{}
	a := clock.Now()
	if b := clock.Now(); b < a {
		t.Fatalf("clock went back from %d to %d", a, b)
	}
}

func TestStrings(t *testing.T) {
	for got, want := range map[string]string{Bounded.String(): "bounded", Stale.String(): "stale", Linearizable.String(): "linearizable",
		Kind(7).String(): "Kind(7)", Serve.String(): "serve", Wait.String(): "wait", RefuseEpoch.String(): "refuse: epoch", Verdict(0).String(): "Verdict(0)"} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
