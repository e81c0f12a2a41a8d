package signing

import (
	"context"
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// signAll calls the HSM (S3) and verifies what it gave (S4), a few at a time.
func (s *Signer) signAll(ctx context.Context, j *job, items []Item, tbs [][]byte) {
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
	sig, err := s.Store.Sign(ctx, j.ref(), tbs)
	fault.Reached(fault.SignSigned)
	if err != nil {
		item.Err = fmt.Errorf("sign with %s version %d: %w", j.key.ID, j.version.Number, err)
		return
	}
	if n := j.verifyOneIn(); n == 1 || s.verified.Add(1)%n == 0 {
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

// verifyOneIn is how many signatures share one verification: what the policy says, but each
// certificate and CRL is verified.
func (j *job) verifyOneIn() uint64 {
	if j.key.Purpose == lifecycle.ForCertificate {
		return 1
	}
	return uint64(max(1, j.key.Policy.VerifyOneIn))
}

// enter writes the signatures of a strict key into the log, all of the request or
// none. It returns the index of the entry, 0 when the key is not strict; after an
// error nothing of the request may be released.
func (s *Signer) enter(ctx context.Context, j *job, items []Item, tbs [][]byte) (uint64, error) {
	if !j.key.Policy.Strict || fault.On(fault.StrictSkipped) {
		return 0, nil
	}
	g := j.group(items, tbs)
	if len(g.Items) == 0 {
		return 0, nil // nothing was signed, nothing will be released
	}
	return s.notary.Put(ctx, g)
}
