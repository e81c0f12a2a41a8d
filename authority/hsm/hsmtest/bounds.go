package hsmtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func testCloseTwice(t *testing.T, f Factory) {
	ks := f.Open(t, nil)
	o := Generate(t, ks, lifecycle.ES256)
	for range 2 {
		if err := ks.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
	for call, err := range callAll(context.Background(), t, ks, o) {
		if !errors.Is(err, hsm.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", call, err)
		}
	}
	if ks.Health().OK {
		t.Error("a closed store says it is healthy")
	}
}

// callAll makes one call of each method and collects the errors.
func callAll(ctx context.Context, t *testing.T, ks hsm.KeyStore, o hsm.Object) map[string]error {
	t.Helper()
	errs := map[string]error{}
	_, errs["Generate"] = ks.Generate(ctx, SpecFor(t, lifecycle.ES256))
	_, errs["Find"] = ks.Find(ctx, o.ID)
	_, errs["Inventory"] = ks.Inventory(ctx)
	_, errs["Sign"] = ks.Sign(ctx, RefTo(o, lifecycle.ES256), InputFor(lifecycle.ES256, "m"))
	errs["Destroy"] = ks.Destroy(ctx, o.ID, o.SPKI)
	return errs
}

func testCancelledContext(t *testing.T, f Factory) {
	ks := open(t, f)
	o := Generate(t, ks, lifecycle.ES256)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for call, err := range callAll(ctx, t, ks, o) {
		if !errors.Is(err, context.Canceled) || errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s with a cancelled context: %v", call, err)
		}
	}
	objects, err := ks.Inventory(Context(t))
	if err != nil || len(objects) != 1 || !sameObject(objects[0], o) {
		t.Errorf("cancelled calls changed the partition: %+v, %v", objects, err)
	}
	SignAndVerify(t, ks, RefTo(o, lifecycle.ES256), "as before")
}

func testDeadlineInQueue(t *testing.T, f Factory) {
	ks := open(t, f)
	ref := RefTo(Generate(t, ks, lifecycle.ES256), lifecycle.ES256)
	release := f.Hold(t, ks)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	sig, err := ks.Sign(ctx, ref, InputFor(lifecycle.ES256, "m"))
	release()
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, hsm.ErrBusy) || sig != nil {
		t.Errorf("Sign on a busy device: %x, %v; want ErrBusy and DeadlineExceeded", sig, err)
	}
	SignAndVerify(t, ks, ref, "after release")
}

func testQueueBound(t *testing.T, f Factory) {
	const slots, queue, extra = 2, 3, 4
	ks := f.Open(t, func(c *hsm.Config) { c.Concurrency, c.QueueMax = slots, queue })
	defer ks.Close()
	ref := RefTo(Generate(t, ks, lifecycle.ES256), lifecycle.ES256)
	release := f.Hold(t, ks)
	results := make(chan error)
	for range slots + queue + extra {
		go func() {
			_, err := ks.Sign(Context(t), ref, InputFor(lifecycle.ES256, "m"))
			results <- err
		}()
	}
	// Nothing can finish while the device stands still, so the first answers are
	// the refusals, and exactly the calls beyond the bound.
	for range extra {
		if err := <-results; !errors.Is(err, hsm.ErrBusy) {
			t.Errorf("call beyond the queue: %v, want ErrBusy", err)
		}
	}
	release()
	for range slots + queue {
		if err := <-results; err != nil {
			t.Errorf("queued call: %v", err)
		}
	}
}

func testProbe(t *testing.T, f Factory) {
	ks := open(t, f)
	prober, ok := ks.(hsm.Prober)
	if !ok {
		t.Fatal("driver is no Prober")
	}
	for keys := range 2 { // without and with a key to sign with
		report, err := prober.Probe(Context(t))
		if err != nil {
			t.Fatalf("Probe: %v", err)
		}
		if !report.Verified || !report.LoggedIn || report.KeyPairs != keys || len(report.Algorithms) != len(lifecycle.Algorithms) {
			t.Errorf("report with %d keys: %+v", keys, report)
		}
		if objects, err := ks.Inventory(Context(t)); err != nil || len(objects) != keys {
			t.Errorf("Probe left objects behind: %d, want %d (%v)", len(objects), keys, err)
		}
		Generate(t, ks, lifecycle.ES256)
	}
}
