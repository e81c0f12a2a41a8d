package cluster

import (
	"errors"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestClockOffset(t *testing.T) {
	const s = time.Second
	for name, c := range map[string]struct {
		voters  int
		offsets []time.Duration // of those heard, ours is zero and not among them
		want    time.Duration
	}{
		"alone":                         {1, nil, 0},
		"two that differ":               {2, []time.Duration{-10 * s}, 0},
		"two, the other way":            {2, []time.Duration{10 * s}, 0},
		"ours ahead of two":             {3, []time.Duration{-10 * s, -11 * s}, -10 * s},
		"ours behind two":               {3, []time.Duration{10 * s, 11 * s}, 10 * s},
		"one other wrong":               {3, []time.Duration{-10 * s, 0}, 0},
		"one heard, one silent":         {3, []time.Duration{-10 * s}, 0},
		"too few heard":                 {5, []time.Duration{-10 * s}, 0},
		"four, two against two":         {4, []time.Duration{-10 * s, -10 * s, 0}, 0},
		"four, three against us":        {4, []time.Duration{-10 * s, -10 * s, -10 * s}, -10 * s},
		"five, two wrong":               {5, []time.Duration{-10 * s, 10 * s, 1 * s, 0}, 0},
		"five, three of them heard":     {5, []time.Duration{9 * s, 8 * s}, 8 * s},
		"one far ahead of all the rest": {3, []time.Duration{-8760 * time.Hour, 0}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(nil)
			voters := []lifecycle.NodeID{"self"}
			for i := 1; i < c.voters; i++ {
				id := lifecycle.NodeID(rune('a' + i))
				voters = append(voters, id)
				if i <= len(c.offsets) {
					r.hear(Report{Node: id}, time.Minute, c.offsets[i-1])
				}
			}
			if got := r.clockOffset("self", voters, time.Minute+s); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
			if got := r.clockOffset("self", voters, time.Minute+clockHeardFor); got != 0 {
				t.Errorf("%s from what was said long ago", got)
			}
		})
	}
}

// TestDated: whoever leads, a node whose clock is set wrong dates nothing from that
// moment on, and again when it is right.
func TestDated(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	follower := l.others(leader)[0]
	dated := func(m *member) error { return m.node.Load().Dated() }
	for _, m := range []*member{leader, follower} {
		l.eventually("its clock is compared", func() bool { return dated(m) == nil })
	}
	for _, off := range []time.Duration{-24 * time.Hour, 10 * time.Second, 365 * 24 * time.Hour} {
		follower.offset.Store(int64(off))
		good := func() bool {
			s, err := follower.node.Load().Read(t.Context(), ledger.Freshness{Level: ledger.Bounded})
			return err == nil && s.Fresh
		}
		if err := dated(follower); !errors.Is(err, ErrWallClock) || good() {
			t.Errorf("set by %s: %v", off, err)
		}
		l.eventually("the leader tells so", func() bool { return follower.node.Load().freshest.Load().offset.Abs() > maxClockOffset })
		if err := dated(follower); !errors.Is(err, ErrWallClock) || good() {
			t.Errorf("off by %s: %v", off, err)
		}
		if got := follower.scrape()["chancery_cluster_wall_clock_usable"]; got != 0 {
			t.Errorf("off by %s its metric says %v", off, got)
		}
		if s, err := follower.node.Load().Read(t.Context(), ledger.Freshness{Level: ledger.Bounded}); err != nil || time.Since(s.AsOf).Abs() > maxClockOffset {
			t.Errorf("off by %s it reads as of %s: %v", off, s.AsOf, err)
		}
		follower.offset.Store(0)
		l.eventually("it dates again", func() bool { return dated(follower) == nil && good() })
	}
	if got := follower.scrape()["chancery_cluster_wall_clock_usable"]; got != 1 {
		t.Errorf("right again, its metric says %v", got)
	}
	if err := dated(leader); err != nil {
		t.Errorf("the leader, beside a follower that was wrong: %v", err)
	}
	leader.offset.Store(int64(10 * time.Second))
	if err := dated(leader); !errors.Is(err, ErrWallClock) {
		t.Errorf("a leader set by 10 s: %v", err)
	}
	next := l.leaderOf(l.others(leader)...)
	l.eventually("the next leader dates", func() bool { return dated(next) == nil })
	if err := dated(leader); !errors.Is(err, ErrWallClock) {
		t.Errorf("when it leads no more: %v", err)
	}
}

func TestLeaderWithWrongClockHandsOver(t *testing.T) {
	l := newCluster(t, 3)
	wrong := l.leader()
	wrong.offset.Store(int64(10 * time.Second))
	next := l.leaderOf(l.others(wrong)...)
	l.write()
	if _, off := next.node.Load().clockOff(); off {
		t.Error("one wrong clock among three puts the leader in the wrong")
	}
	var seen bool
	l.eventually("the offset shows in the status", func() bool {
		for _, r := range l.leader().node.Load().Status().Reports {
			seen = seen || r.Node == wrong.id && r.OffsetMS > 9000 && r.OffsetMS < 11000
		}
		return seen
	})
}

// TestLeaderWithWrongClockProposesNothing, not even before it has handed leadership
// over. Long leases make that rare, and when it has come to it the next leader is tried.
func TestLeaderWithWrongClockProposesNothing(t *testing.T) {
	l := newLab(t)
	l.settings.Lease = 60 * lifecycle.Second
	l.refresh = time.Hour
	l.grow(3)
	l.restart()
	goesOn := func() bool {
		leader := l.leader()
		if _, err := leader.read(linearizable); err != nil { // hears the voters
			return false
		}
		_, err := leader.propose(t.Context(), l.joinToken())
		return err == nil
	}
	l.eventually("it refuses", func() bool {
		wrong := l.leader()
		wrong.offset.Store(int64(-10 * time.Second))
		defer wrong.offset.Store(0)
		if _, err := wrong.read(linearizable); err != nil {
			return false
		}
		_, err := wrong.propose(t.Context(), l.joinToken())
		return errors.Is(err, ledger.ErrClock)
	})
	l.eventually("it goes on", goesOn)
}

// TestLongStop: after two days without a cluster every command would lie too far
// ahead of the state's clock.
func TestLongStop(t *testing.T) {
	l := newCluster(t, 2)
	before := l.leader().node.Load().View().Clock()
	for _, m := range l.all() {
		m.stop()
		m.offset.Store(int64(48 * time.Hour))
	}
	for _, m := range l.all() {
		m.start()
	}
	l.eventually("the clock has caught up", func() bool {
		return l.leader().node.Load().View().Clock() > before.Add(47*lifecycle.Hour)
	})
	l.write()
}
