package lease

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// rejected fails unless err is a rejection and the only one counted so far.
func rejected(t *testing.T, err error, by map[string]uint64, reason string) {
	t.Helper()
	if !errors.Is(err, ErrRejected) || !maps.Equal(by, map[string]uint64{reason: 1}) {
		t.Errorf("%v, counted %v; want one %s", err, by, reason)
	}
}

// TestGrantsRejected: each grant but the answer to the outstanding request changes
// nothing, is counted, and leaves the request open for its real answer.
func TestGrantsRejected(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		from         lifecycle.NodeID
		change       func(p *pair, g *Grant)
	}{
		{"no field", Malformed, beta, func(_ *pair, g *Grant) { *g = Grant{} }},
		{"nonce in upper case", Malformed, beta, func(_ *pair, g *Grant) { g.Nonce = strings.Repeat("A", 32) }},
		{"a nonce of 33 characters", Malformed, beta, func(_ *pair, g *Grant) { g.Nonce += "0" }},
		{"for ever", Malformed, beta, func(_ *pair, g *Grant) { g.Duration = 1 << 62 }},
		{"negative", Malformed, beta, func(_ *pair, g *Grant) { g.Duration = -time.Second }},
		{"no index", Malformed, beta, func(_ *pair, g *Grant) { g.MinIndex = 0 }},
		{"a clock before zero", Malformed, beta, func(_ *pair, g *Grant) { g.Clock.Raw = -1 }},
		{"from another node than it says", WrongSender, gamma, func(*pair, *Grant) {}},
		{"of another cluster", OtherCluster, beta, func(_ *pair, g *Grant) { g.Cluster = strings.Repeat("1", 32) }},
		{"of another epoch", OtherEpoch, beta, func(_ *pair, g *Grant) { g.Epoch = 2 }},
		{"for another node", OtherNode, beta, func(_ *pair, g *Grant) { g.Node = gamma }},
		{"for an earlier process", OtherBoot, beta, func(_ *pair, g *Grant) { g.Boot = strings.Repeat("0", 32) }},
		{"with another nonce", NotAsked, beta, func(_ *pair, g *Grant) { g.Nonce = strings.Repeat("0", 32) }},
		{"of a request to come", NotAsked, beta, func(_ *pair, g *Grant) { g.Seq++ }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair()
			right := p.grant(t, p.ask())
			wrong := right
			c.change(p, &wrong)
			rejected(t, p.Accept(c.from, wrong, 10), p.Holder.Rejected(), c.reason)
			if p.Usable(10) == nil {
				t.Error("and yet the lease may be used")
			}
			if err := p.Accept(beta, right, 10); err != nil {
				t.Errorf("the real answer afterwards: %v", err)
			}
		})
	}
}

// TestGrantsOutOfTime: the right grant at the wrong time.
func TestGrantsOutOfTime(t *testing.T) {
	t.Run("second answer", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		if err := p.Accept(beta, g, 10); err != nil {
			t.Fatal(err)
		}
		rejected(t, p.Accept(beta, g, 10), p.Holder.Rejected(), SecondAnswer)
		p.pass(time.Second)
		p.ask() // the copy must not answer this one either
		if err := p.Accept(beta, g, 10); !errors.Is(err, ErrRejected) || p.Holder.Rejected()[SecondAnswer] != 2 {
			t.Errorf("%v, counted %v", err, p.Holder.Rejected())
		}
	})
	t.Run("reordered", func(t *testing.T) {
		p := newPair()
		first := p.grant(t, p.ask())
		second := p.grant(t, p.ask())
		rejected(t, p.Accept(beta, first, 10), p.Holder.Rejected(), TooLate)
		if err := p.Accept(beta, second, 10); err != nil {
			t.Error(err)
		}
	})
	t.Run("after its end", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		p.pass(p.terms.Duration)
		rejected(t, p.Accept(beta, g, 10), p.Holder.Rejected(), TooLate)
	})
	t.Run("after a drop", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		p.Drop("the token has another identity")
		rejected(t, p.Accept(beta, g, 10), p.Holder.Rejected(), TooLate)
	})
	t.Run("after suspend", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		p.node.suspend(maxStray + 1)
		rejected(t, p.Accept(beta, g, 10), p.Holder.Rejected(), Clocks)
	})
	t.Run("of a deposed leader", func(t *testing.T) {
		p := newPair()
		r := p.Holder.Ask(Observed{Cluster: cluster, Epoch: 1, Term: 8, Applied: 10})
		rejected(t, p.Accept(beta, p.grant(t, r), 10), p.Holder.Rejected(), OlderTerm)
	})
	t.Run("of a term before the last grant's", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		g.Term = 9
		if err := p.Accept(beta, g, 10); err != nil {
			t.Fatal(err)
		}
		rejected(t, p.Accept(beta, p.grant(t, p.ask()), 10), p.Holder.Rejected(), OlderTerm)
	})
	t.Run("of another process, with everything else right", func(t *testing.T) {
		p := newPair()
		g := p.grant(t, p.ask())
		p.Holder = NewHolder(alpha, p.node.clock, p.terms)
		p.ask()
		rejected(t, p.Accept(beta, g, 10), p.Holder.Rejected(), OtherBoot)
	})
}

