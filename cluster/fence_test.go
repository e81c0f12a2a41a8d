package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// shortLease is long enough that a busy machine renews it, and short enough to wait
// for its end.
const shortLease = 2 * lifecycle.Second

// leasing is a cluster of n voters whose leases are short, with a watch on the
// promise of fences.
func leasing(t *testing.T, n int) *lab {
	t.Helper()
	l := newLab(t)
	l.settings.Lease, l.settings.RequestAge = shortLease, lifecycle.Second
	l.grow(n)
	l.noReleaseBehindAFence()
	l.awaitLease(l.all()...)
	return l
}

func (m *member) usable() error { n := m.node.Load(); return n.Usable(n.View()) }

func (l *lab) awaitLease(members ...*member) {
	l.t.Helper()
	for _, m := range members {
		l.eventually(m.name+" has a lease", func() bool { return m.usable() == nil })
	}
}

func (l *lab) awaitNoLease(members ...*member) {
	l.t.Helper()
	for _, m := range members {
		l.eventually(m.name+" has no lease", func() bool { return m.usable() != nil })
	}
}

// noReleaseBehindAFence samples, until the test ends, whether a node could release a
// signature made from a state before an entry that somebody calls fenced.
func (l *lab) noReleaseBehindAFence() {
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			fenced := uint64(0)
			for _, m := range l.all() {
				if n := m.node.Load(); n != nil {
					for _, f := range n.View().UnsettledFences() {
						fenced = max(fenced, f.Index)
					}
				}
			}
			for _, m := range l.all() {
				if n := m.node.Load(); n != nil {
					if v := n.View(); v.Position().Index < fenced && n.Usable(v) == nil {
						l.t.Errorf("%s may release from the state at %d, and %d is fenced", m.name, v.Position().Index, fenced)
						return
					}
				}
			}
			time.Sleep(time.Millisecond) // a sample, not a wait
		}
	})
	l.t.Cleanup(func() { cancel(); done.Wait() })
}

// principal is somebody who can be revoked.
func (l *lab) principal() string {
	l.t.Helper()
	name := fmt.Sprintf("p-%04d", l.tokens.Add(1))
	l.must(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service}})
	return name
}

// withdraw commits a narrowing entry and returns its index.
func (l *lab) withdraw(name string, among ...*member) uint64 {
	l.t.Helper()
	if len(among) == 0 {
		among = l.all()
	}
	return l.mustAmong(&command.RevokePrincipal{Name: name}, among...).Index
}

// fenced waits until a member knows that a fence stands.
func (m *member) fenced(index uint64) *lifecycle.Fence {
	m.lab.t.Helper()
	var f *lifecycle.Fence
	m.lab.eventually(fmt.Sprintf("the fence of %d", index), func() bool {
		f = m.node.Load().View().Fence(index)
		return f != nil && f.FencedAt != 0
	})
	return f
}

// outcomes of a fence, in the order of the members.
func (l *lab) outcomes(f *lifecycle.Fence) string {
	var out []string
	for _, m := range l.all() {
		for _, n := range f.Nodes {
			if n.Node == m.id {
				out = append(out, m.name+" "+string(n.Outcome))
			}
		}
	}
	return strings.Join(out, ", ")
}

func TestEveryNodeAcknowledges(t *testing.T) {
	l := leasing(t, 3)
	r := l.withdraw(l.principal())
	f := l.leader().fenced(r)
	for _, m := range l.all() {
		i := slices.IndexFunc(f.Nodes, func(n lifecycle.FencedNode) bool { return n.Node == m.id })
		if i < 0 || f.Nodes[i].Outcome != lifecycle.Acked || f.Nodes[i].Boot != m.node.Load().holder.Boot() {
			t.Errorf("%s: %+v", m.name, f.Nodes)
		}
		if at := m.drawn.Load(); at < r {
			t.Errorf("%s acknowledged %d with its gate drained for %d", m.name, r, at)
		}
	}
	l.eventually("it is settled everywhere", func() bool {
		for _, m := range l.all() {
			if f := m.node.Load().View().Fence(r); f == nil || f.SettledAt == 0 {
				return false
			}
		}
		return true
	})
	f = l.leader().node.Load().View().Fence(r)
	if wait := f.SettledAt - f.OpenedAt; wait < lifecycle.Instant(1250*time.Millisecond/time.Millisecond) {
		t.Errorf("settled %d ms after it was opened, with requests of a second", wait)
	}
	if open := l.leader().node.Load().Fencing(r); open != nil {
		t.Errorf("the leader still drives it: %+v", open)
	}
	for _, m := range l.all() {
		if m.usable() != nil {
			t.Errorf("%s lost its lease by acknowledging", m.name)
		}
	}
}

