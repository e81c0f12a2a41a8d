package signing_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// strict makes a world whose key ci-strict is strict.
func strict(t *testing.T) *world {
	w := build(t)
	w.create("ci-strict", lifecycle.ForCode, lifecycle.ES256, nil)
	return w
}

func (w *world) signStrict(inputs ...signing.Input) ([]signing.Item, error) {
	return w.signer.Sign(ctx, w.request("ci-strict"), inputs)
}

// recorded lists the leaves of strict signatures.
func (w *world) recorded() (out []*state.Leaf) {
	w.t.Helper()
	if err := w.ledger.View().Leaves(0, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Kind == "signature.recorded" {
			out = append(out, l)
		}
		return true
	}); err != nil {
		w.t.Fatal(err)
	}
	return out
}

func TestStrictSignatureStandsInTheLog(t *testing.T) {
	w := strict(t)
	items, err := w.signStrict(hello, signing.Input{Message: []byte("two")}, signing.Input{Digest: []byte("short")})
	if err != nil {
		t.Fatal(err)
	}
	leaves := w.recorded()
	if len(leaves) != 1 || leaves[0].Count != 2 || leaves[0].Key != "ci-strict" || leaves[0].Actor != "robot" {
		t.Fatalf("leaves = %+v", leaves)
	}
	of := sha256.Sum256(hello.Message)
	sig := sha256.Sum256(items[0].Bytes)
	if !bytes.Equal(leaves[0].Items[0].TBS, of[:]) || !bytes.Equal(leaves[0].Items[0].Sig, sig[:]) {
		t.Errorf("recorded %x, want what was signed and the signature", leaves[0].Items[0])
	}
	if items[2].Err == nil || items[0].Err != nil || items[0].RecordIndex == 0 || items[0].RecordIndex != items[1].RecordIndex {
		t.Errorf("items = %+v", items)
	}
	if index := w.ledger.View().Position().Index; items[0].RecordIndex != index {
		t.Errorf("recorded at %d, the log is at %d", items[0].RecordIndex, index)
	}
	// An ordinary key costs the log nothing.
	if items, err = w.sign(hello); err != nil || items[0].RecordIndex != 0 || w.entries.Load() != 1 {
		t.Errorf("ordinary: %+v, %v, %d entries", items, err, w.entries.Load())
	}
}

// TestStrictRefusals: whatever happens before the record, in it or after it, nothing
// is released.
func TestStrictRefusals(t *testing.T) {
	revoke := func(w *world) { w.ledger.Must(w.t, &command.Revoke{Key: "ci-strict", Reason: lifecycle.KeyCompromise}) }
	for name, c := range map[string]struct {
		before, after func(w *world) // of the record
		want          string
		leaves        int // written although nothing is released
	}{
		"revoked before the record":   {before: revoke, want: "key_revoked"},
		"revoked behind the record":   {after: revoke, want: "key_revoked", leaves: 1},
		"replaced before the record":  {before: func(w *world) { w.ledger.Must(w.t, replacementOf(w, "ci-strict")) }, want: "being_replaced"},
		"replaced behind the record":  {after: func(w *world) { w.ledger.Must(w.t, replacementOf(w, "ci-strict")) }, want: "being_replaced", leaves: 1},
		"successor before the record": {before: func(w *world) { w.ledger.Must(w.t, replacementOf(w, "ci-strict")); w.bind("ci-strict", 2) }, want: "conflict"},
		"suspended before the record": {before: func(w *world) { w.ledger.Must(w.t, &command.SuspendVersion{Key: "ci-strict", Version: 1}) }, want: "key_suspended"},
		"instance revoked": {before: func(w *world) {
			w.ledger.Must(w.t, &command.Revoke{Key: "ci-strict", Node: w.ledger.NodeID(), Reason: lifecycle.KeyCompromise})
		}, want: "instance_not_here"},
		"caller revoked": {before: func(w *world) { w.ledger.Must(w.t, &command.RevokePrincipal{Name: "robot"}) }, want: "denied"},
		"role narrowed": {before: func(w *world) {
			w.ledger.Must(w.t, &command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service}})
		}, want: "denied"},
		"token revoked": {before: func(w *world) { w.ledger.Must(w.t, &command.RevokeToken{ID: "token-robot"}) }, want: "denied"},
		"node quarantined": {before: func(w *world) {
			w.ledger.Must(w.t, &command.SetNodeStatus{ID: w.ledger.NodeID(), Status: lifecycle.Quarantined})
		}, want: "instance_not_here"},
		"no leader":              {before: func(w *world) { w.ledger.SetLeader(false) }, want: "not_recorded"},
		"the leader is busy":     {before: func(w *world) { w.ledger.FailNext(ledger.ErrBusy) }, want: "not_recorded"},
		"the answer is lost":     {before: func(w *world) { w.ledger.LoseNextAnswer() }, want: "not_recorded", leaves: 1},
		"lease lost":             {after: func(w *world) { w.ledger.TakeLease("test") }, want: "", leaves: 1},
		"too old after recorded": {after: func(w *world) { w.elapsed.Store(int64(time.Minute)) }, want: "too_late", leaves: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := strict(t)
			w.record = func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
				if c.before != nil {
					c.before(w)
				}
				o, err := w.propose(ctx, groups)
				if c.after != nil {
					c.after(w)
				}
				return o, err
			}
			items, err := w.signStrict(hello, hello) // a batch is let out whole or not at all
			if err != nil {
				t.Fatalf("a batch answers for each item: %v", err)
			}
			for _, it := range items {
				if it.Bytes != nil || it.Err == nil {
					t.Fatalf("a signature was released: %+v", it)
				}
				if errors.Is(it.Err, ledger.ErrNotLeader) || errors.Is(it.Err, ledger.ErrIndeterminate) {
					t.Errorf("%v would be forwarded, or repeated under its request id", it.Err)
				}
				code(t, it.Err, c.want)
			}
			if n := len(w.recorded()); n != c.leaves {
				t.Errorf("%d leaves were written, want %d", n, c.leaves)
			}
			if w.audit.count(audit.SignRefused) != 2 || w.audit.count(audit.SignReleased) != 0 || w.signer.Released.Load() != 0 {
				t.Errorf("recorded as %+v", w.audit.records)
			}
		})
	}
}

