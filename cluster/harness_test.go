package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// patience bounds every wait of these tests, on a busy machine.
const patience = 40 * time.Second

// lab is a cluster in this process: real stores, real Raft, and a network whose
// links can be cut. Its clocks can be set.
type lab struct {
	t        testing.TB
	timeout  time.Duration
	commit   time.Duration // 0 = as outside of tests
	refresh  time.Duration
	settings lifecycle.Settings
	network  *network
	root     string // made before the clean-up is registered, and so removed after it
	tokens   atomic.Int64
	record   lockedBuffer

	mu      sync.Mutex
	members []*member
}

func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	return newLabFor(t)
}

func newLabFor(t testing.TB) *lab {
	t.Helper()
	l := &lab{t: t, timeout: time.Second, refresh: 100 * time.Millisecond, settings: lifecycle.DefaultSettings(), network: newNetwork(), root: t.TempDir()}
	t.Cleanup(func() {
		for _, m := range l.all() {
			m.stop()
		}
		if t.Failed() {
			t.Log(l.record.String())
		}
	})
	return l
}

// restart stops all members and starts them again.
func (l *lab) restart() {
	l.t.Helper()
	for _, m := range l.all() {
		m.stop()
	}
	for _, m := range l.all() {
		m.start()
	}
}

// newCluster has n voters that know of each other.
func newCluster(t *testing.T, n int) *lab {
	t.Helper()
	l := newLab(t)
	l.grow(n)
	return l
}

func (l *lab) grow(n int) {
	l.t.Helper()
	l.found()
	for range n - 1 {
		l.promote(l.join())
	}
}

func (l *lab) all() []*member {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*member(nil), l.members...)
}

// others are all members but these.
func (l *lab) others(but ...*member) (out []*member) {
	for _, m := range l.all() {
		found := false
		for _, b := range but {
			found = found || b == m
		}
		if !found {
			out = append(out, m)
		}
	}
	return out
}

func (l *lab) member(id lifecycle.NodeID) *member {
	for _, m := range l.all() {
		if m.id == id {
			return m
		}
	}
	return nil
}

func (l *lab) newMember() *member {
	var raw [32]byte
	rand.Read(raw[:])
	l.mu.Lock()
	defer l.mu.Unlock()
	name := fmt.Sprint("n", len(l.members))
	m := &member{lab: l, id: lifecycle.NodeID(hex.EncodeToString(raw[:])), name: name, root: filepath.Join(l.root, name)}
	l.members = append(l.members, m)
	return m
}

