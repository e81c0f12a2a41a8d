package lease

import (
	"errors"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const (
	cluster = "00112233445566778899aabbccddeeff"
	alpha   = lifecycle.NodeID("a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0")
	beta    = lifecycle.NodeID("b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0")
	gamma   = lifecycle.NodeID("c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0")
)

// hands are clocks that a test moves.
type hands struct{ Reading }

func (h *hands) clock() Reading { return h.Reading }

func (h *hands) pass(d time.Duration) { h.Reading = h.After(d) }

// suspend moves the clock that counts suspended time.
func (h *hands) suspend(d time.Duration) { h.Boot += d }

// pair is a node and a leader of term 7, each with clocks of its own.
type pair struct {
	node, leader hands
	*Holder
	*Grantor
	index uint64 // the leader's
	terms Terms
}

func newPair() *pair {
	p := &pair{node: hands{Reading{time.Hour, 2 * time.Hour}}, leader: hands{Reading{time.Minute, time.Minute}}, index: 10, terms: DefaultTerms()}
	p.Holder = NewHolder(alpha, p.node.clock, p.terms)
	p.Grantor = NewGrantor(Office{Cluster: cluster, Epoch: 1, Term: 7, Leader: beta, ElectedAt: p.leader.Reading, Clock: p.leader.clock, Wall: func() lifecycle.Instant { return 1 }})
	return p
}

func (p *pair) pass(d time.Duration) {
	p.node.pass(d)
	p.leader.pass(d)
}

func (p *pair) ask() Request {
	return p.Holder.Ask(Observed{Cluster: cluster, Epoch: 1, Applied: 10, HSMOK: true})
}

func (p *pair) grant(t *testing.T, r Request) Grant {
	t.Helper()
	rec, err := p.Record(alpha, r, func() (uint64, Terms) { return p.index, p.terms })
	if err != nil {
		t.Fatal(err)
	}
	g, err := p.Grant(rec, 7)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestLeaseAndFence(t *testing.T) {
	p := newPair()
	if err := p.Usable(10); !errors.Is(err, ledger.ErrNoLease) {
		t.Fatalf("a new process: %v", err)
	}
	g := p.grant(t, p.ask())
	p.pass(time.Second)
	if err := p.Accept(beta, g, 10); err != nil {
		t.Fatal(err)
	}
	if err := p.Usable(10); err != nil {
		t.Fatal(err)
	}
	if err := p.Usable(9); !errors.Is(err, ledger.ErrNoLease) {
		t.Fatalf("before its index: %v", err)
	}
	p.index = 11
	f := p.Open(11, []lifecycle.NodeID{alpha}, p.terms)
	if f.Done() || f.Left() != p.terms.Wait-time.Second {
		t.Fatalf("done %v, left %v", f.Done(), f.Left())
	}
	r, ok := p.Grantor.Ask(alpha)
	if !ok || r.Index != 11 {
		t.Fatalf("ask: %v %+v", ok, r)
	}
	if err := p.Heed(beta, cluster, 1, r); err != nil {
		t.Fatal(err)
	}
	p.Advance(11)
	if err := p.Ack(alpha, p.Answer(r)); err != nil {
		t.Fatal(err)
	}
	if got := f.Fenced(); !f.Done() || len(got) != 1 || got[0].Outcome != lifecycle.Acked || got[0].Boot != p.Boot() {
		t.Fatalf("done %v, %+v", f.Done(), got)
	}
	p.pass(2 * time.Second)
	if err := p.Usable(11); !errors.Is(err, ledger.ErrNoLease) {
		t.Fatalf("3 s after the request: %v", err)
	}
}
