package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Config of a Node. Zero durations take the defaults of PROTOCOL.
type Config struct {
	ID      lifecycle.NodeID
	Dir     *disk.Dir
	Streams Streams // raft's connections
	Peers   Peers   // calls to other nodes
	Seeds   map[lifecycle.NodeID]Seed
	Address string // advertised node address
	Logger  *slog.Logger

	Elapsed func() time.Duration // of staleness: goes on in suspend
	Clock   lease.Clock          // of leases; nil = lease.System
	Wall    func() time.Time
	Report  func(*Report)                 // fills in what only the process knows of itself; may be nil
	Hint    func(lifecycle.NodeID) string // address heard by gossip, "" = none; may be nil
	Fatal   func(reason error)            // ends the process; nil = log and exit

	// Drain returns when nobody is inside the release gate who looked at a state older
	// than the one given, and no answer that was good before it is served from a
	// cache. It must not wait for devices, disks or peers. nil = there is nothing to drain.
	Drain func(*state.View)
	// HSM and Hold say why this node must not hold a lease now; nil = it may. They are
	// asked many times a second.
	HSM  func() (ok bool, why string)
	Hold func() (why string) // "" = it may

	RaftTimeout   time.Duration // heartbeat, election and leader lease: 1 s
	CommitTimeout time.Duration // until raft itself tells of a commit, see hasten: 50 ms
	RefreshEvery  time.Duration // read-index exchange: 500 ms
}

// Streams are raft's connections to other nodes, each authenticated by the key of
// the node at its other end.
type Streams struct {
	Listener net.Listener
	Identify func(net.Conn) lifecycle.NodeID
	Dial     func(address string, node lifecycle.NodeID, timeout time.Duration) (net.Conn, error)
}

// Seed is a member that this node was told of before it could read it in the log:
// by the node that let it join, or by a member it asked while it was behind.
type Seed struct {
	Incarnation string `json:"incarnation"`
	Address     string `json:"address"`
}

// Node is one node's place in the cluster: Raft, the state machine, its lease, and
// what this node knows of the others. It implements ledger.Ledger, ledger.Membership
// and ledger.Lease.
type Node struct {
	Config
	serverID   raft.ServerID
	raft       *raft.Raft
	transport  *Transport
	fsm        *fsm.FSM
	logs       *LogStore
	watchdog   *Watchdog
	lead       *leadership
	refresh    *coalescer[readPoint]
	confirm    *coalescer[uint64] // the term that was confirmed
	peers      *registry
	freshest   atomic.Pointer[readPoint]
	holder     *lease.Holder
	rates      *lease.RateCheck
	leaseDue   atomic.Bool            // the next exchange with the leader asks for a lease
	leaving    atomic.Pointer[string] // why no lease is asked for any more
	gate       *coalescer[uint64]     // the index up to which the release gate was drained
	narrowing  narrowing
	office     office
	fences     fences
	proposals  chan struct{} // tokens: bounds what waits for a commit
	cancel     context.CancelFunc
	running    sync.WaitGroup
	snapshotAt atomic.Int64 // unix milliseconds
	closed     atomic.Bool
}

var (
	_ ledger.Ledger     = (*Node)(nil)
	_ ledger.Membership = (*Node)(nil)
	_ ledger.Lease      = (*Node)(nil)
)

const (
	defaultRaftTimeout   = time.Second
	defaultCommitTimeout = 50 * time.Millisecond
	defaultRefreshEvery  = 500 * time.Millisecond
	maxProposals         = 4096
	trailingLogs         = 20000 // entries kept behind a snapshot for slow followers
	snapshotsKept        = 2     // the newest and one older
)

