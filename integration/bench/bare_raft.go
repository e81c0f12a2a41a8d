//go:build linux && cgo

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const entryBytes = 256

// bareGroup is the yardstick of everything that is written into the log: as many bare
// raft nodes as a cluster has, each a process with its own files on the measured disk,
// as the cluster's are. raft and raft-boltdb run with the settings that Chancery's
// nodes have, but for what Chancery gave up for safety: replication is pipelined and
// heartbeats take the fast path. Between them is plain TCP; an entry has 256 bytes;
// the state machine does nothing. Callers are goroutines of the leader's process.
type bareGroup struct {
	members []*child
	leader  *child
}

// startBareGroup founds a group below dir.
func startBareGroup(dir string) (*bareGroup, error) {
	g := &bareGroup{}
	var addresses []string
	for i := range nodes {
		c, err := startChild(nil, "bare-raft", filepath.Join(dir, "bare-raft-"+strconv.Itoa(i)))
		if err != nil {
			g.stop()
			return nil, err
		}
		g.members, addresses = append(g.members, c), append(addresses, c.ready)
	}
	for _, c := range g.members {
		if _, err := fmt.Fprintln(c.in, strings.Join(addresses, " ")); err != nil {
			g.stop()
			return nil, fmt.Errorf("found a bare group: %w", err)
		}
	}
	for _, c := range g.members {
		switch leads, err := c.line(); {
		case err != nil:
			g.stop()
			return nil, fmt.Errorf("wait for the leader of a bare group: %w", err)
		case leads == "true":
			g.leader = c
		}
	}
	if g.leader == nil {
		g.stop()
		return nil, errors.New("wait for the leader of a bare group: nobody leads")
	}
	return g, nil
}

// rate is how many entries of so many callers are applied in a second.
func (g *bareGroup) rate(callers int, d time.Duration) (float64, error) {
	return g.leader.ask(fmt.Sprintf("%d %d", callers, d.Milliseconds()))
}

func (g *bareGroup) stop() {
	for _, c := range g.members {
		_ = c.stop() // it has said all it had to say
	}
}

// bareRaft is one node of a bare group. It says where it listens, reads where all do, says
// whether it leads, and then answers each "callers milliseconds" with the entries
// applied a second.
func bareRaft(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: bare-raft DIR")
	}
	t, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard)
	if err != nil {
		return err
	}
	fmt.Println(t.LocalAddr())
	lines := bufio.NewScanner(os.Stdin)
	if !lines.Scan() {
		return lines.Err()
	}
	var group raft.Configuration
	for _, address := range strings.Fields(lines.Text()) {
		group.Servers = append(group.Servers, raft.Server{ID: raft.ServerID(address), Address: raft.ServerAddress(address)})
	}
	r, err := startRaft(args[0], t, group)
	if err != nil {
		return err
	}
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		if leader, _ := r.LeaderWithID(); leader != "" {
			break
		}
	}
	fmt.Println(r.State() == raft.Leader)
	for lines.Scan() {
		var callers, ms int
		if _, err := fmt.Sscan(lines.Text(), &callers, &ms); err != nil {
			return err
		}
		rate, err := insideRate(context.Background(), callers, time.Duration(ms)*time.Millisecond, func(context.Context) error {
			return r.Apply(make([]byte, entryBytes), time.Second).Error()
		})
		if err != nil {
			return err
		}
		fmt.Println(rate)
	}
	return nil
}

func startRaft(dir string, t *raft.NetworkTransport, group raft.Configuration) (*raft.Raft, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), MsgpackUseNewTimeFormat: true,
		BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: 1 << 30}})
	if err != nil {
		return nil, err
	}
	logs, err := raft.NewLogCache(512, store)
	if err != nil {
		return nil, err
	}
	snapshots := raft.NewInmemSnapshotStore()
	c := raft.DefaultConfig()
	c.LocalID, c.Logger = raft.ServerID(t.LocalAddr()), hclog.NewNullLogger()
	c.BatchApplyCh, c.MaxAppendEntries = true, 256
	c.SnapshotThreshold = 1 << 62
	if err := raft.BootstrapCluster(c, logs, store, snapshots, t, group); err != nil {
		return nil, err
	}
	return raft.NewRaft(c, nothing{}, logs, store, snapshots, t)
}

// nothing is a state machine without a state.
type nothing struct{}

func (nothing) Apply(*raft.Log) any                 { return nil }
func (nothing) Snapshot() (raft.FSMSnapshot, error) { return nothing{}, nil }
func (nothing) Restore(io.ReadCloser) error         { return nil }
func (nothing) Persist(s raft.SnapshotSink) error   { return s.Close() }
func (nothing) Release()                            {}
func (nothing) ApplyBatch(l []*raft.Log) []any      { return make([]any, len(l)) }
