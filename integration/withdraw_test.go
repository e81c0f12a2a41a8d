package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// withdrawal is a right that somebody asked to be taken away.
type withdrawal struct {
	what    string // suspend, revoke, replace, token, principal, policy
	key     string
	version uint64 // of the key and all before it, 0 = all
	subject string // of token and principal
	request string
	final   bool // it never comes back

	call, back int64  // when it was asked and answered
	answeredAt int64  // wall clock of the answer, milliseconds
	index      uint64 // R; 0 = it did not happen, or nobody knows
	reached    string // level that the answer named
	fencedNS   int64  // when it was known to be fenced, 0 = never
	settledNS  int64
	regained   uint64 // index of the entry that gave the right back, 0 = none known
}

// kinds of withdrawals, each as often as it stands here.
var kinds = []string{"suspend", "suspend", "suspend", "suspend", "suspend", "suspend", "token", "token", "policy", "policy", "principal", "replace", "replace", "revoke"}

// withdraw takes rights away and gives them back, on one key after another.
func (r *trial) withdraw(slot int, l traffic, random *rand.Rand) {
	k := r.c.caller(0)
	defer k.Close()
	if l.kinds == nil {
		l.kinds = kinds
	}
	key, version := "", uint64(1) // version is the newest of key
	for generation := 0; r.ctx.Err() == nil; {
		if key == "" {
			generation++
			name, policy := fmt.Sprintf("w%x-%d-%d", random.Uint32(), slot, generation), l.policy
			if policy == "" && generation%strictEvery == 0 {
				policy = `{"strict":true}`
				r.expectStrict(name)
			}
			key, version = r.create(k, name, policy), 1
			r.use(slot, key)
			continue
		}
		pause(r.ctx, time.Duration(random.Int64N(int64(l.every))))
		if r.ctx.Err() != nil {
			return
		}
		switch what := l.kinds[random.IntN(len(l.kinds))]; what {
		case "suspend":
			r.suspend(k, key, version, random)
		case "policy":
			r.narrow(k, key)
		case "token", "principal":
			r.robot(k, key, what, random)
		case "replace":
			if r.replace(k, key, version) {
				version++
				continue
			}
			fallthrough // nobody knows which version signs
		case "revoke":
			r.use(slot, "")
			r.revoke(k, key)
			key = ""
		}
	}
}

// strictEvery is how many keys there are for each strict one.
const strictEvery = 3

// create makes a key and waits until it signs; "" when that did not work.
func (r *trial) create(k *client.Client, name, policy string) string {
	op := keyOp{key: name, verb: "create"}
	call := mono()
	req := wire.CreateKey{Name: name, Purpose: "artifact", Alg: "ES256", Owner: "lab@example.com", BusinessReason: "load"}
	if policy != "" {
		req.Policy = []byte(policy)
	}
	_, err := k.CreateKey(context.Background(), req, client.Wait(wire.Committed, 0))
	if r.changed(op, call, err, 0) && r.awaitActive(k, name, 1) {
		return name
	}
	return ""
}

// awaitActive waits until a version of a key signs, and reports whether it came to it.
func (r *trial) awaitActive(k *client.Client, key string, version uint64) bool {
	for until := time.Now().Add(15 * time.Second); time.Now().Before(until) && r.ctx.Err() == nil; pause(r.ctx, 100*time.Millisecond) {
		if got, err := k.Key(context.Background(), key); err == nil && got.ActiveVersion == version {
			return true
		}
	}
	return false
}

// changed adds a lifecycle change to the history, and reports whether it happened.
func (r *trial) changed(op keyOp, call int64, err error, version uint64) bool {
	a := keyAnswer{version: version}
	var refused *wire.Error
	var unknown *client.OutcomeUnknown
	var gone *client.Unavailable
	switch {
	case err == nil:
	case errors.As(err, &unknown), errors.As(err, &refused) && refused.Code == wire.OutcomeUnknown:
		a.unknown = true
	case errors.As(err, &gone):
		r.told(op.verb, err)
		return false // nothing was done, says the client: were it wrong, later reads would not fit
	case errors.As(err, &refused):
		a.code = refused.Code
	default:
		r.wonder("%s of %s: %v", op.verb, op.key, err)
		return false
	}
	if err != nil {
		r.told(op.verb, err)
	}
	r.add(op, a, call, mono())
	return err == nil
}

