//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkSign compares the driver with C_SignInit and C_Sign called directly, at
// two sessions on one key in one process:
//
//	go test -run '^$' -bench Sign -benchtime 5x ./authority/hsm/pkcs11
//
// The ratio driver/raw is reported by the last line; rounds of both alternate, so
// that a busy machine hurts them alike.
func BenchmarkSign(b *testing.B) {
	const sessions, each = 2, 2000
	tokens := hsmtest.NewSoftHSM(b, "bench")
	cfg := tokens.Config("bench")
	cfg.Concurrency = sessions
	s := open(b, cfg)
	ref := hsmtest.RefTo(hsmtest.Generate(b, s, lifecycle.ES256), lifecycle.ES256)
	digest := hsmtest.InputFor(lifecycle.ES256, "bench")
	hsmtest.SignAndVerify(b, s, ref, "warm")
	raw := rawSigner(b, s, ref.ID[:], sessions)

	var rawNS, driverNS atomic.Int64
	round := func(total *atomic.Int64, sign func(session int) error) {
		start := stamp()
		var wg sync.WaitGroup
		for session := range sessions {
			wg.Go(func() {
				for range each {
					if err := sign(session); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		total.Add(stamp() - start)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		round(&rawNS, func(session int) error { return raw(session, digest) })
		round(&driverNS, func(int) error {
			_, err := s.Sign(context.Background(), ref, digest)
			return err
		})
	}
	count := float64(b.N * sessions * each)
	b.ReportMetric(float64(rawNS.Load())/count, "ns/raw-sign")
	b.ReportMetric(float64(driverNS.Load())/count, "ns/driver-sign")
	b.ReportMetric(float64(rawNS.Load())/float64(driverNS.Load()), "driver/raw")
}

// rawSigner gives a function that signs with the bare binding, one session each.
func rawSigner(b *testing.B, s *Store, id []byte, sessions int) func(session int, digest []byte) error {
	ctx, slot := s.module.raw, s.conn.token.slot
	handles := make([]pkcs11.SessionHandle, sessions)
	for i := range handles {
		var err error
		if handles[i], err = ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION); err != nil {
			b.Fatal(err)
		}
	}
	template := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY),
		pkcs11.NewAttribute(pkcs11.CKA_ID, id),
	}
	if err := ctx.FindObjectsInit(handles[0], template); err != nil {
		b.Fatal(err)
	}
	found, _, err := ctx.FindObjects(handles[0], 2)
	if err != nil || len(found) != 1 {
		b.Fatalf("%d keys, %v", len(found), err)
	}
	if err := ctx.FindObjectsFinal(handles[0]); err != nil {
		b.Fatal(err)
	}
	return func(session int, digest []byte) error {
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
		if err := ctx.SignInit(handles[session], mechanism, found[0]); err != nil {
			return err
		}
		_, err := ctx.Sign(handles[session], digest)
		return err
	}
}
