package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
)

var (
	linearizable = ledger.Freshness{Level: ledger.Linearizable}
	bounded      = ledger.Freshness{Level: ledger.Bounded}
	stale        = ledger.Freshness{Level: ledger.Stale}
)

// pastBound jumps a member's lease clock over the bound of a bounded read.
func (m *member) pastBound() { m.jump.Add(int64(ledger.DefaultBound + time.Second)) }

// refusesFresh checks that nothing a member serves may be called good.
func refusesFresh(t *testing.T, m *member) {
	t.Helper()
	for name, f := range map[string]ledger.Freshness{"bounded": bounded, "linearizable": linearizable} {
		s, err := m.read(f)
		if err == nil || s.Fresh {
			t.Errorf("%s read on %s: fresh %v, staleness %s, %v", name, m.name, s.Fresh, s.Staleness, err)
		}
		if !errors.Is(err, ledger.ErrStale) && !errors.Is(err, ledger.ErrNotLeader) {
			t.Errorf("%s read on %s is refused as %v", name, m.name, err)
		}
	}
	s, err := m.read(stale)
	if err != nil || s.Fresh || s.View == nil {
		t.Errorf("stale read on %s: fresh %v, %v", m.name, s.Fresh, err)
	}
}

func (l *lab) awaitFresh(members ...*member) {
	l.t.Helper()
	for _, m := range members {
		l.eventually(m.name+" is fresh", func() bool { s, err := m.read(bounded); return err == nil && s.Fresh })
	}
}

func TestEveryNodeReads(t *testing.T) {
	l := newCluster(t, 3)
	reader := l.join() // without a vote
	l.awaitFresh(l.all()...)
	for range 10 {
		token, _ := l.write()
		for _, m := range l.all() {
			s, err := m.read(linearizable)
			if err != nil || !s.Fresh || s.JoinToken(token) == nil {
				t.Fatalf("linearizable read on %s: fresh %v, has the last write %v, %v", m.name, s.Fresh, err == nil && s.JoinToken(token) != nil, err)
			}
			if s.AsOf.IsZero() || s.Level != ledger.Linearizable {
				t.Errorf("%s: as of %s, level %d", m.name, s.AsOf, s.Level)
			}
		}
	}
	if s, err := reader.read(stale); err != nil || s.Fresh {
		t.Errorf("a stale read says fresh: %v, %v", s.Fresh, err)
	}
}

// TestBoundedReadsCostNoRoundTrip cuts a follower's questions off, so that one asked
// by a read would not be answered, and counts them.
func TestBoundedReadsCostNoRoundTrip(t *testing.T) {
	l := newCluster(t, 3)
	f := l.others(l.leader())[0]
	token, index := l.write()
	l.awaitRow(token, f)
	l.awaitFresh(f)
	l.network.cut(peerPath, f, l.others(f)...)
	before := l.network.questions(f)
	const reads = 2000
	for range reads {
		if s, err := f.read(ledger.Freshness{MinIndex: index}); err != nil || !s.Fresh {
			t.Fatalf("fresh %v, %v", s.Fresh, err)
		}
	}
	// What was asked meanwhile is the renewal of the proof, at its own pace.
	if asked := l.network.questions(f) - before; asked > reads/100 {
		t.Errorf("%d reads asked %d questions", reads, asked)
	}
}

