package hsmtest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Run holds a driver to the KeyStore contract. newFactory is called once per
// subtest.
func Run(t *testing.T, newFactory func(t *testing.T) Factory) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Factory)
	}{
		{"Algorithms", testAlgorithms},
		{"InputLengths", testInputLengths},
		{"Unsupported", testUnsupported},
		{"Exists", testExists},
		{"NotFound", testNotFound},
		{"Mismatch", testMismatch},
		{"Inventory", testInventory},
		{"Destroy", testDestroy},
		{"Reopen", testReopen},
		{"Parallel", testParallel},
		{"CloseTwice", testCloseTwice},
		{"CancelledContext", testCancelledContext},
		{"DeadlineInQueue", testDeadlineInQueue},
		{"QueueBound", testQueueBound},
		{"Probe", testProbe},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newFactory(t)) })
	}
	if newFactory(t).Duplicate != nil {
		t.Run("Ambiguous", func(t *testing.T) { testAmbiguous(t, newFactory(t)) })
	}
}

func open(t *testing.T, f Factory) hsm.KeyStore {
	t.Helper()
	ks := f.Open(t, nil)
	t.Cleanup(func() {
		if err := ks.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return ks
}

func testAlgorithms(t *testing.T, f Factory) {
	ks := open(t, f)
	if h := ks.Health(); !h.OK || h.Why != "" || h.Token == "" {
		t.Errorf("Health after open: %+v", h)
	}
	for _, alg := range lifecycle.Algorithms {
		t.Run(string(alg), func(t *testing.T) {
			spec := SpecFor(t, alg)
			if err := ks.Check(alg, spec.Bits); err != nil {
				t.Fatalf("Check: %v", err)
			}
			made, err := ks.Generate(Context(t), spec)
			if err != nil {
				t.Fatalf("Generate: %v", err)
			}
			if made.ID != spec.ID || made.Label != spec.Label {
				t.Errorf("made %s %q, asked for %s %q", made.ID, made.Label, spec.ID, spec.Label)
			}
			pub, err := hsm.ParseSPKI(made.SPKI)
			if err != nil {
				t.Fatalf("ParseSPKI: %v", err)
			}
			if err := hsm.CheckKey(alg, pub); err != nil {
				t.Error(err)
			}
			checkAttributes(t, ks, made.Attributes)
			found, err := ks.Find(Context(t), spec.ID)
			if err != nil {
				t.Fatalf("Find: %v", err)
			}
			if !sameObject(found, made) {
				t.Errorf("Find: %+v, Generate: %+v", found, made)
			}
			SignAndVerify(t, ks, RefTo(made, alg), "message")
			checkForgeries(t, ks, RefTo(made, alg))
		})
	}
}

func sameObject(a, b hsm.Object) bool {
	return a.ID == b.ID && a.Label == b.Label && bytes.Equal(a.SPKI, b.SPKI) && a.Attributes == b.Attributes
}

func checkAttributes(t *testing.T, ks hsm.KeyStore, got hsm.Attributes) {
	t.Helper()
	want := hsm.Attributes{Sensitive: true, Extractable: true, Sign: true}
	if ks.Driver() == hsm.DriverPKCS11 {
		want = hsm.Attributes{Sensitive: true, AlwaysSensitive: true, NeverExtractable: true, Sign: true, Local: true}
	}
	if got != want {
		t.Errorf("attributes: %+v, want %+v", got, want)
	}
}

// checkForgeries makes sure that the verifier used throughout can say no.
func checkForgeries(t *testing.T, ks hsm.KeyStore, ref hsm.Ref) {
	t.Helper()
	input := InputFor(ref.Alg, "message")
	sig, err := ks.Sign(Context(t), ref, input)
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	flipped := bytes.Clone(sig)
	flipped[len(flipped)-1] ^= 1
	for name, forged := range map[string][]byte{"flipped": flipped, "longer": append(bytes.Clone(sig), 0), "shorter": sig[:len(sig)-1], "empty": nil} {
		if err := hsm.VerifySignature(ref.Alg, ref.SPKI, input, forged); !errors.Is(err, hsm.ErrSignature) {
			t.Errorf("%s signature: %v, want ErrSignature", name, err)
		}
	}
	if err := hsm.VerifySignature(ref.Alg, ref.SPKI, InputFor(ref.Alg, "another"), sig); !errors.Is(err, hsm.ErrSignature) {
		t.Errorf("signature over another message: %v, want ErrSignature", err)
	}
}

func testInputLengths(t *testing.T, f Factory) {
	ks := open(t, f)
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384, lifecycle.RS256, lifecycle.PS256} {
		ref := RefTo(Generate(t, ks, alg), alg)
		for _, size := range []int{0, 5, 20, 31, 33, 47, 49, 64, 4096} {
			if sig, err := ks.Sign(Context(t), ref, make([]byte, size)); !errors.Is(err, hsm.ErrInput) || sig != nil {
				t.Errorf("%s signs a digest of %d bytes: %x, %v; want ErrInput", alg, size, sig, err)
			}
		}
	}
	ref := RefTo(Generate(t, ks, lifecycle.EdDSA), lifecycle.EdDSA)
	for _, size := range []int{0, 1, 5, 32, hsm.MaxMessage} {
		SignAndVerify(t, ks, ref, strings.Repeat("m", size))
	}
	if _, err := ks.Sign(Context(t), ref, make([]byte, hsm.MaxMessage+1)); !errors.Is(err, hsm.ErrInput) {
		t.Errorf("EdDSA over MaxMessage+1 bytes: %v, want ErrInput", err)
	}
}

func testUnsupported(t *testing.T, f Factory) {
	ks := open(t, f)
	for _, bad := range []hsm.Spec{
		{Alg: "HS256"}, {Alg: "none"}, {Alg: ""}, {Alg: lifecycle.RS256, Bits: 1024},
		{Alg: lifecycle.PS256, Bits: 0}, {Alg: lifecycle.RS256, Bits: 8192}, {Alg: lifecycle.ES256, Bits: 256},
	} {
		if err := ks.Check(bad.Alg, bad.Bits); !errors.Is(err, hsm.ErrUnsupported) {
			t.Errorf("Check(%q, %d): %v, want ErrUnsupported", bad.Alg, bad.Bits, err)
		}
		bad.ID = NewID(t)
		if _, err := ks.Generate(Context(t), bad); !errors.Is(err, hsm.ErrUnsupported) {
			t.Errorf("Generate(%q, %d): %v, want ErrUnsupported", bad.Alg, bad.Bits, err)
		}
	}
	if objects, err := ks.Inventory(Context(t)); err != nil || len(objects) != 0 {
		t.Errorf("refused specs left %d objects behind (%v)", len(objects), err)
	}
}

func testExists(t *testing.T, f Factory) {
	ks := open(t, f)
	first := Generate(t, ks, lifecycle.ES256)
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA} {
		if _, err := ks.Generate(Context(t), hsm.Spec{ID: first.ID, Label: "other", Alg: alg}); !errors.Is(err, hsm.ErrExists) {
			t.Errorf("second Generate of %s: %v, want ErrExists", alg, err)
		}
	}
	found, err := ks.Find(Context(t), first.ID)
	if err != nil || !sameObject(found, first) {
		t.Errorf("after the refused Generate: %+v, %v", found, err)
	}
	SignAndVerify(t, ks, RefTo(first, lifecycle.ES256), "still there")
}

