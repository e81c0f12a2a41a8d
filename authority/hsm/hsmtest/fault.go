package hsmtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Op names a KeyStore method for Fault.
type Op string

// The methods a Fault can disturb.
const (
	OpGenerate  Op = "Generate"
	OpFind      Op = "Find"
	OpInventory Op = "Inventory"
	OpSign      Op = "Sign"
	OpDestroy   Op = "Destroy"
)

// Fault is a KeyStore that fails as told and otherwise passes calls on. Faults can
// be set while calls are in flight; they concern calls that start afterwards.
type Fault struct {
	inner hsm.KeyStore

	mu     sync.Mutex // owns all below
	rules  map[Op]*rule
	calls  map[Op]int
	swap   map[hsm.ObjectID]hsm.ObjectID
	wrong  bool
	health *hsm.Health
}

// rule is what happens to the calls of one method.
type rule struct {
	err   error
	times int  // calls left to fail; negative = all
	after bool // the inner call is made first, its result lost
	delay time.Duration
	hang  chan struct{} // not nil: wait until closed
}

var _ hsm.KeyStore = (*Fault)(nil)

// NewFault wraps a store. It does not close it; Close passes through.
func NewFault(inner hsm.KeyStore) *Fault {
	return &Fault{
		inner: inner, rules: map[Op]*rule{}, calls: map[Op]int{},
		swap: map[hsm.ObjectID]hsm.ObjectID{},
	}
}

func (f *Fault) change(op Op, set func(*rule)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := rule{}
	if old := f.rules[op]; old != nil {
		r = *old
	}
	set(&r)
	f.rules[op] = &r
}

// Fail makes the next calls of op return err without touching the store. times < 0
// means until Reset.
func (f *Fault) Fail(op Op, err error, times int) {
	f.change(op, func(r *rule) { r.err, r.times, r.after = err, times, false })
}

// FailAfter makes the next calls of op take effect in the store and return err all
// the same: the answer was lost.
func (f *Fault) FailAfter(op Op, err error, times int) {
	f.change(op, func(r *rule) { r.err, r.times, r.after = err, times, true })
}

// Delay makes each call of op wait d, or until its context ends, before it starts.
func (f *Fault) Delay(op Op, d time.Duration) {
	f.change(op, func(r *rule) { r.delay = d })
}

// Hang makes each call of op wait until release is called or its context ends.
func (f *Fault) Hang(op Op) (release func()) {
	gate := make(chan struct{})
	f.change(op, func(r *rule) { r.hang = gate })
	return sync.OnceFunc(func() {
		f.change(op, func(r *rule) {
			if r.hang == gate {
				r.hang = nil
			}
		})
		close(gate)
	})
}

// WrongSignatures makes Sign flip one bit in each signature, as a fault attack or a
// broken device would.
func (f *Fault) WrongSignatures(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wrong = on
}

// SwapKey makes Sign use the key with when asked for the key asked, and say
// nothing: an old handle that now is another key.
func (f *Fault) SwapKey(asked, with hsm.ObjectID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.swap[asked] = with
}

// SetHealth overrides Health; nil gives it back to the store.
func (f *Fault) SetHealth(h *hsm.Health) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health = h
}

// Wipe removes every key, as a re-initialised token: look-ups then work and find
// nothing.
func (f *Fault) Wipe(ctx context.Context) error {
	objects, err := f.inner.Inventory(ctx)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := f.inner.Destroy(ctx, o.ID, o.SPKI); err != nil {
			return err
		}
	}
	f.SetHealth(&hsm.Health{Why: fmt.Sprintf("%d keys are gone from the token: it was wiped", len(objects)), Token: f.inner.Health().Token})
	return nil
}

// Reset drops all faults of the methods; calls hanging now go on hanging until
// their release.
func (f *Fault) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.rules)
	clear(f.swap)
	f.wrong, f.health = false, nil
}

// Calls tells how often op was called.
func (f *Fault) Calls(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[op]
}