func TestReadAtPosition(t *testing.T) {
	l := newCluster(t, 2)
	m := l.others(l.leader())[0]
	l.awaitFresh(m)
	at := m.node.Load().View().Position()
	for name, c := range map[string]struct {
		f    ledger.Freshness
		want error
	}{
		"here":              {ledger.Freshness{MinEpoch: at.Epoch, MinIndex: at.Index}, nil},
		"index alone":       {ledger.Freshness{MinIndex: at.Index}, nil},
		"not written yet":   {ledger.Freshness{MinEpoch: at.Epoch, MinIndex: at.Index + 1000}, ledger.ErrBehind},
		"of another log":    {ledger.Freshness{MinEpoch: at.Epoch, MinIndex: at.Index + 1<<40}, ledger.ErrBehind},
		"another epoch":     {ledger.Freshness{MinEpoch: at.Epoch + 1, MinIndex: at.Index}, ledger.ErrEpoch},
		"stale, same rules": {ledger.Freshness{Level: ledger.Stale, MinEpoch: at.Epoch, MinIndex: at.Index + 1000}, ledger.ErrBehind},
	} {
		if _, err := m.read(c.f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	got := make(chan error, 1)
	go func() {
		s, err := m.read(ledger.Freshness{MinEpoch: at.Epoch, MinIndex: at.Index + 1})
		if err == nil && s.Position().Index <= at.Index {
			err = errors.New("answered from an older state")
		}
		got <- err
	}()
	l.write()
	if err := <-got; err != nil {
		t.Errorf("a read that waits: %v", err)
	}
}

func TestCutOffFollowerIsStale(t *testing.T) {
	l := newCluster(t, 3)
	f := l.others(l.leader())[0]
	l.awaitFresh(f)
	old, _ := l.write()
	l.awaitRow(old, f)
	l.network.isolate(f, true)
	missed, _ := l.write()
	if s, err := f.read(linearizable); err == nil || s.Fresh {
		t.Errorf("linearizable read without a leader: %v, %v", s.Fresh, err)
	}
	f.pastBound()
	refusesFresh(t, f)
	l.eventually("it has lost the leader", func() bool { return f.node.Load().Leadership().Leader == "" })
	refusesFresh(t, f)
	if !f.has(old) || f.has(missed) {
		t.Errorf("what it knew: %v, what it cannot know: %v", f.has(old), f.has(missed))
	}
	l.network.isolate(f, false)
	l.awaitFresh(f)
	if !f.has(missed) {
		t.Error("fresh without a write that was acknowledged before")
	}
}

// TestLeaderAmongNonvoters: three of five servers are on its side, and one of three
// voters. raft's VerifyLeader would pass here.
func TestLeaderAmongNonvoters(t *testing.T) {
	l := newCluster(t, 3)
	side := []*member{l.join(), l.join(), l.leader()}
	l.awaitFresh(side...)
	rest := l.others(side...)
	l.network.split(side, rest)
	for _, m := range side {
		if s, err := m.read(linearizable); err == nil || s.Fresh {
			t.Errorf("linearizable read on %s: %v, %v", m.name, s.Fresh, err)
		}
		m.pastBound()
		refusesFresh(t, m)
	}
	l.leaderOf(rest...)
	for _, m := range side {
		refusesFresh(t, m)
	}
	token, _ := l.writeAmong(rest...)
	l.network.heal()
	l.awaitFresh(side...)
	for _, m := range side {
		if !m.has(token) {
			t.Errorf("%s is fresh without a write of the other side", m.name)
		}
	}
}

// TestStarvedReplication cuts what the leader replicates and leaves the calls of
// peers alive: the read index comes, the entries do not.
func TestStarvedReplication(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	f := l.others(leader)[0]
	l.awaitFresh(f)
	l.network.cut(raftPath, leader, f)
	token, _ := l.writeAmong(l.others(f)...)
	f.pastBound()
	refusesFresh(t, f)
	if f.has(token) {
		t.Fatal("the entry came over a cut link")
	}
	l.network.heal()
	l.awaitFresh(f)
	if !f.has(token) {
		t.Error("fresh without the entry")
	}
}

// TestHeartbeatsAreNoFreshness lets a follower hear its leader as ever, and keeps the
// entries from it: it has no reason to ask for an election, and must not say good.
func TestHeartbeatsAreNoFreshness(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	f := l.others(leader)[0]
	l.awaitFresh(f)
	l.network.cut(entryPath, leader, f)
	token, _ := l.writeAmong(l.others(f)...)
	heard := l.network.starved.Load()
	l.eventually("it goes on hearing heartbeats", func() bool { return l.network.starved.Load() > heard+5 })
	if lead := f.node.Load().Leadership(); lead.Leader != leader.id {
		t.Errorf("it follows %q", lead.Leader.Short())
	}
	f.pastBound()
	refusesFresh(t, f)
	if f.has(token) {
		t.Fatal("the entry came over a link that carries none")
	}
	l.network.heal()
	l.awaitFresh(f)
	if !f.has(token) {
		t.Error("fresh without the entry")
	}
}

func TestRestartedAloneIsNeverFresh(t *testing.T) {
	l := newCluster(t, 3)
	f := l.others(l.leader())[0]
	token, _ := l.write()
	l.awaitRow(token, f)
	f.stop()
	l.network.isolate(f, true)
	f.start()
	if !f.has(token) {
		t.Error("it does not know what it knew")
	}
	refusesFresh(t, f)
	<-f.node.Load().Verified()
	refusesFresh(t, f)
	l.network.isolate(f, false)
	l.awaitFresh(f)
}
