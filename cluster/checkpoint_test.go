package cluster

import (
	"errors"
	"testing"

	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/fsm/store"
)

// watchful is a cluster that compares itself often.
func watchful(t *testing.T, n int) *lab {
	t.Helper()
	l := newLab(t)
	l.settings.CheckpointEvery = 200
	l.grow(n)
	return l
}

func (m *member) confirmed() state.Mark { return m.node.Load().View().Confirmed() }

func TestAgreeingClusterRecordsCheckpoints(t *testing.T) {
	l := watchful(t, 3)
	_, index := l.write()
	for _, m := range l.all() {
		l.eventually("a checkpoint past the write", func() bool { return m.confirmed().Index > index })
	}
	first := l.leader().confirmed()
	for _, m := range l.all() {
		if at := m.confirmed(); at.Index == first.Index && (string(at.Root) != string(first.Root) || string(at.Digest) != string(first.Digest)) {
			t.Errorf("%s confirmed something else", m.name)
		}
		if m.why() != nil {
			t.Errorf("%s stopped: %v", m.name, m.why())
		}
	}
	// When nothing happens, nothing is written.
	l.eventually("the log rests", func() bool {
		n := l.leader().node.Load()
		v := n.View()
		n.checkpoint(t.Context())
		return n.View().Position().Index == v.Position().Index && v.Position().Index == v.Confirmed().Index+1
	})
}

// TestAlteredStateFileStopsTheNode: found by reading the file at start, before
// anything was compared.
func TestAlteredStateFileStopsTheNode(t *testing.T) {
	l := newCluster(t, 3)
	f := l.others(l.leader())[0]
	token, _ := l.write()
	l.awaitRow(token, f)
	f.stop()
	f.alterRow(token, false)
	f.start()
	l.eventually("it stops", func() bool { return f.why() != nil })
	var altered *store.Altered
	if !errors.As(f.why(), &altered) {
		t.Errorf("it stopped because of %v", f.why())
	}
	l.writeAmong(l.others(f)...)
}

func TestDivergedFollowerStops(t *testing.T) {
	l := watchful(t, 3)
	f := l.others(l.leader())[0]
	token, _ := l.write()
	l.awaitRow(token, f)
	f.stop()
	f.alterRow(token, true)
	f.start()
	l.expectDivergence(f)
}

// TestDivergedLeaderStops: two voters agree against their leader.
func TestDivergedLeaderStops(t *testing.T) {
	l := watchful(t, 3)
	token, _ := l.write()
	l.awaitRow(token, l.all()...)
	wrong := l.all()[0]
	for _, m := range l.all() {
		m.stop()
	}
	wrong.alterRow(token, true)
	for _, m := range l.all() {
		m.start()
	}
	l.eventually("it leads, or has stopped already", func() bool {
		if wrong.why() != nil {
			return true
		}
		leader := l.leader()
		if leader != wrong {
			_ = leader.node.Load().TransferLeadership(t.Context(), wrong.id) // tried again until it leads
		}
		return leader == wrong
	})
	l.expectDivergence(wrong)
}

func (l *lab) expectDivergence(wrong *member) {
	l.t.Helper()
	l.eventually("it stops", func() bool { return wrong.why() != nil })
	var d *state.Divergence
	if !errors.As(wrong.why(), &d) {
		l.t.Errorf("it stopped because of %v", wrong.why())
	}
	rest := l.others(wrong)
	_, index := l.writeAmong(rest...)
	for _, m := range rest {
		l.eventually("the others go on and agree", func() bool { return m.confirmed().Index > index })
		if m.why() != nil {
			l.t.Errorf("%s stopped too: %v", m.name, m.why())
		}
	}
}
