package publish

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestCacheKeepsASetWhileItsRowsStand(t *testing.T) {
	f := newFixture(t)
	f.active("a", lifecycle.ForToken, lifecycle.EdDSA)
	f.active("b", lifecycle.ForToken, lifecycle.EdDSA)
	var c Cache
	set := func(name lifecycle.KeyID) *TrustSet {
		t.Helper()
		s, err := c.Set(f.View(), name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	old := f.View()
	first := set("a")
	if set("a") != first {
		t.Error("the same View, another set")
	}
	f.Must(t, &command.Revoke{Key: "b", Reason: lifecycle.KeyCompromise})
	if set("a") != first {
		t.Error("a change of another key threw the set away")
	}
	f.Must(t, &command.Revoke{Key: "a", Versions: []uint64{1}, Node: f.nodes[0], Reason: lifecycle.KeyCompromise})
	second := set("a")
	if second.Digest == first.Digest || len(second.Instances) != 2 {
		t.Errorf("after the revocation: %s", second.JWKS)
	}
	if s, err := c.Set(old, "a"); err != nil || s.Digest != first.Digest {
		t.Errorf("the older View answers %v, %v", s, err)
	}
	if set("a") != second {
		t.Error("a reader of an older View replaced the newer set")
	}
	if _, err := c.Set(f.View(), "absent"); !errors.Is(err, ErrNoKey) {
		t.Errorf("no such key: %v", err)
	}
}

func TestCacheOfTheWellKnownSet(t *testing.T) {
	f := newFixture(t)
	f.active("a", lifecycle.ForToken, lifecycle.EdDSA)
	var c Cache
	set := func() *TrustSet {
		t.Helper()
		s, err := c.WellKnown(f.View())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := set()
	f.active("code", lifecycle.ForCode, lifecycle.EdDSA)
	if got := set(); got.Digest != first.Digest {
		t.Errorf("a code key came in: %s", got.JWKS)
	}
	f.active("b", lifecycle.ForToken, lifecycle.EdDSA)
	if got := set(); len(got.Instances) != 6 {
		t.Errorf("two keys: %s", got.JWKS)
	}
	out := policy(lifecycle.ForToken, lifecycle.EdDSA)
	out.Publish = false
	f.Must(t, &command.SetPolicy{Key: "b", Policy: out})
	if got := set(); got.Digest != first.Digest {
		t.Errorf("b opted out: %s", got.JWKS)
	}
}

func TestCacheIsBounded(t *testing.T) {
	var c Cache
	f := newFixture(t)
	f.create("a", lifecycle.ForToken, lifecycle.EdDSA, policy(lifecycle.ForToken, lifecycle.EdDSA))
	f.create("b", lifecycle.ForToken, lifecycle.EdDSA, policy(lifecycle.ForToken, lifecycle.EdDSA))
	c.count.Store(cacheMax - 1)
	for range 3 {
		for _, name := range []lifecycle.KeyID{"a", "b", "absent"} {
			if _, err := c.Set(f.View(), name); err != nil && name != "absent" {
				t.Fatal(err)
			}
		}
	}
	kept := 0
	c.sets.Range(func(any, any) bool { kept++; return true })
	if kept != 1 || c.count.Load() != cacheMax {
		t.Errorf("%d sets kept, count %d", kept, c.count.Load())
	}
}

// Readers of many positions at once each get the set of their own View.
func TestCacheUnderConcurrentChange(t *testing.T) {
	f := newFixture(t)
	f.active("k", lifecycle.ForToken, lifecycle.EdDSA)
	var c Cache
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Add(1)
		go func() {
			defer readers.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				view := f.View()
				cached, err := c.Set(view, "k")
				known, err2 := c.WellKnown(view)
				fresh, err3 := Set(view, "k")
				if err := errors.Join(err, err2, err3); err != nil || cached.Digest != fresh.Digest || known.Digest != fresh.Digest {
					t.Errorf("cached %s, well-known %s, fresh %s (%v)", cached.Digest, known.Digest, fresh.Digest, err)
					return
				}
			}
		}()
	}
	for v := uint64(2); v < 40; v++ {
		f.prepare("k", v)
		f.bind("k", v, f.nodes[v%3])
		f.Must(t, &command.ActivateVersion{Key: "k", Version: v, Early: true, Comment: "now"})
	}
	close(stop)
	readers.Wait()
}

func BenchmarkCacheHot(b *testing.B) {
	f := newFixture(b)
	f.active("k", lifecycle.ForToken, lifecycle.ES256)
	var c Cache
	view := f.View()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := c.Set(view, "k"); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkCacheRevalidate reads at a position where only other keys have changed.
func BenchmarkCacheRevalidate(b *testing.B) {
	f := newFixture(b)
	f.active("k", lifecycle.ForToken, lifecycle.ES256)
	var c Cache
	old := f.View()
	f.create("other", lifecycle.ForToken, lifecycle.ES256, policy(lifecycle.ForToken, lifecycle.ES256))
	now := f.View()
	for n := 0; b.Loop(); n++ {
		if _, err := c.Set(now, "k"); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Set(old, "k"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBuild(b *testing.B) {
	f := newFixture(b)
	f.active("k", lifecycle.ForToken, lifecycle.ES256)
	for b.Loop() {
		if _, err := Set(f.View(), "k"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWellKnownRevalidate is the first read at a new position with many keys.
func BenchmarkWellKnownRevalidate(b *testing.B) {
	f := newFixture(b)
	for n := range 1000 {
		name := fmt.Sprintf("k%d", n)
		f.Must(b, &command.CreateKey{Name: lifecycle.KeyID(name), Purpose: lifecycle.ForToken, Alg: lifecycle.EdDSA,
			Custody: lifecycle.Distributed, Owner: "o", Reason: "r", Policy: policy(lifecycle.ForToken, lifecycle.EdDSA),
			Instances: f.intents(name, 1, f.nodes...)})
	}
	views := []func() (*TrustSet, error){}
	var c Cache
	old := f.View()
	f.Must(b, &command.AddJoinToken{ID: "some-token", MACKey: make([]byte, 32), ExpiresAt: ledgertest.NewClock().At() + 1})
	now := f.View()
	views = append(views, func() (*TrustSet, error) { return c.WellKnown(now) }, func() (*TrustSet, error) { return c.WellKnown(old) })
	for n := 0; b.Loop(); n++ {
		if _, err := views[n%2](); err != nil {
			b.Fatal(err)
		}
	}
}