func (c *Config) defaults() {
	if c.RaftTimeout == 0 {
		c.RaftTimeout = defaultRaftTimeout
	}
	if c.CommitTimeout == 0 {
		c.CommitTimeout = defaultCommitTimeout
	}
	if c.RefreshEvery == 0 {
		c.RefreshEvery = defaultRefreshEvery
	}
	if c.Wall == nil {
		c.Wall = func() time.Time { return fault.Wall(time.Now()) }
	}
	if c.Clock == nil {
		c.Clock = lease.System
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Report == nil {
		c.Report = func(*Report) {}
	}
	if c.Hint == nil {
		c.Hint = func(lifecycle.NodeID) string { return "" }
	}
	if c.Fatal == nil {
		c.Fatal = Exit(c.Logger)
	}
	if c.Drain == nil {
		c.Drain = func(*state.View) {}
	}
	if c.HSM == nil {
		c.HSM = func() (bool, string) { return true, "" }
	}
	if c.Hold == nil {
		c.Hold = func() string { return "" }
	}
}

// serverID is the identity of a data directory in the Raft configuration.
func serverID(id lifecycle.NodeID, incarnation string) raft.ServerID {
	return raft.ServerID(string(id) + "." + incarnation)
}

// nodeOf is the node behind a server id, "" when it is none of ours.
func nodeOf(id raft.ServerID) lifecycle.NodeID {
	node, _, _ := SplitServerID(id)
	return node
}

// Start opens the stores in the data directory and joins in. The directory must
// have been made by init or join.
func Start(c Config) (*Node, error) {
	c.defaults()
	n := &Node{Config: c, serverID: serverID(c.ID, c.Dir.Incarnation()), lead: newLeadership(), peers: newRegistry(c.Seeds),
		proposals: make(chan struct{}, maxProposals), fences: newFences(),
		holder: lease.NewHolder(c.ID, c.Clock, lease.DefaultTerms()), rates: lease.NewRateCheck(c.Clock)}
	n.watchdog = NewWatchdog(StoreLimit, time.Now, func(reason string) { c.Fatal(fmt.Errorf("%s: %w", reason, errDisk)) })
	n.watchdog.Start()
	if err := n.open(); err != nil {
		n.watchdog.Stop()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel = cancel
	n.refresh = newCoalescer(n.readPoint)
	n.confirm = newCoalescer(n.confirmRound)
	n.gate = newCoalescer(n.drainGate)
	n.running.Go(func() { n.refresh.run(ctx) })
	n.running.Go(func() { n.confirm.run(ctx) })
	n.running.Go(func() { n.gate.run(ctx) })
	n.running.Go(func() { n.watchLeadership(ctx) })
	n.running.Go(func() { n.keepFresh(ctx) })
	n.running.Go(func() { n.keepLease(ctx) })
	n.running.Go(func() { n.keepFences(ctx) })
	n.running.Go(func() { n.watchState(ctx) })
	n.running.Go(func() { n.keepCheckpoints(ctx) })
	n.running.Go(func() { n.keepSnapshots(ctx) })
	return n, nil
}

func (n *Node) open() (err error) {
	logs, err := OpenLogStore(n.Dir.RaftLog(), LogStoreOptions{Watchdog: n.watchdog, Fatal: n.Fatal})
	if err != nil {
		return fmt.Errorf("open the raft log: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, logs.Close())
		}
	}()
	files, err := raft.NewFileSnapshotStoreWithLogger(n.Dir.Snapshots(), snapshotsKept, raftLogger(n.Logger))
	if err != nil {
		return fmt.Errorf("open the snapshots: %w", err)
	}
	machine, err := fsm.Start(fsm.Options{Dir: n.Dir.State(), Unclean: n.Dir.Unclean(), Snapshots: files, Log: logs, Logger: n.Logger, Stop: n.Fatal})
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, machine.Close())
		}
	}()
	newest, err := newestSnapshot(machine.Snapshots())
	if err != nil {
		return err
	}
	if _, err := logs.Scan(newest); err != nil {
		return fmt.Errorf("check the raft log: %w", err)
	}
	if err := n.Dir.Rebuilt(); err != nil {
		return err
	}
	n.logs, n.fsm = logs, machine
	n.holder.Use(terms(machine.View()))
	n.holder.Advance(machine.Position().Index) // nobody has passed the gate of this process yet
	n.transport = StartTransport(TransportConfig{Local: n.serverID, Address: raft.ServerAddress(n.Address), Listener: n.Streams.Listener,
		Identify: n.Streams.Identify, Dial: n.Streams.Dial, Resolve: n.resolve, Member: n.memberServer, Logger: raftLogger(n.Logger)})
	n.raft, err = raft.NewRaft(n.raftConfig(), &installGuard{FSM: machine, fatal: n.Fatal, drop: n.holder.Drop, forsake: n.Dir.Forsake}, logs, logs, machine.Snapshots(), n.transport)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), n.transport.Close())
	}
	return nil
}

func newestSnapshot(s raft.SnapshotStore) (uint64, error) {
	list, err := s.List()
	if err != nil {
		return 0, fmt.Errorf("list the snapshots: %w", err)
	}
	if len(list) == 0 {
		return 0, nil
	}
	return list[0].Index, nil
}

func (n *Node) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = n.serverID
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = n.RaftTimeout, n.RaftTimeout, n.RaftTimeout
	c.BatchApplyCh, c.MaxAppendEntries = true, 256
	c.CommitTimeout = n.CommitTimeout
	c.NoSnapshotRestoreOnStart = true    // fsm.Start has restored what had to be
	c.SnapshotThreshold = math.MaxUint64 // cut by bytes, see keepSnapshots
	c.TrailingLogs = trailingLogs
	c.ShutdownOnRemove = false
	c.Logger = raftLogger(n.Logger)
	return c
}

// Close stops in order: new proposals are refused, leadership is handed over, what
// waits for raft gets its answer, then raft stops, then the stores.
//
// raft answers nothing that it has not looked at when it shuts down, so everything
// that may be waiting for it ends before.
func (n *Node) Close() error {
	if !n.closed.CompareAndSwap(false, true) {
		return nil
	}
	n.GiveUpLease("it is stopping")
	if n.Leadership().Self {
		if err := n.raft.LeadershipTransfer().Error(); err != nil {
			n.Logger.Debug("hand leadership over", "err", err)
		}
	}
	n.cancel()
	n.running.Wait()
	n.drain()
	err := n.raft.Shutdown().Error()
	n.watchdog.Stop()
	return errors.Join(err, n.fsm.Close(), n.logs.Close())
}

// drain takes every token of a proposal. A leader that reaches no quorum steps
// down after its lease and answers them all; the limit is for a raft that is stuck.
func (n *Node) drain() {
	limit := time.NewTimer(StoreLimit + 4*n.RaftTimeout)
	defer limit.Stop()
	for range cap(n.proposals) {
		select {
		case n.proposals <- struct{}{}:
		case <-limit.C:
			return
		}
	}
}

// NodeID of this node.
func (n *Node) NodeID() lifecycle.NodeID { return n.ID }

// View is the newest published state.
func (n *Node) View() *state.View { return n.fsm.View() }

// Changed is closed once a state newer than index is published.
func (n *Node) Changed(index uint64) <-chan struct{} { return n.fsm.Changed(index) }

// Verified is closed once the whole state file has been read and found right.
func (n *Node) Verified() <-chan struct{} { return n.fsm.Verified() }
