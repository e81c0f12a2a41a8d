package ledgertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func settings(url string) *command.SetSettings {
	s := lifecycle.DefaultSettings()
	s.PublicURL = url
	return &command.SetSettings{Settings: s}
}

func TestGenesis(t *testing.T) {
	l := ledgertest.New(t)
	ids := ledgertest.Genesis(t, l, "alpha", "beta", "gamma")
	v := l.View()
	if len(ids) != 3 || ids[0] != l.NodeID() {
		t.Fatalf("ids %v", ids)
	}
	for _, id := range ids {
		if n := v.Node(id); n == nil || !n.Signs() {
			t.Errorf("node %s = %+v: want a signing member", id.Short(), n)
		}
	}
	if p := v.Principal(ledgertest.Admin); p == nil || len(p.Grants) != 1 || p.Grants[0].String() != "admin:*" {
		t.Errorf("admin = %+v", p)
	}
	if n := v.NodeByName("beta"); n == nil || n.ID != ids[1] {
		t.Errorf("beta = %+v", n)
	}
}

func TestFailuresStoredAndNot(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	before := l.View().Position()

	l.FailNext(ledger.ErrBusy)
	l.LoseNextAnswer()
	if _, err := l.Propose(context.Background(), l.Command(settings("https://a"))); !errors.Is(err, ledger.ErrBusy) {
		t.Fatalf("err = %v, want ErrBusy", err)
	}
	if got := l.View().Position(); got != before {
		t.Fatalf("a failed proposal was stored: %+v", got)
	}
	if _, err := l.Propose(context.Background(), l.Command(settings("https://b"))); !errors.Is(err, ledger.ErrIndeterminate) {
		t.Fatalf("err = %v, want ErrIndeterminate", err)
	}
	if got := l.View().Cluster().Settings.PublicURL; got != "https://b" {
		t.Fatalf("public url %q: the command whose answer was lost must be applied", got)
	}
	l.Must(t, settings("https://c"))
}

func TestLeadership(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	changed, term := l.LeadershipChanged(), l.Leadership().Term
	l.SetLeader(false)
	<-changed
	if _, err := l.Propose(context.Background(), l.Command(settings(""))); !errors.Is(err, ledger.ErrNotLeader) {
		t.Fatalf("err = %v, want ErrNotLeader", err)
	}
	if got := l.Leadership(); got.Self || got.Leader == l.NodeID() || got.Term <= term {
		t.Fatalf("leadership %+v", got)
	}
	l.SetLeader(true)
	l.Must(t, settings(""))
}

func TestReadLevels(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	ctx := context.Background()
	for _, level := range []ledger.Level{ledger.Bounded, ledger.Linearizable, ledger.Stale} {
		s, err := l.Read(ctx, ledger.Freshness{Level: level})
		if err != nil || s.Fresh != (level != ledger.Stale) || s.Staleness != 0 {
			t.Errorf("level %d: %+v, %v", level, s, err)
		}
	}
	l.SetStale(true)
	l.Clock().Advance(time.Minute)
	for _, level := range []ledger.Level{ledger.Bounded, ledger.Linearizable} {
		if _, err := l.Read(ctx, ledger.Freshness{Level: level}); !errors.Is(err, ledger.ErrStale) {
			t.Errorf("level %d while stale: %v, want ErrStale", level, err)
		}
	}
	s, err := l.Read(ctx, ledger.Freshness{Level: ledger.Stale})
	if err != nil || s.Fresh || s.Staleness != 61*time.Minute || !s.AsOf.Equal(l.Clock().Now().Add(-61*time.Minute)) {
		t.Errorf("stale read: %+v, %v", s, err)
	}
	if s, err := l.Read(ctx, ledger.Freshness{Within: 2 * time.Hour}); err != nil || !s.Fresh {
		t.Errorf("bounded by two hours: %+v, %v", s, err)
	}
}

func TestReadWaitsForPosition(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	want := l.Position()
	if _, err := l.Read(context.Background(), ledger.Freshness{MinEpoch: want.MinEpoch + 1}); !errors.Is(err, ledger.ErrEpoch) {
		t.Fatalf("err = %v, want ErrEpoch", err)
	}
	want.MinIndex += 2
	ctx, cancel := context.WithCancel(context.Background())
	got := make(chan error, 1)
	go func() { _, err := l.Read(ctx, want); got <- err }()
	l.Must(t, settings("https://1"))
	l.Must(t, settings("https://2"))
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	want.MinIndex++
	cancel()
	if _, err := l.Read(ctx, want); !errors.Is(err, ledger.ErrBehind) {
		t.Fatalf("err = %v, want ErrBehind", err)
	}
}

func TestViewStaysPinned(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	old := l.View()
	changed := l.Changed(old.Position().Index)
	select {
	case <-changed:
		t.Fatal("nothing has changed yet")
	default:
	}
	l.Must(t, settings("https://new"))
	<-changed
	<-l.Changed(old.Position().Index)
	if old.Cluster().Settings.PublicURL != "" || l.View().Cluster().Settings.PublicURL != "https://new" {
		t.Error("the old view moved, or the new one did not")
	}
	leaves := func(v *state.View) (n uint64) {
		if err := v.Leaves(0, func(uint64, *state.Leaf, []byte) bool { n++; return true }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := leaves(old); n != old.Position().LogSize {
		t.Errorf("the old view shows %d leaves, its log has %d", n, old.Position().LogSize)
	}
}

// TestConcurrentUse means something under -race; what it asserts is that every
// proposal got an index of its own.
func TestConcurrentUse(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l)
	const callers, each = 8, 20
	indexes := make([][]uint64, callers)
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				o, err := l.Propose(context.Background(), l.Command(settings(fmt.Sprintf("https://%d.%d", c, i))))
				if err != nil {
					t.Error(err)
					return
				}
				indexes[c] = append(indexes[c], o.Index)
				<-l.Changed(o.Index - 1)
				if _, err := l.Read(context.Background(), ledger.Freshness{MinIndex: o.Index}); err != nil {
					t.Error(err)
				}
				l.View().Nodes()
			}
		})
	}
	wg.Wait()
	seen := map[uint64]bool{}
	for _, list := range indexes {
		for _, i := range list {
			if seen[i] {
				t.Fatalf("index %d was given twice", i)
			}
			seen[i] = true
		}
	}
}

func TestStateCanBeCarriedOver(t *testing.T) {
	l := ledgertest.New(t)
	ledgertest.Genesis(t, l, "alpha", "beta")
	again := ledgertest.New(t, ledgertest.WithState(l.Rows()), ledgertest.WithClock(l.Clock()))
	if again.View().Position() != l.View().Position() {
		t.Fatalf("position %+v, want %+v", again.View().Position(), l.View().Position())
	}
	if a, b := l.Must(t, settings("https://x")), again.Must(t, settings("https://x")); a.Index != b.Index {
		t.Fatalf("index %d and %d", a.Index, b.Index)
	}
	if again.View().Position() != l.View().Position() {
		t.Fatal("the copies went different ways")
	}
}
