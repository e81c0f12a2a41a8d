//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// sessionErrors are codes after which sessions and handles are void.
var sessionErrors = map[string]uint{
	"CKR_SESSION_HANDLE_INVALID": pkcs11.CKR_SESSION_HANDLE_INVALID,
	"CKR_SESSION_CLOSED":         pkcs11.CKR_SESSION_CLOSED,
	"CKR_USER_NOT_LOGGED_IN":     pkcs11.CKR_USER_NOT_LOGGED_IN,
	"CKR_DEVICE_ERROR":           pkcs11.CKR_DEVICE_ERROR,
	"CKR_DEVICE_REMOVED":         pkcs11.CKR_DEVICE_REMOVED,
	"CKR_TOKEN_NOT_PRESENT":      pkcs11.CKR_TOKEN_NOT_PRESENT,
	"CKR_GENERAL_ERROR":          pkcs11.CKR_GENERAL_ERROR,
	"CKR_OPERATION_ACTIVE":       pkcs11.CKR_OPERATION_ACTIVE,
	"CKR_KEY_HANDLE_INVALID":     pkcs11.CKR_KEY_HANDLE_INVALID,
	"CKR_OBJECT_HANDLE_INVALID":  pkcs11.CKR_OBJECT_HANDLE_INVALID,
	"CKR_CRYPTOKI_NOT_INIT":      pkcs11.CKR_CRYPTOKI_NOT_INITIALIZED,
	"a code of the vendor":       pkcs11.CKR_VENDOR_DEFINED + 7,
}

// calm lets the pause after a recovery pass.
func calm(t *testing.T, s *Store) {
	t.Helper()
	defer hold(t, s)()
	s.module.recoveries = 0
}

// TestSignRecovers: the caller sees nothing but a signature.
func TestSignRecovers(t *testing.T) {
	tokens := newFaulty(t, "a", "b")
	s, neighbour := open(t, tokens.Config("a")), open(t, tokens.Config("b"))
	ref := hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.ES256), lifecycle.ES256)
	edRef := hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.EdDSA), lifecycle.EdDSA)
	other := hsmtest.RefTo(hsmtest.Generate(t, neighbour, lifecycle.ES256), lifecycle.ES256)
	for name, code := range sessionErrors {
		for _, call := range []string{"once.C_Sign", "once.C_SignInit"} {
			calm(t, s)
			tokens.set(t, call, code)
			hsmtest.SignAndVerify(t, s, ref, name)
			if tokens.pending(call) {
				t.Errorf("%s: %s was never answered", name, call)
			}
			hsmtest.SignAndVerify(t, s, edRef, name)
		}
		if h := s.Health(); !h.OK {
			t.Errorf("%s: unhealthy after the recovery: %s", name, h.Why)
		}
	}
	// Every recovery closed the neighbour's connection as well.
	hsmtest.SignAndVerify(t, neighbour, other, "neighbour")
}

func TestLookUpsRecover(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	for _, call := range []string{"once.C_FindObjectsInit", "once.C_FindObjects"} {
		calm(t, s)
		tokens.set(t, call, pkcs11.CKR_SESSION_HANDLE_INVALID)
		if found, err := s.Find(hsmtest.Context(t), o.ID); err != nil || found.ID != o.ID {
			t.Errorf("Find with %s: %v", call, err)
		}
		calm(t, s)
		tokens.set(t, call, pkcs11.CKR_DEVICE_ERROR)
		if objects, err := s.Inventory(hsmtest.Context(t)); err != nil || len(objects) != 1 {
			t.Errorf("Inventory with %s: %d objects, %v", call, len(objects), err)
		}
	}
}

