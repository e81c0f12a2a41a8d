package signing

import (
	"context"
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/ledger"
)

// signAll calls the HSM (S3) and verifies what it gave (S4), a few at a time.
func (s *Signer) signAll(ctx context.Context, j *job, items []Item, tbs [][]byte) {
	ctx, cancel := context.WithTimeout(ctx, s.MaxAge-(s.Elapsed()-j.received))
	defer cancel()
	if len(items) == 1 {
		s.signOne(ctx, j, &items[0], tbs[0])
		return
	}
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(s.MaxWorkers, len(items)) {
		wg.Go(func() {
			for i := range next {
				s.signOne(ctx, j, &items[i], tbs[i])
			}
		})
	}
	for i := range items {
		if items[i].Err == nil {
			next <- i
		}
	}
	close(next)
	wg.Wait()
}

func (s *Signer) signOne(ctx context.Context, j *job, item *Item, tbs []byte) {
	sig, err := s.Store.Sign(ctx, j.ref, tbs)
	if err != nil {
		item.Err = fmt.Errorf("sign with %s version %d: %w", j.key.ID, j.version.Number, err)
		return
	}
	if n := uint64(max(1, j.key.Policy.VerifyOneIn)); n == 1 || s.verified.Add(1)%n == 0 {
		if err := hsm.VerifySignature(j.key.Alg, j.instance.SPKI, tbs, sig); err != nil {
			// A wrong signature can mean a wrong key or a fault attack, and an ECDSA
			// one can give the private key away: it never leaves.
			clear(sig)
			item.Err = refuse("keystore_unavailable", "try another node, and look at this node's HSM", "the HSM gave a signature that does not verify with instance %s: nothing was released", j.instance.KID)
			return
		}
	}
	item.Bytes = sig
}

// release is the gate (S5). Whatever was true when the HSM was called, it looks
// again: state fresh, version and instance the same ones and allowed, caller still
// allowed, request young enough. There is no I/O between the look and the answer.
func (s *Signer) release(ctx context.Context, j *job, items []Item, tbs [][]byte) {
	err := s.gate(ctx, j)
	for i := range items {
		it := &items[i]
		kind := audit.SignReleased
		switch {
		case it.Err != nil && tbs[i] == nil:
			continue // was never admitted, has no intent
		case it.Err == nil && err != nil:
			clear(it.Bytes)
			it.Bytes, it.Err, kind = nil, err, audit.SignRefused
		case it.Err != nil:
			kind = audit.SignRefused
		}
		rec := j.record(kind, s.Clock(), tbs[i])
		if it.Err != nil {
			s.Withheld.Add(1)
			rec.Allowed, rec.Detail = false, "signed, not released: "+it.Err.Error()
		} else {
			s.Released.Add(1)
		}
		// The intent is on disk; how it ended rides with the next sync.
		if recErr := s.Audit.AppendAsync(rec); recErr != nil && it.Err == nil {
			clear(it.Bytes)
			it.Bytes, it.Err = nil, fmt.Errorf("record a released signature: %w", recErr)
		}
	}
}

func (s *Signer) gate(ctx context.Context, j *job) error {
	if age := s.Elapsed() - j.received; age >= s.MaxAge {
		return refuse("too_late", "send the request again, or to another node", "the request was %d ms old when its signature was ready, the limit is %d ms: nothing was released", age.Milliseconds(), s.MaxAge.Milliseconds())
	}
	snap, err := s.Ledger.Read(ctx, ledger.Freshness{Level: ledger.Bounded, Within: s.MaxStale})
	if err != nil {
		return fmt.Errorf("release a signature: %w", err)
	}
	if snap.View == j.view {
		// Nothing was applied since it was admitted: all that look would find is the same.
		return s.usable(snap.View.Node(j.instance.Node), j.key.ID, j.version.Number)
	}
	now, err := s.look(snap.View, j.caller, j.key.ID)
	if err != nil {
		return err
	}
	if now.instance.KID != j.instance.KID {
		return refuse("conflict", "send the request again", "%s changed to version %d while signing: nothing was released", j.key.ID, now.version.Number)
	}
	return nil
}