func testNotFound(t *testing.T, f Factory) {
	ks := open(t, f)
	other := Generate(t, ks, lifecycle.ES256)
	absent := NewID(t)
	_, findErr := ks.Find(Context(t), absent)
	_, signErr := ks.Sign(Context(t), hsm.Ref{ID: absent, SPKI: other.SPKI, Alg: lifecycle.ES256}, InputFor(lifecycle.ES256, "m"))
	destroyErr := ks.Destroy(Context(t), absent, other.SPKI)
	for call, err := range map[string]error{"Find": findErr, "Sign": signErr, "Destroy": destroyErr} {
		if !errors.Is(err, hsm.ErrNotFound) || errors.Is(err, hsm.ErrUnavailable) {
			t.Errorf("%s of an absent key: %v, want ErrNotFound alone", call, err)
		}
	}
	if h := ks.Health(); !h.OK {
		t.Errorf("a key that never was here made the store unhealthy: %s", h.Why)
	}
}

func testMismatch(t *testing.T, f Factory) {
	ks := open(t, f)
	a, b := Generate(t, ks, lifecycle.ES256), Generate(t, ks, lifecycle.ES256)
	input := InputFor(lifecycle.ES256, "m")
	for name, ref := range map[string]hsm.Ref{
		"another key's SPKI": {ID: a.ID, SPKI: b.SPKI, Alg: lifecycle.ES256},
		"no SPKI":            {ID: a.ID, Alg: lifecycle.ES256},
		"another algorithm":  {ID: a.ID, SPKI: a.SPKI, Alg: lifecycle.RS256},
	} {
		if sig, err := ks.Sign(Context(t), ref, input); !errors.Is(err, hsm.ErrMismatch) || sig != nil {
			t.Errorf("Sign with %s: %x, %v; want ErrMismatch", name, sig, err)
		}
	}
	SignAndVerify(t, ks, RefTo(a, lifecycle.ES256), "m")
	SignAndVerify(t, ks, RefTo(b, lifecycle.ES256), "m")

	// The store must not hand out its own copy of the identity.
	spki := bytes.Clone(a.SPKI)
	clear(a.SPKI)
	SignAndVerify(t, ks, hsm.Ref{ID: a.ID, SPKI: spki, Alg: lifecycle.ES256}, "m")
}

