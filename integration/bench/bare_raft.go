//go:build linux && cgo

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"
)

const entryBytes = 256

// bareRaft is three raft nodes in one process, on their own files of the measured
// disk, with TCP between them and a state machine that does nothing. It answers each
// "callers milliseconds" with the entries applied a second.
func bareRaft(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: bare-raft DIR")
	}
	leader, err := startRafts(args[0])
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		var callers, ms int
		if _, err := fmt.Sscan(lines.Text(), &callers, &ms); err != nil {
			return err
		}
		rate, err := applyRate(leader, callers, time.Duration(ms)*time.Millisecond)
		if err != nil {
			return err
		}
		fmt.Println(rate)
	}
	return nil
}

func applyRate(r *raft.Raft, callers int, d time.Duration) (float64, error) {
	var wg sync.WaitGroup
	var count atomic.Int64
	var failed atomic.Pointer[error]
	start := time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(start) < d {
				if err := r.Apply(make([]byte, entryBytes), time.Second).Error(); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				count.Add(1)
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(count.Load()) / time.Since(start).Seconds(), nil
}

// startRafts founds a group of three, with the settings that Chancery's nodes have,
// and waits for its leader.
func startRafts(dir string) (*raft.Raft, error) {
	var group raft.Configuration
	var transports []*raft.NetworkTransport
	for i := range nodes {
		t, err := raft.NewTCPTransport("127.0.0.1:0", nil, 3, 10*time.Second, io.Discard)
		if err != nil {
			return nil, err
		}
		transports = append(transports, t)
		group.Servers = append(group.Servers, raft.Server{ID: raft.ServerID(strconv.Itoa(i)), Address: t.LocalAddr()})
	}
	var rafts []*raft.Raft
	for i, t := range transports {
		r, err := startRaft(filepath.Join(dir, "bare-raft-"+strconv.Itoa(i)), group.Servers[i].ID, t, group)
		if err != nil {
			return nil, err
		}
		rafts = append(rafts, r)
	}
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		for _, r := range rafts {
			if r.State() == raft.Leader {
				return r, nil
			}
		}
	}
	return nil, fmt.Errorf("no leader was elected")
}

func startRaft(dir string, id raft.ServerID, t raft.Transport, group raft.Configuration) (*raft.Raft, error) {
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
	c.LocalID, c.Logger = id, hclog.NewNullLogger()
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