// TestRecoveriesAreSpaced: a key that fails for ever must not reconnect the token
// for ever.
func TestRecoveriesAreSpaced(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	ref := hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.ES256), lifecycle.ES256)
	before := tokens.logins(t)
	tokens.set(t, "rv.C_Sign", pkcs11.CKR_FUNCTION_FAILED)
	for range 50 {
		if _, err := s.Sign(hsmtest.Context(t), ref, hsmtest.InputFor(lifecycle.ES256, "m")); !errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("Sign: %v, want ErrUnavailable", err)
		}
	}
	if n := tokens.logins(t) - before; n < 1 || n > 10 { // ten would take 50 s of failures
		t.Errorf("%d recoveries for 50 failures at once", n)
	}
	for want, recoveries := range map[time.Duration]int{0: 0, firstPause: 1, 4 * firstPause: 3, lastPause: 60} {
		m := &module{recoveries: recoveries, recoveredAt: time.Now()}
		if got := m.pause(); got > want || got < want-5*time.Second {
			t.Errorf("pause after %d recoveries: %v, want %v", recoveries, got, want)
		}
	}
	quiet := &module{recoveries: 60, recoveredAt: time.Now().Add(-2 * lastPause)}
	if got := quiet.pause(); got != 0 || quiet.recoveries != 0 {
		t.Errorf("pause after a quiet time: %v", got)
	}
}

// TestFailedLookUpIsNotAbsence: as long as the device does not answer, nothing may
// be reported as not there.
func TestFailedLookUpIsNotAbsence(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	tokens.set(t, "rv.C_FindObjectsInit", pkcs11.CKR_DEVICE_ERROR)
	for call, err := range callAll(t, s, o) {
		if !errors.Is(err, hsm.ErrUnavailable) || errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s on a broken device: %v, want ErrUnavailable", call, err)
		}
	}
	if h := s.Health(); h.OK || h.Why == "" || h.Locked {
		t.Errorf("Health of a broken device: %+v", h)
	}
	tokens.clear(t, "rv.C_FindObjectsInit")
	eventually(t, "signing after the device came back", func() bool {
		_, err := s.Sign(hsmtest.Context(t), hsmtest.RefTo(o, lifecycle.ES256), hsmtest.InputFor(lifecycle.ES256, "m"))
		return err == nil
	})
	eventually(t, "healthy again", func() bool { return s.Health().OK })
}

func callAll(t *testing.T, s *Store, o hsm.Object) map[string]error {
	t.Helper()
	ctx := hsmtest.Context(t)
	errs := map[string]error{}
	_, errs["Find"] = s.Find(ctx, o.ID)
	_, errs["Inventory"] = s.Inventory(ctx)
	errs["Destroy"] = s.Destroy(ctx, o.ID, o.SPKI)
	_, errs["Generate"] = s.Generate(ctx, hsmtest.SpecFor(t, lifecycle.ES256))
	return errs
}

// TestLoggedOutIsNotEmpty: a session that lost its login finds nothing, without an
// error.
func TestLoggedOutIsNotEmpty(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	tokens.set(t, "state", pkcs11.CKS_RO_PUBLIC_SESSION)
	for call, err := range callAll(t, s, hsm.Object{ID: hsmtest.NewID(t)}) {
		if !errors.Is(err, hsm.ErrUnavailable) || errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s while logged out: %v, want ErrUnavailable", call, err)
		}
	}
}

// unspaced forgets the recoveries that tests before have had of the store's module: the
// next one comes at once.
func unspaced(t *testing.T, s *Store) {
	t.Helper()
	if err := s.module.enter(hsmtest.Context(t), true); err != nil {
		t.Fatal(err)
	}
	defer s.module.leave(true)
	s.module.recoveries = 0
}

