package fsm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/chancery-project/chancery/fsm/fsmtest"
	"github.com/chancery-project/chancery/fsm/state"
)

// member is one server of a real Raft cluster in this process.
type member struct {
	id    raft.ServerID
	dir   string
	snaps *raft.FileSnapshotStore

	log       *raftboltdb.BoltStore
	fsm       *FSM
	raft      *raft.Raft
	transport *raft.InmemTransport
}

// cluster connects members by in-memory transports.
type cluster []*member

func newMember(t *testing.T, n int) *member {
	t.Helper()
	dir := t.TempDir()
	snaps, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	return &member{id: raft.ServerID(fmt.Sprint("n", n)), dir: dir, snaps: snaps}
}

func (m *member) server() raft.Server {
	return raft.Server{ID: m.id, Address: raft.ServerAddress(m.id), Suffrage: raft.Voter}
}

// up starts the member; bootstrap names the first servers, nil for one that joins
// or comes back.
func (c cluster) up(t *testing.T, m *member, unclean bool, bootstrap []raft.Server) {
	t.Helper()
	var err error
	if m.log, err = raftboltdb.NewBoltStore(filepath.Join(m.dir, "raft.db")); err != nil {
		t.Fatal(err)
	}
	m.fsm, err = Start(Options{Dir: m.dir, Unclean: unclean, Snapshots: m.snaps, Log: m.log, Logger: quiet,
		Stop: func(err error) { t.Errorf("%s stopped: %v", m.id, err) }})
	if err != nil {
		t.Fatal(err)
	}
	conf := raft.DefaultConfig()
	conf.LocalID, conf.Logger = m.id, hclog.NewNullLogger()
	const patience = 2 * time.Second // less flakes on a busy machine
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = patience, patience, patience
	conf.NoSnapshotRestoreOnStart, conf.SnapshotThreshold, conf.TrailingLogs = true, math.MaxUint64, 2
	_, m.transport = raft.NewInmemTransport(raft.ServerAddress(m.id))
	for _, other := range c {
		if other != m && other.transport != nil {
			m.transport.Connect(other.transport.LocalAddr(), other.transport)
			other.transport.Connect(m.transport.LocalAddr(), m.transport)
		}
	}
	if bootstrap != nil {
		if err := raft.BootstrapCluster(conf, m.log, m.log, m.snaps, m.transport, raft.Configuration{Servers: bootstrap}); err != nil {
			t.Fatal(err)
		}
	}
	if m.raft, err = raft.NewRaft(conf, m.fsm, m.log, m.log, m.fsm.Snapshots(), m.transport); err != nil {
		t.Fatal(err)
	}
}

func (m *member) down(t *testing.T) {
	t.Helper()
	if m.raft == nil {
		return
	}
	if err := errors.Join(m.raft.Shutdown().Error(), m.fsm.Close(), m.log.Close()); err != nil {
		t.Error(err)
	}
	m.raft = nil
}