func TestRequestsRejected(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		from         lifecycle.NodeID
		change       func(r *Request)
	}{
		{"no field", Malformed, alpha, func(r *Request) { *r = Request{} }},
		{"a root of 31 bytes", Malformed, alpha, func(r *Request) { r.Root = make([]byte, 31) }},
		{"in another name", WrongSender, gamma, func(*Request) {}},
		{"of another cluster", OtherCluster, alpha, func(r *Request) { r.Cluster = strings.Repeat("1", 32) }},
		{"of another epoch", OtherEpoch, alpha, func(r *Request) { r.Epoch = 2 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair()
			r := p.ask()
			c.change(&r)
			_, err := p.Record(c.from, r, func() (uint64, Terms) { t.Error("it was recorded"); return 10, p.terms })
			rejected(t, err, p.Grantor.Rejected(), c.reason)
			if f := p.Open(11, nil, p.terms); len(f.Outcomes()) != 0 {
				t.Errorf("it has a bound: %+v", f.Outcomes())
			}
		})
	}
}

func TestFenceRequestsRejected(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		from         lifecycle.NodeID
		change       func(r *FenceRequest)
	}{
		{"no field", Malformed, beta, func(r *FenceRequest) { *r = FenceRequest{} }},
		{"no index", Malformed, beta, func(r *FenceRequest) { r.Index = 0 }},
		{"in another name", WrongSender, gamma, func(*FenceRequest) {}},
		{"of another cluster", OtherCluster, beta, func(r *FenceRequest) { r.Cluster = strings.Repeat("1", 32) }},
		{"of another epoch", OtherEpoch, beta, func(r *FenceRequest) { r.Epoch = 2 }},
		{"of an older term", OlderTerm, beta, func(r *FenceRequest) { r.Term = 6 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair()
			if err := p.Accept(beta, p.grant(t, p.ask()), 10); err != nil {
				t.Fatal(err)
			}
			p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
			r, _ := p.Grantor.Ask(alpha)
			if err := p.Heed(beta, cluster, 1, r); err != nil {
				t.Fatal(err)
			}
			c.change(&r)
			rejected(t, p.Heed(c.from, cluster, 1, r), p.Holder.Rejected(), c.reason)
		})
	}
}

func TestAcksRejected(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		from         lifecycle.NodeID
		change       func(p *pair, a *FenceAck)
	}{
		{"no field", Malformed, alpha, func(_ *pair, a *FenceAck) { *a = FenceAck{} }},
		{"in another name", WrongSender, gamma, func(*pair, *FenceAck) {}},
		{"of another cluster", OtherCluster, alpha, func(_ *pair, a *FenceAck) { a.Cluster = strings.Repeat("1", 32) }},
		{"of another epoch", OtherEpoch, alpha, func(_ *pair, a *FenceAck) { a.Epoch = 2 }},
		{"with another nonce", NotAsked, alpha, func(_ *pair, a *FenceAck) { a.Nonce = strings.Repeat("0", 32) }},
		{"of a question to somebody else", NotAsked, gamma, func(_ *pair, a *FenceAck) { a.Node = gamma }},
		{"of a question given up", NotAsked, alpha, func(p *pair, _ *FenceAck) { p.Grantor.Ask(alpha) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPair()
			f := p.Open(11, []lifecycle.NodeID{alpha, gamma}, p.terms)
			r, _ := p.Grantor.Ask(alpha)
			p.Advance(11)
			a := p.Answer(r)
			c.change(p, &a)
			rejected(t, p.Ack(c.from, a), p.Grantor.Rejected(), c.reason)
			for _, o := range f.Outcomes() {
				if o.Outcome != "" {
					t.Errorf("and yet: %+v", o)
				}
			}
		})
	}
	t.Run("second answer", func(t *testing.T) {
		p := newPair()
		p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
		r, _ := p.Grantor.Ask(alpha)
		a := p.Answer(r)
		if err := p.Ack(alpha, a); err != nil {
			t.Fatal(err)
		}
		rejected(t, p.Ack(alpha, a), p.Grantor.Rejected(), SecondAnswer)
	})
}

// TestGrantNeedsItsTerm: a round that confirmed another term sends nothing.
func TestGrantNeedsItsTerm(t *testing.T) {
	p := newPair()
	rec, err := p.Record(alpha, p.ask(), func() (uint64, Terms) { return 10, p.terms })
	if err != nil {
		t.Fatal(err)
	}
	if g, err := p.Grant(rec, 8); err == nil {
		t.Errorf("granted: %+v", g)
	}
	if _, err := p.Grant(Recorded{}, 7); err == nil {
		t.Error("what was never recorded is granted")
	}
}

// TestWhy: a node says why it does not sign.
func TestWhy(t *testing.T) {
	p := newPair()
	why := func(want string) {
		t.Helper()
		err := p.Usable(10)
		if !errors.Is(err, ledger.ErrNoLease) || !strings.Contains(err.Error(), want) || p.Status(10).Usable || !strings.Contains(p.Status(10).Why, want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	why("none was granted")
	p.index = 12
	if err := p.Accept(beta, p.grant(t, p.ask()), 10); err != nil {
		t.Fatal(err)
	}
	why("entry 12 and this node has applied 10")
	p.index = 10
	if err := p.Accept(beta, p.grant(t, p.ask()), 10); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(10); !s.Usable || s.ExpiresIn != p.terms.Duration || s.Term != 7 || s.Leader != beta {
		t.Errorf("%+v", s)
	}
	p.pass(p.terms.Duration + 250*time.Millisecond)
	why("ran out 250ms ago")
	p.Drop("the node is quarantined")
	why("the node is quarantined")
	if err := p.Accept(beta, p.grant(t, p.ask()), 10); err != nil {
		t.Fatal(err)
	}
	p.node.suspend(time.Second)
	why("suspended")
}