func TestWipedToken(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "a")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	ref := hsmtest.RefTo(o, lifecycle.ES256)
	hsmtest.SignAndVerify(t, s, ref, "before")
	unspaced(t, s)
	tokens.Wipe(t, "a")

	ctx := hsmtest.Context(t)
	if sig, err := s.Sign(ctx, ref, hsmtest.InputFor(lifecycle.ES256, "m")); !errors.Is(err, hsm.ErrNotFound) || sig != nil {
		t.Errorf("Sign on a wiped token: %x, %v; want ErrNotFound", sig, err)
	}
	if h := s.Health(); h.OK || !strings.Contains(h.Why, o.ID.String()) || !strings.Contains(h.Why, "wiped") {
		t.Errorf("Health: %+v, want the missing key named", h)
	}
	if _, err := s.Find(ctx, o.ID); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Find: %v, want ErrNotFound", err)
	}
	if err := s.Destroy(ctx, o.ID, o.SPKI); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Destroy: %v, want ErrNotFound: a wipe is no evidence", err)
	}
	if objects, err := s.Inventory(ctx); err != nil || len(objects) != 0 {
		t.Errorf("Inventory: %v, %v", objects, err)
	}
	if s.Health().OK {
		t.Error("healthy again without anybody having looked")
	}
	// The device itself works.
	hsmtest.SignAndVerify(t, s, hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.EdDSA), lifecycle.EdDSA), "new key")
}

func TestInventoryNoticesAWipe(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "a")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	tokens.Wipe(t, "a")
	if _, err := s.Inventory(hsmtest.Context(t)); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); h.OK || !strings.Contains(h.Why, o.ID.String()) {
		t.Errorf("Health: %+v", h)
	}
}

// TestRemovedToken: SoftHSM answers look-ups on a token whose files are gone with
// an empty list and no error.
func TestRemovedToken(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "a", "b")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	unspaced(t, s)
	tokens.Remove(t, "a")
	for call, err := range callAll(t, s, o) {
		if !errors.Is(err, hsm.ErrUnavailable) || errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("%s on a removed token: %v, want ErrUnavailable", call, err)
		}
	}
	if h := s.Health(); h.OK || !strings.Contains(h.Why, `token "a" is not there`) || !strings.Contains(h.Why, `"b"`) {
		t.Errorf("Health: %+v, want what is there instead", h)
	}
}

// TestPINChangedUnderneath: the recovery's one login is refused, and then it stops.
func TestPINChangedUnderneath(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	ref := hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.ES256), lifecycle.ES256)
	tokens.set(t, "rv.C_Login", pkcs11.CKR_PIN_INCORRECT)
	tokens.set(t, "once.C_SignInit", pkcs11.CKR_USER_NOT_LOGGED_IN)
	for range 3 {
		if _, err := s.Sign(hsmtest.Context(t), ref, hsmtest.InputFor(lifecycle.ES256, "m")); !errors.Is(err, hsm.ErrLocked) {
			t.Errorf("Sign: %v, want ErrLocked", err)
		}
	}
	if h := s.Health(); h.OK || !h.Locked || !strings.Contains(h.Why, "refused the PIN. Not retried") {
		t.Errorf("Health: %+v", h)
	}
	s.repair() // what the watch would do
	if n := tokens.logins(t); n != 2 {
		t.Errorf("%d logins, want the first and one more", n)
	}
}

// TestWrongSignature: a handle that is another key, or a device that computes
// wrongly, is caught before anything leaves the driver.
func TestWrongSignature(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	for _, alg := range lifecycle.Algorithms {
		ref := hsmtest.RefTo(hsmtest.Generate(t, s, alg), alg)
		tokens.set(t, "corrupt", 1)
		if sig, err := s.Sign(hsmtest.Context(t), ref, hsmtest.InputFor(alg, "m")); !errors.Is(err, hsm.ErrMismatch) || sig != nil {
			t.Errorf("%s: %x, %v; want ErrMismatch", alg, sig, err)
		}
		tokens.clear(t, "corrupt")
		hsmtest.SignAndVerify(t, s, ref, "m")
	}
}