func TestUnheardNodeRunsOut(t *testing.T) {
	l := leasing(t, 3)
	leader := l.leader()
	cut := l.others(leader)[0]
	name := l.principal()
	l.network.isolate(cut, true)
	began := time.Now()
	r := l.withdraw(name, l.others(cut)...)
	var pending bool
	l.eventually("it waits for the node that is cut off", func() bool {
		for _, o := range leader.node.Load().Fencing(r) {
			pending = pending || o.Node == cut.id && o.Outcome == "" && o.Left > 0
		}
		return pending || leader.node.Load().View().Fence(r).FencedAt != 0
	})
	f := leader.fenced(r)
	took := time.Since(began)
	if cut.usable() == nil {
		t.Error("fenced, and the node that was cut off may sign")
	}
	for _, n := range f.Nodes {
		want := lifecycle.Acked
		if n.Node == cut.id {
			want = lifecycle.LeaseExpired
		}
		if n.Outcome != want {
			t.Errorf("%s: %s", l.member(n.Node).name, n.Outcome)
		}
	}
	if wait := 5 * shortLease / 4; !pending || took > time.Duration(wait)*time.Millisecond+5*time.Second {
		t.Errorf("fenced after %s, pending %v", took, pending)
	}
	l.network.isolate(cut, false)
	l.awaitLease(cut)
}

// TestTwoFencesAtOnce: one node hears of neither at first, and then of both.
func TestTwoFencesAtOnce(t *testing.T) {
	l := leasing(t, 3)
	leader := l.leader()
	f := l.others(leader)[0]
	a, b := l.principal(), l.principal()
	l.network.cut(bothPaths, leader, f)
	first, second := l.withdraw(a, leader), l.withdraw(b, leader)
	l.network.heal()
	for _, r := range []uint64{first, second} {
		if got := leader.fenced(r); len(got.Nodes) != 3 {
			t.Errorf("%d: %s", r, l.outcomes(got))
		}
	}
}

// TestNextLeaderGoesOn kills the leader right after the entry, when nobody was asked.
func TestNextLeaderGoesOn(t *testing.T) {
	for name, how := range map[string]func(l *lab, leader *member){
		"killed":                   func(_ *lab, leader *member) { leader.crash() },
		"cut off, and a zombie":    func(l *lab, leader *member) { l.network.isolate(leader, true) },
		"hands leadership over":    func(l *lab, leader *member) { l.handOver(leader, l.others(leader)...) },
		"killed, and back at once": func(_ *lab, leader *member) { leader.crash(); leader.start() },
	} {
		t.Run(name, func(t *testing.T) {
			l := leasing(t, 3)
			leader := l.leader()
			who := l.principal()
			l.network.cut(peerPath, leader, l.others(leader)...) // it asks, and nobody hears
			r := l.withdraw(who, leader)
			how(l, leader)
			l.network.cut(0, leader, l.others(leader)...)
			next := l.others(leader)
			if name == "killed, and back at once" {
				next = l.all()
			}
			l.leaderOf(next...)
			got := next[0].fenced(r)
			if len(got.Nodes) != 3 {
				t.Errorf("%s", l.outcomes(got))
			}
			if n := leader.node.Load(); n != nil && n.View().Position().Index < r && leader.usable() == nil {
				t.Error("the former leader may sign with what was withdrawn")
			}
			l.eventually("it is settled", func() bool { return next[0].node.Load().View().Fence(r).SettledAt != 0 })
		})
	}
}

// TestNextLeaderWaitsForLeasesItNeverSaw: the node that is cut off got its lease from
// the leader that is gone.
func TestNextLeaderWaitsForLeasesItNeverSaw(t *testing.T) {
	l := newLab(t)
	l.settings.Lease, l.settings.RequestAge = 8*lifecycle.Second, lifecycle.Second
	l.grow(3)
	l.noReleaseBehindAFence()
	l.awaitLease(l.all()...)
	who := l.principal()
	leader := l.leader()
	cut, rest := l.others(leader)[0], l.others(leader)[1]
	l.network.isolate(cut, true)
	r := l.withdraw(who, leader, rest)
	if cut.usable() != nil {
		t.Fatal("the test needs a lease that is still out")
	}
	// The two that hear of each other change places: no new lease reaches the third.
	l.handOver(leader, rest)
	if n := rest.node.Load(); n.View().Fence(r).FencedAt != 0 && cut.usable() == nil {
		t.Error("fenced while a lease of the former leader is out")
	}
	rest.fenced(r)
	if cut.usable() == nil {
		t.Error("fenced while a lease of the former leader is out")
	}
}