// eventually waits for a condition.
func (l *lab) eventually(what string, ok func() bool) {
	l.t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			l.t.Fatalf("waited in vain for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// leader waits for one that is Ready.
func (l *lab) leader() (leader *member) {
	l.t.Helper()
	return l.leaderOf(l.all()...)
}

func (l *lab) leaderOf(among ...*member) (leader *member) {
	l.t.Helper()
	l.eventually("a leader", func() bool {
		for _, m := range among {
			if n := m.node.Load(); n != nil && m.why() == nil && n.Leadership().Ready {
				leader = m
				return true
			}
		}
		return false
	})
	return leader
}

// handOver tries until one of others is Ready. A transfer that was reported as failed
// may come about all the same, and one that came about may be lost again.
func (l *lab) handOver(from *member, others ...*member) {
	l.t.Helper()
	l.eventually("another leader", func() bool {
		for _, m := range others {
			if m.node.Load().Leadership().Ready {
				return true
			}
		}
		to := lifecycle.NodeID("")
		if len(others) == 1 {
			to = others[0].id
		}
		if n := from.node.Load(); n.Leadership().Self {
			if err := n.TransferLeadership(l.t.Context(), to); err != nil {
				n.Logger.Info("a transfer is tried again", "err", err)
			}
		}
		return false
	})
}

// head makes the header of a command proposed at a member.
func (m *member) head() command.Header {
	return command.Header{At: lifecycle.Instant(m.wall().UnixMilli()), Actor: "test", Node: m.id}
}

func (m *member) propose(ctx context.Context, body command.Body) (state.Outcome, error) {
	return m.proposeAt(ctx, m.node.Load(), body)
}

func (m *member) proposeAt(ctx context.Context, n *Node, body command.Body) (state.Outcome, error) {
	return n.Propose(ctx, &command.Command{Header: m.head(), Body: body})
}

// must commits a command at whoever leads, and waits out elections.
func (l *lab) must(body command.Body) state.Outcome {
	l.t.Helper()
	return l.mustAmong(body, l.all()...)
}

func (l *lab) mustAmong(body command.Body, members ...*member) state.Outcome {
	l.t.Helper()
	var o state.Outcome
	unknown := false // an earlier attempt may have been committed
	l.eventually("a commit of "+body.Kind().String(), func() bool {
		var err error
		if o, err = l.leaderOf(members...).propose(l.t.Context(), body); err != nil {
			unknown = unknown || errors.Is(err, ledger.ErrIndeterminate)
			return false
		}
		if unknown && (o.Code == state.AlreadyExists || o.Code == state.TokenSpent) {
			return true
		}
		if o.Code == state.NotFenced {
			return false // the leader's barrier is on its way
		}
		if err := o.Err(); err != nil {
			l.t.Fatal(err)
		}
		return true
	})
	return o
}

// joinToken is a small command that leaves a row to look for.
func (l *lab) joinToken() *command.AddJoinToken {
	id := fmt.Sprintf("token-%04d", l.tokens.Add(1))
	return &command.AddJoinToken{ID: id, MACKey: make([]byte, 32), ExpiresAt: lifecycle.Instant(time.Now().Add(300 * 24 * time.Hour).UnixMilli())}
}

// write commits a row, and returns its name and index.
func (l *lab) write() (token string, index uint64) {
	l.t.Helper()
	return l.writeAmong(l.all()...)
}

// writeAmong commits it at the leader of one side of a split.
func (l *lab) writeAmong(members ...*member) (token string, index uint64) {
	l.t.Helper()
	c := l.joinToken()
	return c.ID, l.mustAmong(c, members...).Index
}

func (m *member) has(token string) bool { return m.node.Load().View().JoinToken(token) != nil }

// awaitRow waits until members have a row.
func (l *lab) awaitRow(token string, members ...*member) {
	l.t.Helper()
	for _, m := range members {
		l.eventually(m.name+" has "+token, func() bool { return m.has(token) })
	}
}

// found makes the first member.
func (l *lab) found() *member {
	l.t.Helper()
	m := l.newMember()
	m.start()
	n := m.node.Load()
	if err := n.Bootstrap(); err != nil {
		l.t.Fatal(err)
	}
	l.must(&command.Init{ClusterID: strings.Repeat("ab", 16), Name: "lab", Node: m.nodeRecord(), Settings: l.settings,
		Admin: command.PrincipalRecord{Name: "admin", Kind: lifecycle.Person, Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}}})
	return m
}

// join adds a member without a vote, as cmd/daemon does: the entry first, then the
// Raft configuration, then the node starts with what it was told.
func (l *lab) join() *member {
	l.t.Helper()
	return l.joinVia(l.all()...)
}

func (l *lab) joinVia(members ...*member) *member {
	l.t.Helper()
	m := l.newMember()
	m.open()
	token, _ := l.writeAmong(members...)
	l.mustAmong(&command.JoinNode{TokenID: token, Node: m.nodeRecord()}, members...)
	l.addServer(m, members...)
	m.seeds = l.leaderOf(members...).node.Load().Members()
	m.start()
	return m
}

func (l *lab) addServer(m *member, members ...*member) {
	l.t.Helper()
	server := string(serverID(m.id, m.dir.Incarnation()))
	l.eventually("a place in the configuration", func() bool {
		return l.leaderOf(members...).node.Load().AddNonvoter(l.t.Context(), server, m.name) == nil
	})
}

// promote gives a vote, in Raft first and then in the state.
func (l *lab) promote(m *member) {
	l.t.Helper()
	server := string(m.node.Load().serverID)
	l.eventually("a vote", func() bool { return l.leader().node.Load().AddVoter(l.t.Context(), server, m.name) == nil })
	l.must(&command.SetNodeRoles{ID: m.id, Voter: true, Signer: true})
}

func (m *member) read(f ledger.Freshness) (ledger.Snapshot, error) {
	ctx, cancel := context.WithTimeout(m.lab.t.Context(), 5*time.Second)
	defer cancel()
	return m.node.Load().Read(ctx, f)
}

// lockedBuffer keeps the log of a test for when it fails.
type lockedBuffer struct {
	mu  sync.Mutex
	buf []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf = append(b.buf, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	tail := b.buf
	if len(tail) > 20_000 && os.Getenv("CHANCERY_TEST_LOG") == "" {
		tail = tail[len(tail)-20_000:]
	}
	return string(tail)
}

// updateIncarnation tells the state of a member's new data directory.
func (l *lab) updateIncarnation(m *member) {
	l.t.Helper()
	r := m.nodeRecord()
	l.must(&command.UpdateNode{ID: m.id, Addrs: r.Addrs, MaxFormat: r.MaxFormat, Incarnation: r.Incarnation})
}
