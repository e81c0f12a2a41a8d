package provision

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// The running reconciler takes up what the log brings, and what an operator asks.
func TestReconcilerRuns(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(context.Background())
	f.r.Start(ctx)
	var once sync.Once
	stop := func() { once.Do(func() { cancel(); f.r.Wait() }) }
	t.Cleanup(stop)

	f.key("a")
	f.eventually("a is made", func() bool { return f.mine("a").Condition == lifecycle.Ready })
	f.key("b")
	f.eventually("b is made", func() bool { return f.mine("b").Condition == lifecycle.Ready })
	f.erasing("b")
	f.eventually("b is erased", func() bool { return f.mine("b").Condition == lifecycle.Erased })

	// Behind its back the pair of a goes; nobody looks until asked to.
	a := f.mine("a")
	if err := f.lens.KeyStore.Destroy(ctx, hsm.ObjectID(a.CKAID), a.SPKI); err != nil {
		t.Fatal(err)
	}
	f.r.Recheck()
	f.eventually("a is missed", func() bool { return f.mine("a").Condition == lifecycle.Lost && f.r.State().Missing == 1 })
	if s := f.r.State(); !s.Wiped || !f.r.Usable("a", 1) {
		t.Errorf("state %+v", s)
	}
	stop()
	f.key("c")
	if f.mine("c").Condition != lifecycle.Pending {
		t.Error("stopped, and yet at work")
	}
}

func (f *fixture) eventually(what string, cond func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

// The next inventory comes by itself after the interval.
func TestInventoryByInterval(t *testing.T) {
	f := newFixture(t)
	f.made("k")
	id := hsm.ObjectID(f.mine("k").CKAID)
	f.lens.hidden[id] = true
	ctx := context.Background()
	if d := f.r.pass(ctx); d != maxSleep {
		t.Errorf("sleeps %s", d)
	}
	f.Clock().Advance(DefaultInterval - time.Millisecond)
	f.r.pass(ctx)
	f.expect("a millisecond too early", "k", lifecycle.Ready)
	f.Clock().Advance(time.Millisecond)
	f.r.pass(ctx)
	f.expect("after the interval", "k", lifecycle.Lost)
}

// An emergency does not wait for the next pass, and not for anything else there is to do.
func TestEmergencyDoesNotRest(t *testing.T) {
	f := newFixture(t)
	f.HoldFences(true)
	f.made("k")
	rests := make(chan time.Time) // never ends
	f.r.after = func(time.Duration) <-chan time.Time { return rests }
	ctx, cancel := context.WithCancel(context.Background())
	f.r.Start(ctx)
	t.Cleanup(func() { cancel(); f.r.Wait() })

	f.key("a")
	c := &command.Replace{Key: "k", Version: 2, Reason: lifecycle.KeyCompromise}
	for _, n := range f.nodes {
		c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: ledgertest.CKAID("k2" + string(n))})
	}
	f.Must(t, c)
	f.eventually("the new pair is made", func() bool {
		return f.View().Instance("k", 2, f.nodes[0]).Condition == lifecycle.Ready
	})
	if v := f.View().Version("k", 2); v.State != lifecycle.Active {
		t.Errorf("the version is %s", v.State)
	}
	f.expect("what is no emergency waits", "a", lifecycle.Pending)
}

// What failed because nobody led is tried again when somebody does.
func TestANewLeaderIsToldAtOnce(t *testing.T) {
	f := newFixture(t)
	f.key("k")
	f.reporter.fail = errors.New("no leader")
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan struct{}, 1)
	f.r.after = func(d time.Duration) <-chan time.Time {
		if d == minGap {
			return time.After(time.Millisecond)
		}
		select {
		case failed <- struct{}{}: // it goes to sleep after the failure
		default:
		}
		return nil
	}
	f.r.Start(ctx)
	t.Cleanup(func() { cancel(); f.r.Wait() })
	<-failed
	f.SetLeader(false)
	f.SetLeader(true)
	f.eventually("the pair is bound", func() bool { return f.mine("k").Condition == lifecycle.Ready })
}
