//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// BenchmarkSign compares three ways to sign with one P-256 key at two sessions: the
// bare binding (C_SignInit and C_Sign), crypto11's Signer, and this driver.
//
//	go test -run '^$' -bench Sign -benchtime 100x ./authority/hsm/pkcs11
//
// Short rounds of the three alternate and the fastest round of each counts, because
// a busy machine only ever adds time; the ratios to the bare binding are what counts.
func BenchmarkSign(b *testing.B) {
	const sessions, each = 2, 200
	tokens := hsmtest.NewSoftHSM(b, "bench")
	cfg := tokens.Config("bench")
	cfg.Concurrency = sessions
	s := open(b, cfg)
	ref := hsmtest.RefTo(hsmtest.Generate(b, s, lifecycle.ES256), lifecycle.ES256)
	digest := hsmtest.InputFor(lifecycle.ES256, "bench")
	hsmtest.SignAndVerify(b, s, ref, "warm")
	signer, err := s.conn.p11.FindKeyPair(ref.ID[:], nil)
	if err != nil {
		b.Fatal(err)
	}
	ways := []struct {
		name string
		sign func(session int, digest []byte) error
		best time.Duration // of one round
	}{
		{name: "raw", sign: rawSigner(b, s, ref.ID[:], sessions)},
		{name: "crypto11", sign: func(_ int, digest []byte) error {
			_, err := signer.Sign(nil, digest, crypto.SHA256)
			return err
		}},
		{name: "driver", sign: func(_ int, digest []byte) error {
			_, err := s.Sign(context.Background(), ref, digest)
			return err
		}},
	}
	b.ResetTimer()
	for range b.N {
		for i := range ways {
			start := time.Now()
			var wg sync.WaitGroup
			for session := range sessions {
				wg.Go(func() {
					for range each {
						if err := ways[i].sign(session, digest); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			if spent := time.Since(start); ways[i].best == 0 || spent < ways[i].best {
				ways[i].best = spent
			}
		}
	}
	for _, way := range ways {
		b.ReportMetric(float64(way.best.Nanoseconds())/float64(sessions*each), "ns/"+way.name)
		if way.name != "raw" {
			b.ReportMetric(float64(ways[0].best)/float64(way.best), way.name+"/raw")
		}
	}
	b.ReportMetric(0, "ns/op") // the mixture means nothing
}

// BenchmarkSignAllocs shows what one signature allocates.
func BenchmarkSignAllocs(b *testing.B) {
	tokens := hsmtest.NewSoftHSM(b, "bench")
	s := open(b, tokens.Config("bench"))
	ref := hsmtest.RefTo(hsmtest.Generate(b, s, lifecycle.ES256), lifecycle.ES256)
	digest := hsmtest.InputFor(lifecycle.ES256, "bench")
	hsmtest.SignAndVerify(b, s, ref, "warm")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Sign(context.Background(), ref, digest); err != nil {
			b.Fatal(err)
		}
	}
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
