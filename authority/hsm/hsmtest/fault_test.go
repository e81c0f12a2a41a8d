package hsmtest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var errPlanned = errors.New("planned")

func TestFaultPassesThrough(t *testing.T) {
	f := hsmtest.NewFault(hsmtest.Soft(t))
	o := hsmtest.Generate(t, f, lifecycle.ES256)
	hsmtest.SignAndVerify(t, f, hsmtest.RefTo(o, lifecycle.ES256), "m")
	if _, err := f.Find(t.Context(), o.ID); err != nil {
		t.Error(err)
	}
	if err := f.Destroy(t.Context(), o.ID, o.SPKI); err != nil {
		t.Error(err)
	}
	for op, want := range map[hsmtest.Op]int{hsmtest.OpGenerate: 1, hsmtest.OpSign: 1, hsmtest.OpFind: 1, hsmtest.OpDestroy: 1, hsmtest.OpInventory: 0} {
		if got := f.Calls(op); got != want {
			t.Errorf("%s was counted %d times, want %d", op, got, want)
		}
	}
}

func TestFaultFailsBeforeOrAfter(t *testing.T) {
	f := hsmtest.NewFault(hsmtest.Soft(t))
	before, after := hsmtest.SpecFor(t, lifecycle.ES256), hsmtest.SpecFor(t, lifecycle.ES256)
	f.Fail(hsmtest.OpGenerate, errPlanned, 1)
	if _, err := f.Generate(t.Context(), before); !errors.Is(err, errPlanned) {
		t.Errorf("Fail: %v", err)
	}
	if _, err := f.Find(t.Context(), before.ID); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Fail reached the store: %v", err)
	}
	f.FailAfter(hsmtest.OpGenerate, errPlanned, 1)
	if _, err := f.Generate(t.Context(), after); !errors.Is(err, errPlanned) {
		t.Errorf("FailAfter: %v", err)
	}
	if _, err := f.Find(t.Context(), after.ID); err != nil {
		t.Errorf("FailAfter did not reach the store: %v", err)
	}
	if _, err := f.Generate(t.Context(), before); err != nil {
		t.Errorf("the faults were to happen once: %v", err)
	}
}

func TestFaultHangAndDelay(t *testing.T) {
	f := hsmtest.NewFault(hsmtest.Soft(t))
	o := hsmtest.Generate(t, f, lifecycle.EdDSA)
	ref := hsmtest.RefTo(o, lifecycle.EdDSA)
	release := f.Hang(hsmtest.OpSign)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	sign := func(ctx context.Context) { _, err := f.Sign(ctx, ref, []byte("m")); done <- err }
	go sign(ctx)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.Is(err, hsm.ErrUnavailable) {
		t.Errorf("hung call with a cancelled context: %v", err)
	}
	go sign(t.Context())
	release()
	release() // harmless
	if err := <-done; err != nil {
		t.Errorf("released call: %v", err)
	}
	f.Delay(hsmtest.OpSign, time.Hour)
	go sign(ctx)
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("delayed call with a cancelled context: %v", err)
	}
	f.Reset()
	hsmtest.SignAndVerify(t, f, ref, "reset")
}

func TestFaultSignsWrongly(t *testing.T) {
	f := hsmtest.NewFault(hsmtest.Soft(t))
	a, b := hsmtest.Generate(t, f, lifecycle.EdDSA), hsmtest.Generate(t, f, lifecycle.EdDSA)
	verify := func(spki []byte) error {
		sig, err := f.Sign(t.Context(), hsmtest.RefTo(a, lifecycle.EdDSA), []byte("m"))
		if err != nil {
			t.Fatal(err)
		}
		return hsm.VerifySignature(lifecycle.EdDSA, spki, []byte("m"), sig)
	}
	f.SwapKey(a.ID, b.ID)
	if err := verify(a.SPKI); !errors.Is(err, hsm.ErrSignature) {
		t.Errorf("swapped key under its own name: %v", err)
	}
	if err := verify(b.SPKI); err != nil {
		t.Errorf("swapped key under the other's: %v", err)
	}
	f.Reset()
	f.WrongSignatures(true)
	if err := verify(a.SPKI); !errors.Is(err, hsm.ErrSignature) {
		t.Errorf("wrong signature: %v", err)
	}
}

func TestFaultWipe(t *testing.T) {
	f := hsmtest.NewFault(hsmtest.Soft(t))
	o := hsmtest.Generate(t, f, lifecycle.EdDSA)
	if err := f.Wipe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Find(t.Context(), o.ID); !errors.Is(err, hsm.ErrNotFound) || f.Health().OK {
		t.Errorf("after the wipe: %v, %+v", err, f.Health())
	}
}