// take asks for a withdrawal and waits for a level of it, mostly for fenced.
func (r *trial) take(w *withdrawal, level string, ask func(context.Context, ...client.Option) (*wire.Operation, error)) error {
	w.request = client.NewRequestID()
	w.call = mono()
	op, err := ask(context.Background(), client.WithRequestID(w.request), client.Wait(level, 12*time.Second))
	w.back, w.answeredAt = mono(), time.Now().UnixMilli()
	if err == nil {
		w.reached = op.Reached
		if op.Committed != nil {
			w.index = op.Committed.Index
		}
		if op.Has(wire.Fenced) {
			w.fencedNS = w.back
		}
		if op.Has(wire.Settled) {
			w.settledNS = w.back
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.withdrawals = append(r.withdrawals, w)
	return err
}

func level(random *rand.Rand) string {
	if random.IntN(20) == 0 {
		return wire.Settled
	}
	return wire.Fenced
}

// suspend and give back.
func (r *trial) suspend(k *client.Client, key string, version uint64, random *rand.Rand) {
	w := &withdrawal{what: "suspend", key: key, version: version}
	op := keyOp{key: key, verb: "suspend", version: version}
	err := r.take(w, level(random), func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
		return k.Suspend(ctx, key, wire.VersionVerb{Version: version}, o...)
	})
	r.changed(op, w.call, err, 0)
	pause(r.ctx, time.Duration(random.Int64N(int64(100*time.Millisecond))))
	// It is given back in any case: the callers of this key should find it in use.
	for range 10 {
		call := mono()
		op := keyOp{key: key, verb: "resume", version: version}
		got, err := k.Resume(context.Background(), key, wire.VersionVerb{Version: version})
		if r.changed(op, call, err, 0) {
			if got.Committed != nil {
				w.regain(r, got.Committed.Index)
			}
			return
		}
		if wire.CodeOf(err) == wire.IllegalTransition || r.ctx.Err() != nil {
			return
		}
	}
}

func (w *withdrawal) regain(r *trial, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w.regained = index
}

// replace ends the version of a key that signs, and reports whether the next one does.
func (r *trial) replace(k *client.Client, key string, version uint64) bool {
	w := &withdrawal{what: "replace", key: key, version: version, final: true}
	op := keyOp{key: key, verb: "replace", version: version, reason: lifecycle.KeyCompromise}
	made := uint64(0)
	err := r.take(w, wire.Fenced, func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
		got, err := k.Replace(ctx, key, wire.Replace{Emergency: true, Versions: []uint64{version}, Reason: lifecycle.KeyCompromise}, o...)
		if err == nil {
			made = got.NewVersion
		}
		return got, err
	})
	return r.changed(op, w.call, err, made) && r.awaitActive(k, key, made)
}

// revoke ends a key.
func (r *trial) revoke(k *client.Client, key string) {
	w := &withdrawal{what: "revoke", key: key, final: true}
	op := keyOp{key: key, verb: "revoke", reason: lifecycle.KeyCompromise}
	err := r.take(w, wire.Fenced, func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
		return k.Revoke(ctx, key, wire.Revoke{Reason: lifecycle.KeyCompromise}, o...)
	})
	r.changed(op, w.call, err, 0)
}

// narrow takes an input out of the policy and lets it in again.
func (r *trial) narrow(k *client.Client, key string) {
	set := func(inputs ...string) (func(context.Context, ...client.Option) (*wire.Operation, error), error) {
		now, err := k.Policy(context.Background(), key)
		if err != nil {
			return nil, err
		}
		p := now.Policy
		p.Inputs = inputs
		return func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
			return k.SetPolicy(ctx, key, wire.SetPolicy{Policy: p}, append(o, client.IfMatch(now.Version))...)
		}, nil
	}
	ask, err := set(lifecycle.InputMessage)
	if err != nil {
		r.told("read the policy", err)
		return
	}
	w := &withdrawal{what: "policy", key: key}
	if err := r.take(w, wire.Fenced, ask); err != nil {
		r.told("narrow the policy", err)
	}
	if ask, err = set(lifecycle.InputMessage, lifecycle.InputDigest); err != nil {
		r.told("read the policy", err)
		return
	}
	if op, err := ask(context.Background()); err == nil && op.Committed != nil {
		w.regain(r, op.Committed.Index)
	} else {
		r.told("widen the policy", err)
	}
}

// robot makes a principal that signs on every node until it, or its token, is
// revoked.
func (r *trial) robot(k *client.Client, key, what string, random *rand.Rand) {
	name := fmt.Sprintf("r%x", random.Uint64())
	if _, err := k.AddPrincipal(context.Background(), wire.AddPrincipal{Name: name, Kind: lifecycle.Service, Roles: []string{"signer:" + key}}); err != nil {
		r.told("add a principal", err)
		return
	}
	token, err := k.CreateToken(context.Background(), wire.CreateToken{Principal: name})
	if err != nil || token.Secret == "" {
		r.told("create a token", err)
		return
	}
	stop, cancel := context.WithCancel(r.ctx)
	defer cancel()
	for _, n := range r.nodes {
		own := r.c.clientWith(func(cfg *client.Config) {
			cfg.CertFile, cfg.KeyFile, cfg.Token, cfg.Timeout = "", "", token.Secret, 2*time.Second
		}, n)
		r.wg.Go(func() {
			defer own.Close()
			for i := 0; stop.Err() == nil; i++ {
				r.signOnce(n, own, key, name, true, i)
				pause(stop, 10*time.Millisecond)
			}
		})
	}
	pause(r.ctx, time.Duration(random.Int64N(int64(100*time.Millisecond))))
	w := &withdrawal{what: what, key: key, subject: name, final: true}
	err = r.take(w, wire.Fenced, func(ctx context.Context, o ...client.Option) (*wire.Operation, error) {
		if what == "token" {
			return k.RevokeToken(ctx, token.ID, o...)
		}
		return k.RevokePrincipal(ctx, name, o...)
	})
	if err != nil {
		r.told("revoke a "+what, err)
	}
	pause(r.ctx, 50*time.Millisecond) // in which it tries to sign
}
