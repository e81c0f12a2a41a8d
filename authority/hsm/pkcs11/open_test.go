//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"strings"
	"testing"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestSelectToken(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "alpha", "beta", "twin", "twin")
	alpha := open(t, tokens.Config("alpha"))
	serial := alpha.Health().Serial
	if serial == "" {
		t.Fatal("no serial in Health")
	}
	bySerial := tokens.Config("alpha")
	bySerial.TokenLabel, bySerial.TokenSerial = "", serial
	if got := open(t, bySerial).Health().Serial; got != serial {
		t.Errorf("opened serial %s, asked for %s", got, serial)
	}
	for name, test := range map[string]struct {
		change func(*hsm.Config)
		want   []string
	}{
		"absent label":  {func(c *hsm.Config) { c.TokenLabel = "gamma" }, []string{`token "gamma" is not there`, `"alpha" (serial ` + serial, `"beta"`}},
		"absent serial": {func(c *hsm.Config) { c.TokenLabel, c.TokenSerial = "", "00" }, []string{"token with serial 00 is not there", `"beta"`}},
		"two labels":    {func(c *hsm.Config) { c.TokenLabel = "twin" }, []string{`2 tokens are token "twin"`, "set token_serial", `"twin" (serial `}},
		"disagreement":  {func(c *hsm.Config) { c.TokenLabel, c.TokenSerial = "beta", serial }, []string{`token "beta" with serial ` + serial + " is not there"}},
		"neither":       {func(c *hsm.Config) { c.TokenLabel = "" }, []string{"neither token_label nor token_serial", `"alpha"`}},
		"no module":     {func(c *hsm.Config) { c.Module = "" }, []string{"module is not set"}},
		"relative":      {func(c *hsm.Config) { c.Module = "libsofthsm2.so" }, []string{"not an absolute path"}},
		"no library":    {func(c *hsm.Config) { c.Module = "/nonexistent/lib.so" }, []string{"/nonexistent/lib.so cannot be loaded"}},
		"not a library": {func(c *hsm.Config) { c.Module = tokens.Conf }, []string{"cannot be loaded"}},
	} {
		cfg := tokens.Config("alpha")
		test.change(&cfg)
		err := mustRefuse(t, cfg)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", name, err, want)
			}
		}
	}
	// The refusals must not have disturbed the open store.
	hsmtest.SignAndVerify(t, alpha, hsmtest.RefTo(hsmtest.Generate(t, alpha, lifecycle.ES256), lifecycle.ES256), "m")
}

func TestThreeTokensInOneProcess(t *testing.T) {
	labels := []string{"n1", "n2", "n3"}
	tokens := hsmtest.NewSoftHSM(t, labels...)
	var stores []*Store
	var made []hsm.Object
	for _, label := range labels {
		s := open(t, tokens.Config(label))
		stores = append(stores, s)
		made = append(made, hsmtest.Generate(t, s, lifecycle.ES256))
	}
	for i, s := range stores {
		for j, o := range made {
			_, err := s.Find(hsmtest.Context(t), o.ID)
			if found := err == nil; found != (i == j) || !found && !errors.Is(err, hsm.ErrNotFound) {
				t.Errorf("key of %s looked up on %s: %v", labels[j], labels[i], err)
			}
		}
	}
	if err := stores[0].Close(); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		hsmtest.SignAndVerify(t, stores[i], hsmtest.RefTo(made[i], lifecycle.ES256), "one neighbour closed")
	}
}

func TestWrongPINIsTriedOnce(t *testing.T) {
	tokens := newFaulty(t, "chancery-n2")
	tokens.WritePIN(t, "chancery-n2", "not the PIN\n")
	const alarm = "token 'chancery-n2' refused the PIN. Not retried, because a token locks after a few attempts. Fix pin_file, then restart."
	for range 3 {
		if err := mustRefuse(t, tokens.Config("chancery-n2")); !errors.Is(err, hsm.ErrLocked) || !strings.Contains(err.Error(), alarm) {
			t.Errorf("Open: %v", err)
		}
	}
	if n := tokens.logins(t); n != 1 {
		t.Errorf("%d logins with a wrong PIN, want 1", n)
	}
	tokens.WritePIN(t, "chancery-n2", hsmtest.UserPIN)
	open(t, tokens.Config("chancery-n2"))
}

// TestWrongPINWhileLoggedIn: a token accepts any PIN from a process that is logged
// in, so the driver must notice by itself.
func TestWrongPINWhileLoggedIn(t *testing.T) {
	tokens := newFaulty(t, "a")
	open(t, tokens.Config("a"))
	tokens.WritePIN(t, "a", "not the PIN")
	if err := mustRefuse(t, tokens.Config("a")); !errors.Is(err, hsm.ErrLocked) || !strings.Contains(err.Error(), "another PIN") {
		t.Errorf("Open with a wrong PIN beside an open store: %v", err)
	}
	if n := tokens.logins(t); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestLoginThatCouldLockTheToken(t *testing.T) {
	for name, flag := range map[string]uint{
		"one PIN attempt left":    pkcs11.CKF_USER_PIN_FINAL_TRY,
		"locked after wrong PINs": pkcs11.CKF_USER_PIN_LOCKED,
		"must be changed first":   pkcs11.CKF_USER_PIN_TO_BE_CHANGED,
	} {
		t.Run(name, func(t *testing.T) {
			tokens := newFaulty(t, "a")
			tokens.set(t, "flags", flag)
			if err := mustRefuse(t, tokens.Config("a")); !errors.Is(err, hsm.ErrLocked) || !strings.Contains(err.Error(), name) {
				t.Errorf("Open: %v", err)
			}
			if n := tokens.logins(t); n != 0 {
				t.Errorf("%d logins, want none", n)
			}
		})
	}
}

func TestUnsafePINFile(t *testing.T) {
	tokens := hsmtest.NewSoftHSM(t, "a")
	cfg := tokens.Config("a")
	cfg.PINFile += ".gone"
	if err := mustRefuse(t, cfg); !errors.Is(err, hsm.ErrSecretFile) || !strings.Contains(err.Error(), "pin_file") {
		t.Errorf("missing pin_file: %v", err)
	}
}

// TestShorterTemplate: a token that does not know CKA_COPYABLE gets a template
// without it, and the read-back says what that means.
func TestShorterTemplate(t *testing.T) {
	tokens := newFaulty(t, "a")
	s := open(t, tokens.Config("a"))
	tokens.set(t, "refuse", pkcs11.CKA_COPYABLE)
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA} {
		o := hsmtest.Generate(t, s, alg)
		if !o.Attributes.Copyable || !o.Attributes.Modifiable || o.Attributes.Decrypt || o.Attributes.Extractable {
			t.Errorf("%s read back: %+v", alg, o.Attributes)
		}
		hsmtest.SignAndVerify(t, s, hsmtest.RefTo(o, alg), "m")
	}
	tokens.set(t, "refuse", pkcs11.CKA_SENSITIVE)
	if _, err := s.Generate(hsmtest.Context(t), hsmtest.SpecFor(t, lifecycle.ES256)); !errors.Is(err, hsm.ErrUnsupported) {
		t.Errorf("a token without CKA_SENSITIVE: %v, want ErrUnsupported", err)
	}
	if !s.Health().OK {
		t.Errorf("a refusal made the store unhealthy: %s", s.Health().Why)
	}
}
