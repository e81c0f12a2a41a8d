package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// TestDamagedEntryStopsTheNode: one bit, in each part of an entry.
func TestDamagedEntryStopsTheNode(t *testing.T) {
	l := newCluster(t, 3)
	var index uint64
	for range 3 {
		_, index = l.write()
	}
	damaged := l.leader() // the leader of the moment, to see another take over
	token, _ := l.write()
	l.awaitRow(token, damaged)
	damaged.stop()
	path := filepath.Join(damaged.root, "raft", "log.db")
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*raft.Log){
		"data":              func(e *raft.Log) { e.Data[len(e.Data)/2] ^= 4 },
		"index":             func(e *raft.Log) { e.Index ^= 1 },
		"term":              func(e *raft.Log) { e.Term ^= 1 },
		"type":              func(e *raft.Log) { e.Type ^= 1 },
		"digest":            func(e *raft.Log) { e.Extensions[7] ^= 1 },
		"digest's version":  func(e *raft.Log) { e.Extensions[0] ^= 1 },
		"no digest":         func(e *raft.Log) { e.Extensions = nil },
		"time of the entry": func(e *raft.Log) { e.AppendedAt = e.AppendedAt.Add(time.Nanosecond) },
	} {
		damaged.alterEntry(index-1, change)
		err := damaged.tryStart()
		if err == nil {
			t.Fatalf("%s: it started", name)
		}
		for _, reason := range []error{err, damaged.why()} {
			if reason == nil || !strings.Contains(reason.Error(), "chancery node rebuild") || !errors.Is(reason, errRebuild) {
				t.Errorf("%s: %v", name, reason)
			}
		}
		if err := os.WriteFile(path, sound, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	token, _ = l.writeAmong(l.others(damaged)...)
	damaged.start()
	l.awaitRow(token, damaged)
}

// TestHungDiskEndsTheProcess: one call to the store that does not come back.
func TestHungDiskEndsTheProcess(t *testing.T) {
	l := newCluster(t, 1)
	m := l.leader()
	released := make(chan struct{})
	var hung error
	done := make(chan struct{})
	go func() {
		defer close(done)
		hung = m.node.Load().logs.bolt.call("StoreLogs", func() error { <-released; return nil })
	}()
	l.eventually("the watchdog ends it", func() bool { return m.why() != nil })
	if why := m.why(); !strings.Contains(why.Error(), "StoreLogs") || !errors.Is(why, errDisk) {
		t.Errorf("it stopped because of %v", why)
	}
	close(released)
	<-done
	if hung != nil {
		t.Error(hung)
	}
}

// replaceServer does what the authority does when a node reports a new incarnation, in
// its order: out of Raft, the new number into the state, and in again.
func (l *lab) replaceServer(m *member, old raft.ServerID) {
	l.t.Helper()
	l.eventually("the old server is out", func() bool {
		return l.leader().node.Load().RemoveServer(l.t.Context(), string(old)) == nil
	})
	l.updateIncarnation(m)
	l.addServer(m, l.others(m)...)
	m.seeds = l.leader().node.Load().Members()
}

// TestRebuild: a node that lost its log comes back as a new server without a vote,
// and nothing can come back as the old one.
func TestRebuild(t *testing.T) {
	l := newCluster(t, 3)
	m := l.others(l.leader())[0]
	token, _ := l.write()
	l.awaitRow(token, m)
	old := m.node.Load().serverID
	m.stop()
	m.open()
	aside, err := m.dir.SetAside()
	if err != nil {
		t.Fatal(err)
	}
	l.replaceServer(m, old)
	m.start()
	l.awaitRow(token, m)
	n := m.node.Load()
	servers, err := l.leader().node.Load().Servers()
	if voter, ok := servers[string(n.serverID)]; err != nil || !ok || voter || n.serverID == old {
		t.Errorf("servers %v, rebuilt %s, %v", servers, n.serverID, err)
	}
	for _, other := range l.others(m) {
		l.eventually("the old incarnation is refused", func() bool {
			return !other.node.Load().memberServer(old) && other.node.Load().memberServer(n.serverID)
		})
	}
	l.promote(m)
	l.awaitFresh(m)
	if _, err := os.Stat(filepath.Join(aside, "raft", "log.db")); err != nil {
		t.Errorf("the evidence: %v", err)
	}
}