func (c cluster) leader(t *testing.T) (leader *member) {
	t.Helper()
	wait(t, "a leader", func() bool {
		for _, m := range c {
			if m.raft != nil && m.raft.State() == raft.Leader && m.raft.Barrier(time.Second).Error() == nil {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// propose commits key n, at the leader of the moment.
func (c cluster) propose(t *testing.T, entries ...[]byte) {
	t.Helper()
	leader := c.leader(t)
	var futures []raft.ApplyFuture
	for _, e := range entries {
		futures = append(futures, leader.raft.Apply(e, 10*time.Second))
	}
	for _, f := range futures {
		if err := f.Error(); err != nil {
			t.Fatal(err)
		}
		if o, ok := f.Response().(state.Outcome); !ok || !o.OK() || o.Index != f.Index() {
			t.Fatalf("answer %+v", f.Response())
		}
	}
}

// agree waits until every member that is up stands at the leader's position, and
// compares their digests and snapshots.
func (c cluster) agree(t *testing.T) stand {
	t.Helper()
	want := standOf(c.leader(t).fsm)
	snapshots := map[string]raft.ServerID{}
	for _, m := range c {
		if m.raft == nil {
			continue
		}
		wait(t, fmt.Sprintf("%s at %d", m.id, want.at.Index), func() bool { return m.fsm.Position().Index >= want.at.Index })
		if got := standOf(m.fsm); got != want {
			t.Fatalf("%s is at %+v, the leader at %+v", m.id, got, want)
		}
		<-m.fsm.Verified()
		s, err := m.fsm.store.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		_, err = s.Write(&b)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		snapshots[b.String()] = m.id
	}
	if len(snapshots) != 1 {
		t.Fatalf("%d different snapshots at one position", len(snapshots))
	}
	return want
}

func keys(from, to int) (out [][]byte) {
	for i := from; i <= to; i++ {
		out = append(out, fsmtest.CreateKey(i))
	}
	return out
}

// TestCluster drives the state machine by the real Raft through its whole life:
// apply, snapshot, install on a newcomer, restart, a machine that stopped, and a
// node that missed so much that it is sent a snapshot.
func TestCluster(t *testing.T) {
	c := cluster{newMember(t, 1), newMember(t, 2), newMember(t, 3)}
	t.Cleanup(func() {
		for _, m := range c {
			m.down(t)
		}
	})
	var servers []raft.Server
	for _, m := range c {
		servers = append(servers, m.server())
	}
	for _, m := range c {
		c.up(t, m, false, servers)
	}
	c.propose(t, append([][]byte{fsmtest.Genesis()}, keys(1, 30)...)...)
	c.agree(t)

	for _, m := range c {
		if err := m.raft.Snapshot().Error(); err != nil {
			t.Fatalf("snapshot on %s: %v", m.id, err)
		}
		if z, err := m.fsm.Sizes(); err != nil || z.AppliedBytes != 0 {
			t.Errorf("%s counts %+v after its snapshot, %v", m.id, z, err)
		}
	}
	c.propose(t, keys(31, 40)...)

	joined := newMember(t, 4)
	c = append(c, joined)
	c.up(t, joined, false, nil)
	if err := c.leader(t).raft.AddNonvoter(joined.id, raft.ServerAddress(joined.id), 0, 10*time.Second).Error(); err != nil {
		t.Fatal(err)
	}
	c.propose(t, keys(41, 45)...)
	c.agree(t)
	if joined.fsm.Generation() != 2 {
		t.Errorf("the newcomer was sent no snapshot: generation %d", joined.fsm.Generation())
	}

	// A follower comes back: it knows at once what it knew.
	var follower *member
	for _, m := range c[:3] {
		if m != c.leader(t) {
			follower = m
		}
	}
	before := standOf(follower.fsm)
	follower.down(t)
	c.propose(t, keys(46, 50)...)
	c.up(t, follower, false, nil)
	if got := standOf(follower.fsm); got.at.Index < before.at.Index {
		t.Errorf("came back at %d, was at %d", got.at.Index, before.at.Index)
	}
	c.agree(t)

	// Its machine stops: the state is made again from snapshot and log.
	follower.down(t)
	c.up(t, follower, true, nil)
	if follower.fsm.Generation() != 2 {
		t.Errorf("restored nothing: generation %d", follower.fsm.Generation())
	}
	c.agree(t)

	// It stays away while the log it needs is compacted away.
	follower.down(t)
	c.propose(t, keys(51, 80)...)
	for _, m := range c {
		if m.raft != nil {
			wait(t, "a snapshot", func() bool { return m.raft.Snapshot().Error() == nil })
		}
	}
	c.propose(t, keys(81, 85)...)
	c.up(t, follower, false, nil)
	c.agree(t)
	if follower.fsm.Generation() != 2 {
		t.Errorf("was sent no snapshot: generation %d", follower.fsm.Generation())
	}

	// All of them at once, and the cluster goes on.
	for _, m := range c {
		m.down(t)
	}
	for _, m := range c {
		m.transport = nil
	}
	for _, m := range c {
		c.up(t, m, false, nil)
	}
	c.propose(t, keys(86, 90)...)
	if at := c.agree(t); at.at.LogSize == 0 {
		t.Fatal("nothing in the log")
	}
}
