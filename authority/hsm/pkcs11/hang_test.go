//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// hangingStore signs into a device that does not answer.
func hangingStore(t *testing.T, tokens *faulty, exits chan string) (*Store, hsm.Ref) {
	t.Helper()
	cfg := tokens.Config("a")
	// Generated with the usual patience: on a busy machine it may take longer than
	// the short one below allows.
	patient := open(t, cfg)
	ref := hsmtest.RefTo(hsmtest.Generate(t, patient, lifecycle.ES256), lifecycle.ES256)
	if err := patient.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Concurrency, cfg.QueueMax, cfg.AbandonAfter = 2, 8, 300*time.Millisecond
	cfg.Exit = func(reason string) { exits <- reason }
	s := open(t, cfg)
	hsmtest.SignAndVerify(t, s, ref, "before")
	return s, ref
}

// abandon signs with a deadline that will pass.
func abandon(t *testing.T, s *Store, ref hsm.Ref) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	sig, err := s.Sign(ctx, ref, hsmtest.InputFor(ref.Alg, "m"))
	if !errors.Is(err, context.DeadlineExceeded) || sig != nil {
		t.Errorf("Sign into a hung device: %x, %v", sig, err)
	}
	return err
}

func TestHungDeviceEndsTheProcess(t *testing.T) {
	tokens := newFaulty(t, "a")
	exits := make(chan string, 1)
	s, ref := hangingStore(t, tokens, exits)
	tokens.set(t, "hang.C_Sign", 0)
	for inside := 0; inside < 2; { // a slow scheduler may shed a call in the queue
		if err := abandon(t, s, ref); errors.Is(err, hsm.ErrUnavailable) {
			inside++
		}
	}
	// Both slots are taken by calls nobody waits for any more.
	if err := abandon(t, s, ref); !errors.Is(err, hsm.ErrBusy) {
		t.Errorf("third call: %v, want ErrBusy", err)
	}
	select {
	case reason := <-exits:
		if !strings.Contains(reason, "all 2 calls") {
			t.Errorf("reason: %s", reason)
		}
	case <-time.After(20 * time.Second):
		t.Error("the process would go on with a hung device")
	}
	tokens.clear(t, "hang.C_Sign") // lets the threads go, so that Close can finish
}

func TestOneHungCallDoesNotEndTheProcess(t *testing.T) {
	tokens := newFaulty(t, "a")
	exits := make(chan string, 1)
	s, ref := hangingStore(t, tokens, exits)
	tokens.set(t, "hang.C_Sign", 0)
	for !errors.Is(abandon(t, s, ref), hsm.ErrUnavailable) {
	}
	limit := int64(s.cfg.AbandonAfter)
	stuck := func() (n int) {
		for _, w := range s.signers.workers {
			if since := w.sinceAt.Load(); since != 0 && stamp()-since > limit {
				n++
			}
		}
		return n
	}
	eventually(t, "one worker hung past the limit", func() bool { return stuck() == 1 })
	if reason := s.hung(); reason != "" {
		t.Errorf("one of two slots hangs: %s", reason)
	}
	tokens.clear(t, "hang.C_Sign")
	hsmtest.SignAndVerify(t, s, ref, "the other slot")
	eventually(t, "the hung call came back", func() bool { return stuck() == 0 })
	select {
	case reason := <-exits:
		t.Errorf("exited: %s", reason)
	default:
	}
}