// disturb applies the rule of op to one call.
func (f *Fault) disturb(ctx context.Context, op Op, inner func() error) error {
	err, after, err2 := f.enter(ctx, op)
	if err2 != nil {
		return err2
	}
	if err != nil && !after {
		return err
	}
	if innerErr := inner(); innerErr != nil {
		return innerErr
	}
	return err
}

// enter counts the call, waits as told and takes one failure off the rule. failed
// is the error to return, aborted says that the context ended while waiting.
func (f *Fault) enter(ctx context.Context, op Op) (failed error, after bool, aborted error) {
	f.mu.Lock()
	f.calls[op]++
	r := f.rules[op]
	if r == nil {
		f.mu.Unlock()
		return nil, false, nil
	}
	if r.err != nil && r.times != 0 {
		failed, after = r.err, r.after
		r.times--
	}
	delay, hang := r.delay, r.hang
	f.mu.Unlock()
	return failed, after, wait(ctx, delay, hang)
}

func wait(ctx context.Context, delay time.Duration, hang chan struct{}) error {
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", hsm.ErrUnavailable, ctx.Err())
		}
	}
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", hsm.ErrUnavailable, ctx.Err())
		}
	}
	return nil
}

// Driver implements hsm.KeyStore.
func (f *Fault) Driver() string { return f.inner.Driver() }

// Check implements hsm.KeyStore.
func (f *Fault) Check(alg lifecycle.Algorithm, bits int) error { return f.inner.Check(alg, bits) }

// Generate implements hsm.KeyStore.
func (f *Fault) Generate(ctx context.Context, spec hsm.Spec) (o hsm.Object, err error) {
	err = f.disturb(ctx, OpGenerate, func() (err error) { o, err = f.inner.Generate(ctx, spec); return })
	if err != nil {
		return hsm.Object{}, err
	}
	return o, nil
}

// Find implements hsm.KeyStore.
func (f *Fault) Find(ctx context.Context, id hsm.ObjectID) (o hsm.Object, err error) {
	err = f.disturb(ctx, OpFind, func() (err error) { o, err = f.inner.Find(ctx, id); return })
	if err != nil {
		return hsm.Object{}, err
	}
	return o, nil
}

// Inventory implements hsm.KeyStore.
func (f *Fault) Inventory(ctx context.Context) (all []hsm.Object, err error) {
	err = f.disturb(ctx, OpInventory, func() (err error) { all, err = f.inner.Inventory(ctx); return })
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Sign implements hsm.KeyStore.
func (f *Fault) Sign(ctx context.Context, ref hsm.Ref, input []byte) (sig []byte, err error) {
	err = f.disturb(ctx, OpSign, func() (err error) { sig, err = f.sign(ctx, ref, input); return })
	if err != nil {
		return nil, err
	}
	return sig, nil
}

func (f *Fault) sign(ctx context.Context, ref hsm.Ref, input []byte) ([]byte, error) {
	f.mu.Lock()
	with, swapped := f.swap[ref.ID]
	wrong := f.wrong
	f.mu.Unlock()
	if swapped {
		other, err := f.inner.Find(ctx, with)
		if err != nil {
			return nil, err
		}
		ref.ID, ref.SPKI = other.ID, other.SPKI
	}
	sig, err := f.inner.Sign(ctx, ref, input)
	if err == nil && wrong {
		sig[len(sig)-1] ^= 1
	}
	return sig, err
}

// Destroy implements hsm.KeyStore.
func (f *Fault) Destroy(ctx context.Context, id hsm.ObjectID, spki []byte) error {
	return f.disturb(ctx, OpDestroy, func() error { return f.inner.Destroy(ctx, id, spki) })
}

// Health implements hsm.KeyStore.
func (f *Fault) Health() hsm.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.health != nil {
		return *f.health
	}
	return f.inner.Health()
}

// Close implements hsm.KeyStore.
func (f *Fault) Close() error { return f.inner.Close() }