// TestStrictSwitchedOnWhileSigning: what was admitted under the looser policy is not
// released under the stricter one.
func TestStrictSwitchedOnWhileSigning(t *testing.T) {
	w := build(t)
	release := w.store.Hang("Sign")
	done := make(chan error, 1)
	go func() { _, err := w.sign(hello); done <- err }()
	until(t, "the HSM is asked", func() bool { return w.store.Calls("Sign") == 1 })
	p := w.ledger.View().Key("ci").Policy
	p.Strict = true
	w.ledger.Must(t, &command.SetPolicy{Key: "ci", Policy: p})
	release()
	code(t, <-done, "conflict")
	if _, err := w.sign(hello); err != nil || len(w.recorded()) != 1 {
		t.Errorf("after that: %v, %d leaves", err, len(w.recorded()))
	}
	w.signer.Record = nil
	_, err := w.sign(hello)
	code(t, err, "not_available")
}

// TestLateRecord gives up when the request is too old, whatever becomes of the record.
func TestLateRecord(t *testing.T) {
	w := strict(t)
	w.signer.MaxAge = 50 * time.Millisecond
	w.record = func(ctx context.Context, _ []command.SignatureGroup) (state.Outcome, error) {
		<-ctx.Done()
		return state.Outcome{}, ledger.ErrIndeterminate
	}
	_, err := w.signStrict(hello)
	code(t, err, "not_recorded")
}

// TestRequestsShareEntries lets many requests pile up behind slow entries: they go
// into few, none larger than an entry may be, and each has a verdict of its own.
func TestRequestsShareEntries(t *testing.T) {
	w := strict(t)
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "second", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "ci*"}}}})
	const requests = 300
	hold := make(chan struct{})
	var mu sync.Mutex
	held, carried, largest := 0, 0, 0
	w.record = func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
		items := 0
		for _, g := range groups {
			items += len(g.Items)
		}
		mu.Lock()
		held, carried = held+1, carried+len(groups)
		largest = max(largest, len(groups))
		mu.Unlock()
		if len(groups) > 128 || items > signing.MaxItems && len(groups) > 1 {
			t.Errorf("an entry of %d groups with %d signatures", len(groups), items)
		}
		<-hold
		return w.propose(ctx, groups)
	}
	v := w.ledger.View()
	kid := v.Instance("ci-strict", 1, w.ledger.NodeID()).KID
	sum := sha256.Sum256(nil)
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, requests)
	index := make([]uint64, requests)
	for i := range requests {
		g := command.SignatureGroup{Key: "ci-strict", Version: 1, KID: kid, Principal: "robot", TokenID: robot.TokenID, RequestID: newID()}
		if i%10 == 0 {
			g.Principal, g.TokenID, g.Items = "second", "", make([]command.SignatureItem, 99)
		}
		g.Items = append(g.Items, command.SignatureItem{})
		for j := range g.Items {
			g.Items[j] = command.SignatureItem{TBS: sum[:], Sig: sum[:]}
		}
		wg.Go(func() { index[i], errs[i] = w.signer.Put(deadline, g) })
	}
	until(t, "all wait", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return held == 2 && carried+w.signer.Waiting() == requests
	})
	w.ledger.Must(t, &command.RevokePrincipal{Name: "second"})
	close(hold)
	wg.Wait()
	for i, err := range errs {
		if i%10 == 0 {
			code(t, err, "denied")
		} else if err != nil || index[i] == 0 {
			t.Errorf("request %d: %v, recorded at %d", i, err, index[i])
		}
	}
	if n := w.entries.Load(); n > 60 || largest < 5 {
		t.Errorf("%d requests went into %d entries, the largest of %d", requests, n, largest)
	}
}

// TestCrashBetweenRecordAndRelease: the process dies with the record in the log. The
// log says that a signature may exist; nobody has it, and a repeat makes another.
func TestCrashBetweenRecordAndRelease(t *testing.T) {
	w := strict(t)
	died := fmt.Errorf("the process died")
	w.record = func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
		if _, err := w.propose(ctx, groups); err != nil {
			t.Error(err)
		}
		return state.Outcome{}, died // it never gets the answer
	}
	if _, err := w.signStrict(hello); err == nil {
		t.Fatal("released without an answer")
	}
	w.record = w.propose
	again := ledgertest.New(t, ledgertest.WithState(w.ledger.Rows()), ledgertest.WithClock(w.ledger.Clock()))
	w.ledger, w.signer.Ledger, w.lease.Lease = again, again, again
	if items, err := w.signStrict(hello); err != nil || items[0].RecordIndex == 0 || len(w.recorded()) != 2 {
		t.Errorf("after the restart: %+v, %v, %d leaves", items, err, len(w.recorded()))
	}
}