func TestRecoveryUnderLoad(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	ref := hsmtest.RefTo(hsmtest.Generate(t, s, lifecycle.ES256), lifecycle.ES256)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				input := hsmtest.InputFor(lifecycle.ES256, "load")
				sig, err := s.Sign(hsmtest.Context(t), ref, input)
				// While the device fails calls may be refused, but never wrongly answered.
				if err == nil {
					err = hsm.VerifySignature(ref.Alg, ref.SPKI, input, sig)
				} else if errors.Is(err, hsm.ErrUnavailable) || errors.Is(err, hsm.ErrBusy) {
					err = nil
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		calm(t, s)
		tokens.set(t, "once.C_Sign", pkcs11.CKR_SESSION_CLOSED)
		eventually(t, "the fault was hit", func() bool {
			_, err := s.Sign(hsmtest.Context(t), ref, hsmtest.InputFor(lifecycle.ES256, "m"))
			return err == nil && !tokens.pending("once.C_Sign")
		})
	}
	wg.Wait()
	hsmtest.SignAndVerify(t, s, ref, "afterwards")
}

// TestHalfDestroyed: a destruction that died between the halves is finished by the
// next one, and a private key that cannot be identified is left alone.
func TestHalfDestroyed(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "a")
	s := open(t, tokens.Config("a"))
	removeHalf := func(o hsm.Object, private bool) {
		err := s.do(hsmtest.Context(t), true, true, func(w *worker) error {
			pair, err := w.locate(o.ID)
			if err != nil {
				return err
			}
			if private {
				return w.remove(pair.private)
			}
			return w.remove(pair.public)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := hsmtest.Context(t)
	started, other := hsmtest.Generate(t, s, lifecycle.ES256), hsmtest.Generate(t, s, lifecycle.ES256)
	removeHalf(started, true)
	if _, err := s.Find(ctx, started.ID); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Find with the public half left: %v, want ErrNotFound", err)
	}
	if _, err := s.Generate(ctx, hsm.Spec{ID: started.ID, Alg: lifecycle.ES256}); !errors.Is(err, hsm.ErrExists) {
		t.Errorf("Generate over the public half: %v, want ErrExists", err)
	}
	if err := s.Destroy(ctx, started.ID, other.SPKI); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Destroy of another key's public half: %v, want ErrNotFound", err)
	}
	if err := s.Destroy(ctx, started.ID, started.SPKI); err != nil {
		t.Errorf("Destroy did not finish what was begun: %v", err)
	}
	if err := s.Destroy(ctx, started.ID, started.SPKI); !errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Destroy once more: %v, want ErrNotFound", err)
	}

	removeHalf(other, false)
	if err := s.Destroy(ctx, other.ID, other.SPKI); !errors.Is(err, hsm.ErrMismatch) {
		t.Errorf("Destroy of an unidentified private key: %v, want ErrMismatch", err)
	}
	objects, err := s.Inventory(ctx)
	if err != nil || len(objects) != 1 || objects[0].ID != other.ID || objects[0].SPKI != nil {
		t.Errorf("inventory: %+v, %v; want the private half, without SPKI", objects, err)
	}
}

// TestDestroyFailsHonestly: the answer was lost, or the token refused.
func TestDestroyFailsHonestly(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	o := hsmtest.Generate(t, s, lifecycle.ES256)
	tokens.set(t, "once.C_DestroyObject", pkcs11.CKR_DEVICE_ERROR)
	if err := s.Destroy(hsmtest.Context(t), o.ID, o.SPKI); !errors.Is(err, hsm.ErrUnavailable) || errors.Is(err, hsm.ErrNotFound) {
		t.Errorf("Destroy: %v, want ErrUnavailable", err)
	}
	hsmtest.SignAndVerify(t, s, hsmtest.RefTo(o, lifecycle.ES256), "still there")
	if err := s.Destroy(hsmtest.Context(t), o.ID, o.SPKI); err != nil {
		t.Errorf("second attempt: %v", err)
	}
}
