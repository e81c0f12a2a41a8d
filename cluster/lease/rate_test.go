package lease

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// exchanges compares two clocks for a while. Every message takes rtt, in turn on the
// way there and on the way back, which is the worst for an estimate.
func exchanges(c *RateCheck, own *hands, node lifecycle.NodeID, rate float64, rtt, during time.Duration) {
	theirs := Reading{time.Hour, 3 * time.Hour}
	pass := func(d time.Duration) {
		own.pass(d)
		theirs = theirs.After(time.Duration(rate * float64(d)))
	}
	for i := 0; during > 0; i++ {
		way, back := time.Duration(0), time.Duration(0)
		if i%2 == 0 {
			way = rtt
		} else {
			back = rtt
		}
		s := Sample{Boot: "b", Sent: own.Reading}
		pass(way)
		s.Theirs = theirs
		pass(back)
		s.Received = own.Reading
		c.Add(node, s)
		pass(500*time.Millisecond - rtt)
		during -= 500 * time.Millisecond
	}
}

func TestRateCheck(t *testing.T) {
	for _, c := range []struct {
		name string
		rate float64
		rtt  time.Duration
		off  bool
	}{
		{"right", 1, 0, false},
		{"right, far away", 1, 400 * time.Millisecond, false},
		{"10 % slow", 0.9, time.Millisecond, false},
		{"10 % fast", 1.1, time.Millisecond, false},
		{"10 % slow, far away", 0.9, 400 * time.Millisecond, false},
		{"10 % fast, far away", 1.1, 400 * time.Millisecond, false},
		{"20 % slow", 0.8, time.Millisecond, true},
		{"30 % fast", 1.3, time.Millisecond, true},
		{"25 % fast, 100 ms away", 1.25, 100 * time.Millisecond, true},
		{"25 % slow, 100 ms away", 0.75, 100 * time.Millisecond, true},
		{"stands still", 0, time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := &hands{Reading{time.Minute, time.Minute}}
			check := NewRateCheck(own.clock)
			exchanges(check, own, beta, c.rate, c.rtt, 4*time.Second)
			if why := check.Against(beta); why != "" {
				t.Errorf("after 4 s: %s", why)
			}
			check = NewRateCheck(own.clock)
			exchanges(check, own, beta, c.rate, c.rtt, 20*time.Second)
			if why := check.Against(beta); (why != "") != c.off {
				t.Errorf("off %v: %q", c.off, why)
			}
			if n := len(check.peers[beta].samples); n > int(rateHistory/rateSpacing)+1 {
				t.Errorf("%d samples are kept", n)
			}
			own.pass(rateWindow + 500*time.Millisecond)
			if why := check.Against(beta); why != "" {
				t.Errorf("not heard since: %s", why)
			}
		})
	}
}

// TestRateOutvoted: of three voters the one whose clock is wrong knows it, the other
// two go on. Of two nobody knows.
func TestRateOutvoted(t *testing.T) {
	own := &hands{Reading{time.Minute, time.Minute}}
	for _, c := range []struct {
		name        string
		beta, gamma float64
		voters      []lifecycle.NodeID
		want        string
	}{
		{"all right", 1, 1, []lifecycle.NodeID{alpha, beta, gamma}, ""},
		{"one other is wrong", 1, 1.3, []lifecycle.NodeID{alpha, beta, gamma}, ""},
		{"the others are wrong, one each way", 0.7, 1.3, []lifecycle.NodeID{alpha, beta, gamma}, ""},
		{"this one is slow", 1.3, 1.3, []lifecycle.NodeID{alpha, beta, gamma}, "slower"},
		{"this one is fast", 0.8, 0.8, []lifecycle.NodeID{alpha, beta, gamma}, "faster"},
		{"two voters", 1.3, 1, []lifecycle.NodeID{alpha, beta}, ""},
	} {
		check := NewRateCheck(own.clock)
		both(check, own, c.beta, c.gamma)
		if why := check.Outvoted(c.voters); (why == "") != (c.want == "") || !strings.Contains(why, c.want) {
			t.Errorf("%s: %q, want %q", c.name, why, c.want)
		}
	}
}

// both exchanges with beta and gamma in turn for 8 s.
func both(c *RateCheck, own *hands, betaRate, gammaRate float64) {
	var b, g Reading
	for range 16 {
		c.Add(beta, Sample{Boot: "b", Sent: own.Reading, Theirs: b, Received: own.Reading})
		c.Add(gamma, Sample{Boot: "g", Sent: own.Reading, Theirs: g, Received: own.Reading})
		own.pass(500 * time.Millisecond)
		b, g = b.After(time.Duration(betaRate*5e8)), g.After(time.Duration(gammaRate*5e8))
	}
}

// TestRateForgetsJumps: a machine that slept, or was started again, has no wrong rate.
func TestRateForgetsJumps(t *testing.T) {
	for name, jump := range map[string]func(own *hands, s *Sample){
		"the other slept":         func(_ *hands, s *Sample) { s.Theirs.Boot += time.Hour },
		"the other started again": func(_ *hands, s *Sample) { s.Boot, s.Theirs = "c", Reading{1, 1} },
		"this one slept":          func(own *hands, s *Sample) { own.suspend(time.Hour); s.Sent, s.Received = own.Reading, own.Reading },
	} {
		own := &hands{Reading{time.Minute, time.Minute}}
		check := NewRateCheck(own.clock)
		theirs := Reading{time.Hour, time.Hour}
		for range 14 {
			check.Add(beta, Sample{Boot: "b", Sent: own.Reading, Theirs: theirs, Received: own.Reading})
			own.pass(500 * time.Millisecond)
			theirs = theirs.After(500 * time.Millisecond)
		}
		s := Sample{Boot: "b", Sent: own.Reading, Theirs: theirs, Received: own.Reading}
		jump(own, &s)
		check.Add(beta, s)
		if why := check.Against(beta); why != "" || len(check.peers[beta].samples) != 1 {
			t.Errorf("%s: %q with %d samples", name, why, len(check.peers[beta].samples))
		}
	}
}

// TestRateIgnoresNonsense: a peer may send any number.
func TestRateIgnoresNonsense(t *testing.T) {
	own := &hands{Reading{time.Minute, time.Minute}}
	check := NewRateCheck(own.clock)
	for _, theirs := range []Reading{{-1, 1}, {1, -1}, {math.MaxInt64, 1}, {math.MinInt64, math.MinInt64}} {
		check.Add(beta, Sample{Boot: "b", Sent: own.Reading, Theirs: theirs, Received: own.Reading})
	}
	if len(check.peers) != 0 {
		t.Error("a sample was kept")
	}
}
