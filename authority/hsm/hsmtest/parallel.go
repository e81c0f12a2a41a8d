package hsmtest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// testParallel mixes everything that may run at one time. PKCS#11 libraries fail a
// few in a thousand calls when generation or deletion overlaps with signing, so the
// counts are high enough to see that, and no error at all is tolerated.
func testParallel(t *testing.T, f Factory) {
	const signers, signatures, makers, keysEach = 6, 150, 2, 8
	ks := open(t, f)
	algs := []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA}
	refs := make([]hsm.Ref, len(algs))
	for i, alg := range algs {
		refs[i] = RefTo(Generate(t, ks, alg), alg)
	}
	ctx := Context(t)
	var wg sync.WaitGroup
	run := func(work func() error) {
		wg.Go(func() {
			if err := work(); err != nil {
				t.Error(err)
			}
		})
	}
	for i := range signers {
		run(func() error { return signMany(ctx, ks, refs[i%len(refs)], signatures) })
	}
	for i := range makers {
		run(func() error { return makeAndDestroy(ctx, t, ks, algs[i%len(algs)], keysEach) })
	}
	run(func() error {
		for range keysEach {
			if _, err := ks.Inventory(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	wg.Wait()
	objects, err := ks.Inventory(Context(t))
	if err != nil || len(objects) != len(refs) {
		t.Errorf("%d pairs left, want %d (%v)", len(objects), len(refs), err)
	}
	if h := ks.Health(); !h.OK {
		t.Errorf("unhealthy afterwards: %s", h.Why)
	}
}

func signMany(ctx context.Context, ks hsm.KeyStore, ref hsm.Ref, n int) error {
	for i := range n {
		input := InputFor(ref.Alg, fmt.Sprint(i))
		sig, err := ks.Sign(ctx, ref, input)
		if err != nil {
			return err
		}
		if err := hsm.VerifySignature(ref.Alg, ref.SPKI, input, sig); err != nil {
			return err
		}
	}
	return nil
}

func makeAndDestroy(ctx context.Context, t *testing.T, ks hsm.KeyStore, alg lifecycle.Algorithm, n int) error {
	for range n {
		o, err := ks.Generate(ctx, SpecFor(t, alg))
		if err != nil {
			return err
		}
		if err := signMany(ctx, ks, RefTo(o, alg), 3); err != nil {
			return err
		}
		if _, err := ks.Find(ctx, o.ID); err != nil {
			return err
		}
		if err := ks.Destroy(ctx, o.ID, o.SPKI); err != nil {
			return err
		}
	}
	return nil
}
