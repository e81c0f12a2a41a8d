package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
)

// history is what was acknowledged, and when by the lease clock.
type history struct {
	mu    sync.Mutex
	acked []ack
}

type ack struct {
	token string
	at    time.Duration
}

func (h *history) add(token string, at time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acked = append(h.acked, ack{token, at})
}

// before lists what was acknowledged before an instant.
func (h *history) before(at time.Duration) (out []ack) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.acked {
		if a.at < at {
			out = append(out, a)
		}
	}
	return out
}

// TestReadsUnderChurn writes and reads on every node while links are cut, nodes
// crash and leadership moves. A linearizable read holds every write acknowledged
// before it began; a bounded one every write acknowledged before its as-of time;
// and nothing acknowledged is ever lost.
func TestReadsUnderChurn(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	l := newCluster(t, 3)
	l.oneLeaderPerTerm()
	h := &history{}
	ctx, cancel := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for i := range 3 {
		clients.Go(func() { l.writeInto(ctx, h) })
		clients.Go(func() { l.readAgainst(ctx, h, rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	chance := rand.New(rand.NewPCG(seed, 99))
	for range 12 {
		before := len(h.before(1 << 62))
		victim := l.all()[chance.IntN(3)]
		switch chance.IntN(5) {
		case 0:
			l.network.isolate(victim, true)
		case 1:
			l.network.split([]*member{l.leader()}, l.others(l.leader()))
		case 2:
			l.network.cut(raftPath, l.leader(), victim)
		case 3:
			victim.crash()
		case 4:
			_ = l.leader().node.Load().TransferLeadership(ctx, "") // losing it otherwise is as good
		}
		// Something must get through whatever it was, because two of three can.
		l.eventually("progress", func() bool { return len(h.before(1<<62)) > before+30 })
		l.network.heal()
		if victim.node.Load() == nil {
			victim.start()
		}
	}
	cancel()
	clients.Wait()
	l.awaitFresh(l.all()...)
	all := h.before(1 << 62)
	for _, m := range l.all() {
		l.awaitRow(all[len(all)-1].token, m)
		missing(t, "in the end "+m.name, m.node.Load().View().JoinToken, all)
	}
	t.Logf("%d writes acknowledged", len(all))
}

// missing reports writes that a view does not hold.
func missing[T any](t testing.TB, what string, has func(string) *T, want []ack) {
	t.Helper()
	lost := 0
	for _, a := range want {
		if has(a.token) == nil {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%s: %d of %d acknowledged writes are missing", what, lost, len(want))
	}
}

func (l *lab) writeInto(ctx context.Context, h *history) {
	for ctx.Err() == nil {
		for _, m := range l.all() {
			if n := m.node.Load(); n == nil || !n.Leadership().Ready {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, 2*time.Second)
			c := l.joinToken()
			n := m.node.Load()
			if n == nil {
				cancel()
				continue
			}
			o, err := m.proposeAt(limited, n, c)
			cancel()
			if err == nil && o.OK() {
				h.add(c.ID, time.Since(processStart))
			}
		}
		time.Sleep(time.Millisecond) // a client that does not spin
	}
}

func (l *lab) readAgainst(ctx context.Context, h *history, chance *rand.Rand) {
	for ctx.Err() == nil {
		m := l.all()[chance.IntN(3)]
		n := m.node.Load()
		if n == nil {
			continue
		}
		f := linearizable
		if chance.IntN(2) == 0 {
			f = bounded
		}
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		began := time.Since(processStart)
		s, err := n.Read(limited, f)
		cancel()
		switch {
		case err == nil && f.Level == ledger.Linearizable:
			missing(l.t, "linearizable on "+m.name, s.JoinToken, h.before(began))
		case err == nil:
			missing(l.t, "bounded on "+m.name, s.JoinToken, h.before(began-s.Staleness))
		case s.Fresh:
			l.t.Errorf("fresh and refused: %v", err)
		case !errors.Is(err, ledger.ErrStale) && !errors.Is(err, ledger.ErrNotLeader) && !errors.Is(err, ledger.ErrStopped) && !errors.Is(err, ledger.ErrBehind):
			l.t.Errorf("read on %s: %v", m.name, err)
		}
		time.Sleep(time.Millisecond) // a client that does not spin
	}
}
