package cluster

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// compact makes a member keep no more than two entries behind a snapshot, and cuts one.
func (m *member) compact() {
	m.lab.t.Helper()
	n := m.node.Load()
	config := n.raft.ReloadableConfig()
	config.TrailingLogs = 2
	if err := n.raft.ReloadConfig(config); err != nil {
		m.lab.t.Fatal(err)
	}
	m.lab.eventually("a snapshot", func() bool { return n.Snapshot() == nil })
}

// TestSnapshotInstall brings a node that is behind everything in the logs up to
// date, while it is being read.
func TestSnapshotInstall(t *testing.T) {
	l := newCluster(t, 3)
	f := l.others(l.leader())[0]
	f.stop()
	rest := l.others(f)
	var token string
	for range 20 {
		token, _ = l.writeAmong(rest...)
	}
	for _, m := range rest {
		l.awaitRow(token, m)
		m.compact()
	}
	last, _ := l.writeAmong(rest...)
	f.start()
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		reads := 0
		defer func() { done <- reads }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			s, err := f.node.Load().Read(t.Context(), bounded)
			if err == nil && s.Fresh && s.JoinToken(last) == nil {
				t.Error("fresh without a write acknowledged before it started")
				return
			}
			if s, err = f.node.Load().Read(t.Context(), stale); err != nil || s.Cluster() == nil {
				t.Errorf("a stale read while the state is replaced: %v", err)
				return
			}
			reads++
		}
	}()
	l.awaitRow(last, f)
	l.awaitFresh(f)
	close(stop)
	if reads := <-done; reads == 0 {
		t.Error("nothing was read")
	}
	if g := f.node.Load().fsm.Generation(); g != 2 {
		t.Errorf("generation %d: no snapshot was installed", g)
	}
	newcomer := l.join()
	l.awaitRow(last, newcomer)
	if g := newcomer.node.Load().fsm.Generation(); g != 2 {
		t.Errorf("generation %d: the newcomer was sent no snapshot", g)
	}
	l.promote(newcomer)
}

// TestSnapshotInstallDuringAFence withdraws while a follower hears calls and gets no
// entry, and then sends it a snapshot in place of the entry: the fence waits for it, and
// so does a follower that was sent the open fence in a snapshot and leads next.
func TestSnapshotInstallDuringAFence(t *testing.T) {
	l := newLab(t)
	l.settings.Lease, l.settings.RequestAge = 6*lifecycle.Second, lifecycle.Second
	l.grow(3)
	cut := l.join()
	l.must(&command.SetNodeRoles{ID: cut.id, Signer: true})
	l.noReleaseBehindAFence()
	l.awaitLease(l.all()...)
	who := l.principal()
	leader := l.leader()
	f := l.others(leader, cut)[0]
	rest := l.others(f, cut)
	l.network.isolate(cut, true)
	for _, m := range rest {
		l.network.cut(raftPath, m, f)
	}
	r := l.withdraw(who, rest...)
	if f.usable() != nil {
		t.Fatal("the test needs a lease that is still out")
	}
	l.eventually("the others have acknowledged, and it has not", func() bool {
		acked := 0
		for _, o := range leader.node.Load().Fencing(r) {
			if o.Node == f.id && o.Outcome != "" {
				t.Fatalf("%s is %s and has not got the entry", f.name, o.Outcome)
			}
			if o.Outcome == lifecycle.Acked {
				acked++
			}
		}
		return acked == len(rest)
	})
	for range 5 {
		l.writeAmong(rest...)
	}
	for _, m := range rest {
		m.compact()
	}
	drains := f.drains.Load()
	for _, m := range rest {
		l.network.cut(0, m, f)
	}
	l.eventually("a snapshot is installed", func() bool { return f.node.Load().fsm.Generation() == 2 })
	l.eventually("its gate is drained", func() bool { return f.drains.Load() > drains && f.drawn.Load() >= r })
	l.handOver(leader, f)
	if f.node.Load().View().Fence(r).FencedAt != 0 && cut.usable() == nil {
		t.Error("fenced while a lease is out")
	}
	got := f.fenced(r)
	if cut.usable() == nil {
		t.Error("fenced, and the node that was cut off may sign")
	}
	for _, n := range got.Nodes {
		want := lifecycle.Acked
		if n.Node == cut.id {
			want = lifecycle.LeaseExpired
		}
		if n.Outcome != want {
			t.Errorf("%s: %s", l.member(n.Node).name, n.Outcome)
		}
	}
	l.network.isolate(cut, false)
	l.awaitLease(l.all()...)
}