// TestNonvotersCannotConfirmALease: three of five servers are on the leader's side,
// and one of three voters.
func TestNonvotersCannotConfirmALease(t *testing.T) {
	l := leasing(t, 3)
	side := []*member{l.join(), l.join(), l.leader()}
	for _, m := range side[:2] {
		l.must(&command.SetNodeRoles{ID: m.id, Signer: true})
	}
	l.awaitLease(side...)
	who := l.principal()
	rest := l.others(side...)
	l.network.split(side, rest)
	r := l.withdraw(who, rest...)
	l.leaderOf(rest...).fenced(r)
	for _, m := range side {
		if m.usable() == nil {
			t.Errorf("%s may sign on the side of the minority", m.name)
		}
	}
	l.network.heal()
	l.awaitLease(side...)
}

// TestStarvedNodeHasNoLease: calls reach it and entries do not. It hears of the entry only
// while it still takes the leader for one: a write that was slower than that is made again.
func TestStarvedNodeHasNoLease(t *testing.T) {
	l := leasing(t, 3)
	l.eventually("it says why", func() bool {
		leader := l.leader()
		f := l.others(leader)[0]
		l.network.cut(raftPath, leader, f)
		l.writeAmong(l.others(f)...)
		var why error
		l.eventually(f.name+" has no lease", func() bool { why = f.usable(); return why != nil })
		l.network.heal()
		l.awaitLease(f)
		return strings.Contains(why.Error(), "is for entry")
	})
}

// TestStarvedNodeDoesNotAcknowledge: it hears of the fence and not of the entry.
func TestStarvedNodeDoesNotAcknowledge(t *testing.T) {
	l := leasing(t, 3)
	leader := l.leader()
	f := l.others(leader)[0]
	who := l.principal()
	l.network.cut(raftPath, leader, f)
	r := l.withdraw(who, leader)
	got := leader.fenced(r)
	if f.node.Load().View().Position().Index >= r {
		t.Fatal("the entry came over a cut link")
	}
	if f.usable() == nil || !strings.Contains(l.outcomes(got), f.name+" "+string(lifecycle.LeaseExpired)) {
		t.Errorf("%s; it may sign: %v", l.outcomes(got), f.usable() == nil)
	}
	l.network.heal()
	l.awaitLease(f)
}

func TestRestartEndsTheLease(t *testing.T) {
	l := leasing(t, 3)
	f := l.others(l.leader())[0]
	before := f.node.Load().holder.Boot()
	f.stop()
	l.network.isolate(f, true)
	f.start()
	<-f.node.Load().Verified()
	if f.usable() == nil || f.node.Load().holder.Boot() == before {
		t.Error("a new process has the lease of the one before")
	}
	if at := f.node.Load().holder.Fenced(); at != f.node.Load().fsm.Position().Index {
		t.Errorf("it vouches for %d", at)
	}
	l.network.isolate(f, false)
	l.awaitLease(f)
}

// TestQuarantineAndRemoval: a node is removed when nothing that it could sign with is
// out any more, and fences do not wait for it then.
func TestQuarantineAndRemoval(t *testing.T) {
	l := leasing(t, 4)
	leader := l.leader()
	gone := l.others(leader)[0]
	l.network.isolate(gone, true)
	rest := l.others(gone)
	r := l.mustAmong(&command.SetNodeStatus{ID: gone.id, Status: lifecycle.Quarantined, Reason: "lost"}, rest...).Index
	if o, err := l.leaderOf(rest...).propose(t.Context(), &command.SetNodeStatus{ID: gone.id, Status: lifecycle.Removed, Reason: "lost"}); err != nil || o.Code != state.NotFenced {
		t.Errorf("removed before the fence: %+v, %v", o, err)
	}
	if f := l.leaderOf(rest...).fenced(r); !strings.Contains(l.outcomes(f), gone.name+" "+string(lifecycle.LeaseExpired)) {
		t.Errorf("%s", l.outcomes(f))
	}
	l.network.isolate(gone, false)
	l.eventually("it knows that it is quarantined", func() bool {
		err := gone.usable()
		return err != nil && strings.Contains(err.Error(), string(lifecycle.Quarantined))
	})
	l.mustAmong(&command.SetNodeStatus{ID: gone.id, Status: lifecycle.Removed, Reason: "lost"}, rest...)
	n := l.leaderOf(rest...).node.Load()
	req := gone.node.Load().holder.Ask(gone.observed())
	if g := n.recordLease(gone.id, n.Leadership().Term, &req); g.grantor != nil || !strings.Contains(g.refused, "removed") {
		t.Errorf("a removed node is granted a lease: %+v", g)
	}
	who := l.principal()
	if f := l.leaderOf(rest...).fenced(l.withdraw(who, rest...)); strings.Contains(l.outcomes(f), gone.name) {
		t.Errorf("%s", l.outcomes(f))
	}
}
