package cluster

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/cluster/disk"
	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// member is a node with the data directory it lives in.
type member struct {
	lab  *lab
	id   lifecycle.NodeID
	name string
	root string

	dir   *disk.Dir
	node  atomic.Pointer[Node]
	seeds map[lifecycle.NodeID]Seed

	jump   atomic.Int64 // added to its lease clock
	offset atomic.Int64 // added to its wall clock
	leap   atomic.Int64 // added to the clocks that its leases are counted with
	rate   atomic.Pointer[rate]
	hold   atomic.Value // string: why it must not hold a lease
	hsm    atomic.Value // string: why its key store does not work
	drains atomic.Uint64
	drawn  atomic.Uint64 // index of the state that its gate was drained for last
	hint   atomic.Value  // string: where gossip says that everybody is

	mu     sync.Mutex
	reason error // why it stopped by itself
}

// open opens the data directory without starting anything in it.
func (m *member) open() {
	m.lab.t.Helper()
	dir, err := disk.Open(m.root, disk.Options{})
	if err != nil {
		m.lab.t.Fatal(err)
	}
	m.dir = dir
}

// tryStart starts the node.
func (m *member) tryStart() error {
	if m.dir == nil {
		m.open()
	}
	l := m.lab
	if m.why() != nil { // a new process
		m.set(nil)
		l.network.isolate(m, false)
	}
	n, err := Start(Config{
		ID: m.id, Dir: m.dir, Address: m.name, Seeds: m.seeds, Peers: caller{m}, Streams: l.network.attach(m),
		Logger:  slog.New(slog.NewTextHandler(&l.record, &slog.HandlerOptions{Level: slog.LevelDebug})).With("at", m.name),
		Elapsed: m.elapsed, Wall: m.wall, Fatal: m.fatal, Hint: m.heard, RaftTimeout: l.timeout, CommitTimeout: l.commit, RefreshEvery: l.refresh,
		Clock: m.clock, Drain: m.drain, Hold: func() string { return text(&m.hold) },
		HSM: func() (bool, string) { why := text(&m.hsm); return why == "", why },
	})
	if err != nil {
		l.network.detach(m)
		_ = m.dir.Abandon() // nothing was started in it
		m.dir = nil
		return err
	}
	m.node.Store(n)
	return nil
}

func (m *member) start() {
	m.lab.t.Helper()
	if err := m.tryStart(); err != nil {
		m.lab.t.Fatal(err)
	}
}

// stop closes the node and its directory. A node that has stopped by itself may
// say so again.
func (m *member) stop() {
	m.lab.t.Helper()
	if n := m.node.Swap(nil); n != nil {
		if err := n.Close(); err != nil && m.why() == nil {
			m.lab.t.Errorf("close %s: %v", m.name, err)
		}
		m.lab.network.detach(m)
	}
	if m.dir != nil {
		if err := m.dir.Close(); err != nil {
			m.lab.t.Error(err)
		}
		m.dir = nil
	}
}

// crash takes the member off the network first, so that it can tell nobody.
func (m *member) crash() {
	m.lab.t.Helper()
	m.lab.network.isolate(m, true)
	m.stop()
	m.lab.network.isolate(m, false)
}

var processStart = time.Now()

func (m *member) elapsed() time.Duration {
	return time.Since(processStart) + time.Duration(m.jump.Load())
}

func (m *member) wall() time.Time { return time.Now().Add(time.Duration(m.offset.Load())) }

func (m *member) heard(lifecycle.NodeID) string { return text(&m.hint) }

func text(v *atomic.Value) string {
	s, _ := v.Load().(string)
	return s
}

// rate is how a member's lease clocks run since it was set.
type rate struct {
	since   time.Time
	reading time.Duration
	percent time.Duration // of the right rate
}

// run sets the rate of the member's lease clocks, from what they show now.
func (m *member) run(percent time.Duration) {
	m.rate.Store(&rate{time.Now(), m.clock().Raw, percent})
}

// clock is the one that leases are counted with.
func (m *member) clock() lease.Reading {
	d := time.Since(processStart) + time.Hour
	if r := m.rate.Load(); r != nil {
		d = r.reading + time.Since(r.since)*r.percent/100
	}
	d += time.Duration(m.leap.Load())
	return lease.Reading{Raw: d, Boot: d}
}

func (m *member) drain(v *state.View) {
	m.drains.Add(1)
	m.drawn.Store(v.Position().Index)
}

// fatal is the end of a process, as far as the others can see.
func (m *member) fatal(reason error) {
	m.mu.Lock()
	if m.reason == nil {
		m.reason = reason
	}
	m.mu.Unlock()
	m.lab.network.isolate(m, true)
}

func (m *member) set(reason error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reason = reason
}

// why it stopped by itself, nil while it runs.
func (m *member) why() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reason
}

func (m *member) nodeRecord() command.NodeRecord {
	return command.NodeRecord{ID: m.id, Name: m.name, Incarnation: m.dir.Incarnation(), CACert: []byte{0x30}, MaxFormat: command.MaxFormat,
		Addrs: lifecycle.Addrs{Node: m.name, API: m.name, Public: m.name}}
}
