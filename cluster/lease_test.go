package cluster

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// observed is what a node would say of itself to get a lease.
func (m *member) observed() lease.Observed {
	n := m.node.Load()
	at, digest := n.fsm.Digest()
	c := n.View().Cluster()
	return lease.Observed{Cluster: c.ID, Epoch: c.Epoch, Applied: at.Index, LogSize: at.LogSize, Root: at.LogRoot[:], Digest: digest[:], HSMOK: true}
}

// TestReasonsToHoldNoLease: the node drops its lease by itself, says why, and has it
// back when the reason has gone.
func TestReasonsToHoldNoLease(t *testing.T) {
	l := leasing(t, 3)
	for i, m := range l.all() {
		var set func(string)
		why := "on purpose"
		if set = func(s string) { m.hold.Store(s) }; i%2 == 1 {
			set = func(s string) { m.hsm.Store(s) }
		}
		set(why)
		l.eventually("it has no lease", func() bool {
			err := m.usable()
			return errors.Is(err, ledger.ErrNoLease) && strings.Contains(err.Error(), why)
		})
		l.eventually("the leader hears of it", func() bool {
			for _, r := range l.leader().node.Load().Status().Reports {
				if r.Node == m.id && !r.Lease.Usable && strings.Contains(r.Lease.Why, why) && r.Lease.ExpiresInMS == 0 {
					return true
				}
			}
			return false
		})
		set("")
		l.awaitLease(m)
	}
}

func TestLeaseEndsByItsHoldersClock(t *testing.T) {
	l := leasing(t, 3)
	f := l.others(l.leader())[0]
	l.eventually("it is cut off while its lease is out", func() bool {
		l.network.heal()
		l.awaitLease(f)
		l.network.isolate(f, true)
		return f.usable() == nil
	})
	f.leap.Add(int64(shortLease) * int64(time.Millisecond))
	if err := f.usable(); err == nil || !strings.Contains(err.Error(), "ran out") {
		t.Errorf("past its end: %v", err)
	}
}

func TestGivenUpForGood(t *testing.T) {
	l := leasing(t, 3)
	m := l.leader()
	m.node.Load().GiveUpLease("it is stopping")
	if err := m.usable(); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("%v", err)
	}
	if r := m.node.Load(); r.askLease(r.Leadership()) != nil {
		t.Error("it asks for another")
	}
}

// TestWrongRateHoldsNoLease: by its own count its leases would last a third longer
// than they do.
func TestWrongRateHoldsNoLease(t *testing.T) {
	l := leasing(t, 3)
	f := l.others(l.leader())[0]
	f.run(75)
	l.eventually("it finds out", func() bool {
		err := f.usable()
		return err != nil && strings.Contains(err.Error(), "clock rate")
	})
	for _, m := range l.others(f) {
		l.awaitLease(m)
	}
}

// TestLeaderWithWrongRateHandsOver: nobody can rely on how it waits.
func TestLeaderWithWrongRateHandsOver(t *testing.T) {
	l := leasing(t, 3)
	wrong := l.leader()
	wrong.run(130)
	l.eventually("another leads, and grants leases", func() bool {
		for _, m := range l.others(wrong) {
			if !m.node.Load().Leadership().Ready {
				continue
			}
			for _, m := range l.others(wrong) {
				if m.usable() != nil {
					return false
				}
			}
			return true
		}
		return false
	})
}

// TestLeaderRefusesLeases is the judgement of a request that names the truth but for
// one thing.
func TestLeaderRefusesLeases(t *testing.T) {
	l := leasing(t, 2)
	leader := l.leader()
	f := l.others(leader)[0]
	n := leader.node.Load()
	term := n.Leadership().Term
	for name, c := range map[string]struct {
		change func(*lease.Observed)
		want   string
	}{
		"key store":     {func(o *lease.Observed) { o.HSMOK = false }, "key store"},
		"other state":   {func(o *lease.Observed) { o.Digest = make([]byte, 32) }, "differs"},
		"other log":     {func(o *lease.Observed) { o.LogSize++ }, "differs"},
		"other epoch":   {func(o *lease.Observed) { o.Epoch++ }, "epoch"},
		"other cluster": {func(o *lease.Observed) { o.Cluster = strings.Repeat("cd", 16) }, "cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			o := leader.observed() // at an equal index
			c.change(&o)
			r := lease.NewHolder(f.id, f.clock, lease.DefaultTerms()).Ask(o)
			if g := n.recordLease(f.id, term, &r); g.grantor != nil || !strings.Contains(g.refused, c.want) {
				t.Errorf("granted %v, refused %q", g.grantor != nil, g.refused)
			}
		})
	}
	r := lease.NewHolder(f.id, f.clock, lease.DefaultTerms()).Ask(f.observed())
	if g := n.recordLease(leader.id, term, &r); g.grantor != nil {
		t.Error("a node asks in another's name")
	}
	if g := n.recordLease(f.id, term+1, &r); g.grantor != nil {
		t.Error("a lease of a term that this node does not lead")
	}
	if g := n.recordLease(f.id, term, &r); g.grantor == nil {
		t.Errorf("refused: %s", g.refused)
	} else if grant, _ := n.grant(g, term+1); grant != nil {
		t.Error("granted in another term than the voters confirmed")
	}
}