func testInventory(t *testing.T, f Factory) {
	ks := open(t, f)
	if objects, err := ks.Inventory(Context(t)); err != nil || len(objects) != 0 {
		t.Fatalf("empty partition: %d objects, %v", len(objects), err)
	}
	made := map[hsm.ObjectID]hsm.Object{}
	for i := range 12 {
		alg := []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA, lifecycle.ES384}[i%3]
		spec := SpecFor(t, alg)
		spec.Label = fmt.Sprintf("inventory/%d", i)
		o, err := ks.Generate(Context(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		made[o.ID] = o
	}
	objects, err := ks.Inventory(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != len(made) {
		t.Errorf("inventory lists %d pairs, made %d", len(objects), len(made))
	}
	for _, o := range objects {
		if want, ok := made[o.ID]; !ok || !sameObject(o, want) {
			t.Errorf("listed %+v, made %+v", o, want)
		}
		delete(made, o.ID)
	}
	if len(made) != 0 {
		t.Errorf("not listed: %v", made)
	}
}

func testDestroy(t *testing.T, f Factory) {
	ks := open(t, f)
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.EdDSA} {
		victim, bystander := Generate(t, ks, alg), Generate(t, ks, alg)
		SignAndVerify(t, ks, RefTo(victim, alg), "before") // so that caches know it
		for name, spki := range map[string][]byte{"another SPKI": bystander.SPKI, "no SPKI": nil} {
			if err := ks.Destroy(Context(t), victim.ID, spki); !errors.Is(err, hsm.ErrMismatch) {
				t.Errorf("Destroy with %s: %v, want ErrMismatch", name, err)
			}
		}
		SignAndVerify(t, ks, RefTo(victim, alg), "the refusals left it alone")

		if err := ks.Destroy(Context(t), victim.ID, victim.SPKI); err != nil {
			t.Fatalf("Destroy: %v", err)
		}
		if _, err := ks.Find(Context(t), victim.ID); !errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("Find after Destroy: %v, want ErrNotFound", err)
		}
		if _, err := ks.Sign(Context(t), RefTo(victim, alg), InputFor(alg, "m")); !errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("Sign after Destroy: %v, want ErrNotFound", err)
		}
		if err := ks.Destroy(Context(t), victim.ID, victim.SPKI); !errors.Is(err, hsm.ErrNotFound) {
			t.Errorf("second Destroy: %v, want ErrNotFound", err)
		}
		objects, err := ks.Inventory(Context(t))
		if err != nil || slices.ContainsFunc(objects, func(o hsm.Object) bool { return o.ID == victim.ID }) {
			t.Errorf("inventory after Destroy: %v, %v", objects, err)
		}
		SignAndVerify(t, ks, RefTo(bystander, alg), "the bystander")
	}
	if h := ks.Health(); !h.OK {
		t.Errorf("an ordered destruction made the store unhealthy: %s", h.Why)
	}
}

func testAmbiguous(t *testing.T, f Factory) {
	ks := open(t, f)
	twin := Generate(t, ks, lifecycle.ES256)
	f.Duplicate(t, ks, twin.ID)
	if _, err := ks.Find(Context(t), twin.ID); !errors.Is(err, hsm.ErrAmbiguous) {
		t.Errorf("Find: %v, want ErrAmbiguous", err)
	}
	if sig, err := ks.Sign(Context(t), RefTo(twin, lifecycle.ES256), InputFor(lifecycle.ES256, "m")); !errors.Is(err, hsm.ErrAmbiguous) || sig != nil {
		t.Errorf("Sign: %x, %v; want ErrAmbiguous", sig, err)
	}
	if err := ks.Destroy(Context(t), twin.ID, twin.SPKI); !errors.Is(err, hsm.ErrAmbiguous) {
		t.Errorf("Destroy: %v, want ErrAmbiguous", err)
	}
	if _, err := ks.Generate(Context(t), hsm.Spec{ID: twin.ID, Alg: lifecycle.ES256}); !errors.Is(err, hsm.ErrExists) {
		t.Errorf("Generate: %v, want ErrExists", err)
	}
	objects, err := ks.Inventory(Context(t))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(objects); n != 2 || objects[0].ID != twin.ID || objects[1].ID != twin.ID {
		t.Errorf("inventory: %+v, want both twins", objects)
	}
}

func testReopen(t *testing.T, f Factory) {
	ks := f.Open(t, nil)
	made := map[lifecycle.Algorithm]hsm.Object{}
	for _, alg := range lifecycle.Algorithms {
		made[alg] = Generate(t, ks, alg)
	}
	if err := ks.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	again := open(t, f)
	for alg, o := range made {
		found, err := again.Find(Context(t), o.ID)
		if err != nil || !sameObject(found, o) {
			t.Errorf("%s after reopening: %+v, %v; want %+v", alg, found, err, o)
		}
		SignAndVerify(t, again, RefTo(o, alg), "reopened")
	}
}
