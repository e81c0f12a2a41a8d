package lease

import (
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// take asks and accepts a lease of the leader's index.
func (p *pair) take(t *testing.T, applied uint64) {
	t.Helper()
	if err := p.Accept(beta, p.grant(t, p.ask()), applied); err != nil {
		t.Fatal(err)
	}
}

func TestLeaseCountsFromTheQuestion(t *testing.T) {
	p := newPair()
	r := p.ask()
	p.pass(2 * time.Second)
	g := p.grant(t, r)
	p.pass(900 * time.Millisecond)
	if err := p.Accept(beta, g, 10); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(10); s.ExpiresIn != 100*time.Millisecond {
		t.Errorf("%v left", s.ExpiresIn)
	}
	p.pass(100 * time.Millisecond)
	if p.Usable(10) == nil {
		t.Error("usable 3 s after it was asked for")
	}
}

// TestNewerGrantDoesNotDisplace: a lease in use serves on while the index of a newer
// one is not applied, and not longer than it says; the newer one serves from then on.
func TestNewerGrantDoesNotDisplace(t *testing.T) {
	p := newPair()
	p.take(t, 10)
	p.pass(time.Second)
	p.index = 20
	p.take(t, 10)
	if p.Usable(10) != nil || p.Usable(20) != nil {
		t.Fatal("one of the two does not serve")
	}
	p.pass(2 * time.Second) // the first is over
	if p.Usable(10) == nil || p.Usable(20) != nil {
		t.Error("the lease in use was prolonged, or the newer one does not serve")
	}
	p.pass(time.Second)
	if p.Usable(20) == nil {
		t.Error("the newer one serves too long")
	}
}

// TestLaggingNodeGetsToSign: a node that is always 1.5 s behind, with a new grant
// each 300 ms, signs all the same.
func TestLaggingNodeGetsToSign(t *testing.T) {
	p := newPair()
	served, rounds := 0, 100
	for range rounds {
		p.index++
		applied := p.index - min(p.index-10, 5) // an entry per round, five rounds behind
		p.take(t, applied)
		if n := len(p.held.Load().leases); n > maxHeld {
			t.Fatalf("%d leases are held", n)
		}
		if p.Usable(applied) == nil {
			served++
		}
		p.pass(300 * time.Millisecond)
	}
	if served < rounds-10 {
		t.Errorf("it could sign in %d of %d rounds", served, rounds)
	}
}

// TestFarBehindKeepsFew: however many grants come, few are held, among them the one
// that serves first.
func TestFarBehindKeepsFew(t *testing.T) {
	p := newPair()
	p.Use(TermsOf(MaxDuration, MinAge))
	p.terms = TermsOf(MaxDuration, MinAge)
	p.index = 100
	for range 50 {
		p.take(t, 10)
		p.index++
		p.pass(time.Second)
	}
	if n := len(p.held.Load().leases); n != maxHeld || p.Usable(100) != nil || p.Usable(149) != nil {
		t.Errorf("%d leases, %v, %v", n, p.Usable(100), p.Usable(149))
	}
}

// TestUseShortens: the fence of an entry that shortens leases counts on it that those
// at hand, and those on their way, are cut.
func TestUseShortens(t *testing.T) {
	p := newPair()
	p.take(t, 10)
	late := p.grant(t, p.ask())
	p.Use(TermsOf(time.Second, MinAge))
	p.pass(999 * time.Millisecond)
	if p.Usable(10) != nil {
		t.Error("cut too short")
	}
	if err := p.Accept(beta, late, 10); err != nil {
		t.Fatal(err)
	}
	p.pass(time.Millisecond)
	if p.Usable(10) == nil {
		t.Error("not cut")
	}
}

func TestEpochDropsTheLease(t *testing.T) {
	p := newPair()
	p.take(t, 10)
	p.Holder.Ask(Observed{Cluster: cluster, Epoch: 2, Applied: 1})
	if p.Usable(10) == nil {
		t.Error("a lease of another epoch serves")
	}
}

// TestFenceBounds: what a fence waits for when nobody answers.
func TestFenceBounds(t *testing.T) {
	w := DefaultTerms().Wait
	for _, c := range []struct {
		name string
		play func(t *testing.T, p *pair)
		left time.Duration
	}{
		{"just elected", func(*testing.T, *pair) {}, w},
		{"a while after the election", func(_ *testing.T, p *pair) { p.pass(time.Second) }, w - time.Second},
		{"no lease is out", func(_ *testing.T, p *pair) { p.pass(w) }, 0},
		{"a lease is out", func(t *testing.T, p *pair) { p.pass(w); p.grant(t, p.ask()); p.pass(time.Second) }, w - time.Second},
		{"a longer one was", func(t *testing.T, p *pair) {
			p.terms = TermsOf(time.Minute, time.Second)
			p.grant(t, p.ask())
			p.terms = DefaultTerms()
			p.pass(time.Second)
			p.grant(t, p.ask())
		}, 75*time.Second - time.Second},
		{"a longer one may be, of an earlier leader", func(_ *testing.T, p *pair) { p.terms = p.terms.Under(time.Minute) }, 75 * time.Second},
		{"the leader's machine slept", func(t *testing.T, p *pair) { p.grant(t, p.ask()); p.leader.suspend(time.Hour) }, w},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair()
			c.play(t, p)
			f := p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
			if f.Left() != c.left || f.Done() != (c.left == 0) {
				t.Errorf("left %v, done %v; want %v", f.Left(), f.Done(), c.left)
			}
			p.pass(c.left)
			if got := f.Fenced(); !f.Done() || got[0].Outcome != lifecycle.LeaseExpired || got[0].At == 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestOneAckServesAllFences up to its index, and only these.
func TestOneAckServesAllFences(t *testing.T) {
	p := newPair()
	three := []*Fence{p.Open(11, []lifecycle.NodeID{alpha}, p.terms), p.Open(13, []lifecycle.NodeID{alpha}, p.terms), p.Open(15, []lifecycle.NodeID{alpha}, p.terms)}
	r, ok := p.Grantor.Ask(alpha)
	if !ok || r.Index != 15 {
		t.Fatalf("asked for %d", r.Index)
	}
	p.Advance(13) // all that it can vouch for now
	if err := p.Ack(alpha, p.Answer(r)); err != nil {
		t.Fatal(err)
	}
	if !three[0].Done() || !three[1].Done() || three[2].Done() {
		t.Error("not those up to 13")
	}
	p.Close(15)
	if r, ok := p.Grantor.Ask(alpha); ok {
		t.Errorf("asked again: %+v", r)
	}
}

// TestFenceWaitsForStrangers: a node that was granted a lease counts, also when it is
// not among those who may sign any more.
func TestFenceWaitsForStrangers(t *testing.T) {
	p := newPair()
	p.pass(time.Hour)
	p.grant(t, p.ask())
	f := p.Open(11, []lifecycle.NodeID{beta}, p.terms)
	if got := f.Outcomes(); len(got) != 2 || got[0].Node != alpha || got[0].Left != p.terms.Wait || got[1].Outcome != lifecycle.LeaseExpired {
		t.Errorf("%+v", got)
	}
}

func TestTerms(t *testing.T) {
	for _, c := range []struct {
		name string
		t    Terms
		ok   bool
	}{
		{"default", DefaultTerms(), true},
		{"shortest", TermsOf(MinDuration, MinAge), true},
		{"longest", TermsOf(MaxDuration, MaxDuration), true},
		{"of odd nanoseconds", TermsOf(MinDuration+1, MinAge+3), true},
		{"under a ceiling", DefaultTerms().Under(MaxDuration), true},
		{"too short", TermsOf(MinDuration-1, MinAge), false},
		{"too long", TermsOf(MaxDuration+1, MinAge), false},
		{"age too short", TermsOf(MinDuration, MinAge-1), false},
		{"age over the lease", TermsOf(MinDuration, MinDuration+1), false},
		{"zero", Terms{}, false},
		{"wait too short", Terms{3 * time.Second, time.Second, 3700 * time.Millisecond, time.Second, 2 * time.Second}, false},
		{"renewed too seldom", Terms{3 * time.Second, 1001 * time.Millisecond, 4 * time.Second, time.Second, 2 * time.Second}, false},
		{"age wait too short", Terms{3 * time.Second, time.Second, 4 * time.Second, time.Second, 1249 * time.Millisecond}, false},
		{"ceiling too high", DefaultTerms().Under(MaxDuration + time.Second), false},
	} {
		if err := c.t.Check(); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if d := DefaultTerms(); d.Wait != 3750*time.Millisecond || d.AgeWait != 2500*time.Millisecond || d.Renew != time.Second {
		t.Errorf("%+v", d)
	}
}