func TestFenceRequestsAreChecked(t *testing.T) {
	l := leasing(t, 2)
	leader := l.leader()
	f := l.others(leader)[0].node.Load()
	c := f.View().Cluster()
	good := lease.FenceRequest{Cluster: c.ID, Epoch: c.Epoch, Nonce: nonce(), Index: f.View().Position().Index, Term: f.Leadership().Term, Leader: leader.id}
	if a, err := f.HandleFence(t.Context(), leader.id, good); err != nil || a.Fenced < good.Index || a.Nonce != good.Nonce {
		t.Fatalf("%+v, %v", a, err)
	}
	for name, change := range map[string]func(*lease.FenceRequest){
		"another cluster":   func(r *lease.FenceRequest) { r.Cluster = strings.Repeat("cd", 16) },
		"another epoch":     func(r *lease.FenceRequest) { r.Epoch++ },
		"another's name":    func(r *lease.FenceRequest) { r.Leader = f.ID },
		"never applied":     func(r *lease.FenceRequest) { r.Index += 1000 },
		"an earlier leader": func(r *lease.FenceRequest) { r.Term = 1 },
	} {
		r := good
		change(&r)
		if a, err := f.HandleFence(t.Context(), leader.id, r); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

// TestSnapshotEndsTheLease: it was for the state that is replaced.
func TestSnapshotEndsTheLease(t *testing.T) {
	l := newCluster(t, 1)
	var dropped []string
	g := &installGuard{FSM: l.leader().node.Load().fsm, fatal: func(error) {}, drop: func(why string) { dropped = append(dropped, why) }, forsake: func() error { return nil }}
	if err := g.Restore(io.NopCloser(strings.NewReader("no snapshot"))); err == nil {
		t.Error("restored from nothing")
	}
	if len(dropped) != 2 {
		t.Errorf("dropped %q: once before and once after", dropped)
	}
}

// TestElectionIsDatedOnce: the reading is the first of a term, whatever is seen later.
func TestElectionIsDatedOnce(t *testing.T) {
	var o office
	at := func(d time.Duration) lease.Reading { return lease.Reading{Raw: d, Boot: d} }
	o.elected(3, at(1))
	o.elected(3, at(2))
	if o.electedAt != at(1) {
		t.Errorf("%v", o.electedAt)
	}
	o.elected(4, at(5))
	if o.electedAt != at(5) || o.term != 4 {
		t.Errorf("%v in term %d", o.electedAt, o.term)
	}
}

// TestShorterLeaseHoldsAtOnce: leases that are out are cut, and fences wait for the
// longer ones until the entry that shortened them is fenced.
func TestShorterLeaseHoldsAtOnce(t *testing.T) {
	l := newLab(t)
	l.settings.Lease = 20 * lifecycle.Second
	l.grow(2)
	l.awaitLease(l.all()...)
	s := l.settings
	s.Lease = shortLease
	s.RequestAge = lifecycle.Second
	r := l.must(&command.SetSettings{Settings: s}).Index
	l.leader().fenced(r)
	for _, m := range l.all() {
		if left := m.node.Load().leaseReport(r).ExpiresInMS; left > int64(shortLease) {
			t.Errorf("%s holds a lease for %d ms", m.name, left)
		}
	}
	if got := terms(l.leader().node.Load().View()).Wait; got != lease.TermsOf(lasting(shortLease), time.Second).Wait {
		t.Errorf("fences wait %s", got)
	}
}