// TestFruitlessInstallsStopTheNode sends one snapshot after another to a follower,
// as the leader of a livelock would, over the leader's own transport. The follower
// stops, and its next start is that of a new server with nothing in it.
func TestFruitlessInstallsStopTheNode(t *testing.T) {
	l := newCluster(t, 3)
	leader := l.leader()
	f := l.others(leader)[0]
	install := func() error {
		n := leader.node.Load()
		snapshots, err := n.fsm.Snapshots().List()
		if err != nil || len(snapshots) == 0 {
			t.Fatal("no snapshot", err)
		}
		meta, r, err := n.fsm.Snapshots().Open(snapshots[0].ID)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		req := &raft.InstallSnapshotRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(n.serverID), Addr: []byte(leader.name)},
			SnapshotVersion: meta.Version, Term: n.raft.CurrentTerm(), Leader: []byte(leader.name), LastLogIndex: meta.Index, LastLogTerm: meta.Term,
			Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex, Size: meta.Size}
		var resp raft.InstallSnapshotResponse
		if err := n.transport.InstallSnapshot(f.node.Load().serverID, "", req, &resp, r); err != nil {
			return err
		}
		if !resp.Success {
			return errors.New("refused")
		}
		return nil
	}
	token, _ := l.write()
	l.awaitRow(token, f)
	leader.compact()
	for range maxFruitlessInstalls {
		if err := install(); err != nil {
			t.Fatal(err)
		}
	}
	token, _ = l.write() // progress
	l.awaitRow(token, f)
	leader.compact()
	for range maxFruitlessInstalls {
		if err := install(); err != nil {
			t.Fatal(err)
		}
	}
	if f.why() != nil {
		t.Fatalf("stopped too early: %v", f.why())
	}
	if err := install(); err == nil {
		t.Error("the last one was taken")
	}
	l.eventually("it stops", func() bool { return f.why() != nil })
	if why := f.why(); !errors.Is(why, ErrStuck) || !errors.Is(why, errStartOver) {
		t.Errorf("it stopped because of %v", why)
	}
	old := f.node.Load().serverID
	f.stop()
	f.open()
	if now := serverID(f.id, f.dir.Incarnation()); now == old {
		t.Fatal("it comes back as the server that it was")
	}
	l.replaceServer(f, old)
	f.start()
	l.awaitRow(token, f)
	servers, err := l.leader().node.Load().Servers()
	if voter, ok := servers[string(f.node.Load().serverID)]; err != nil || !ok || voter {
		t.Errorf("servers %v, it is %s, %v", servers, f.node.Load().serverID, err)
	}
}

// TestFailedInstallsCount: no progress either. A node that has started over before, or
// cannot write down that it will, asks for a person.
func TestFailedInstallsCount(t *testing.T) {
	l := newCluster(t, 1)
	var why error
	g := &installGuard{FSM: l.leader().node.Load().fsm, fatal: func(reason error) { why = reason }, drop: func(string) {}, forsake: func() error { return disk.ErrSetAside }}
	for i := range maxFruitlessInstalls + 1 {
		if why != nil {
			t.Fatalf("stuck after %d", i)
		}
		if err := g.Restore(io.NopCloser(strings.NewReader("no snapshot"))); err == nil {
			t.Fatal("restored from nothing")
		}
	}
	if !errors.Is(why, ErrStuck) || errors.Is(why, errStartOver) || !strings.Contains(why.Error(), "chancery node rebuild") {
		t.Errorf("stopped because of %v", why)
	}
}
