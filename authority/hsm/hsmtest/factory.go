// Package hsmtest holds what tests of key stores share: the conformance suite that
// every driver passes, a KeyStore wrapper that fails on request, and SoftHSM tokens
// in temporary directories.
//
// It is imported by tests only. Nothing in it is safe for production: PINs are
// constants and keys are thrown away.
package hsmtest

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Factory gives the suite one fresh, empty partition.
type Factory struct {
	// Open opens the partition. It may be called again after Close and must then
	// find the same keys. change, when not nil, edits the configuration first.
	Open func(t testing.TB, change func(*hsm.Config)) hsm.KeyStore

	// Hold makes the device of an open store stand still: no signature is finished
	// until release is called.
	Hold func(t testing.TB, ks hsm.KeyStore) (release func())

	// Duplicate plants a second key pair under id behind the driver's back. nil when
	// the medium cannot hold two.
	Duplicate func(t testing.TB, ks hsm.KeyStore, id hsm.ObjectID)
}

// NewID draws an object id.
func NewID(t testing.TB) hsm.ObjectID {
	t.Helper()
	var id hsm.ObjectID
	if _, err := rand.Read(id[:]); err != nil {
		t.Fatal(err)
	}
	return id
}

// SpecFor is the cheapest legal key of an algorithm.
func SpecFor(t testing.TB, alg lifecycle.Algorithm) hsm.Spec {
	t.Helper()
	spec := hsm.Spec{ID: NewID(t), Label: "test/1", Alg: alg}
	if alg.IsRSA() {
		spec.Bits = lifecycle.MinRSABits
	}
	return spec
}

// InputFor makes what alg signs out of a message.
func InputFor(alg lifecycle.Algorithm, message string) []byte {
	switch alg.Hash() {
	case lifecycle.SHA256:
		sum := sha256.Sum256([]byte(message))
		return sum[:]
	case lifecycle.SHA384:
		sum := sha512.Sum384([]byte(message))
		return sum[:]
	}
	return []byte(message)
}

// RefTo names a generated key for signing.
func RefTo(o hsm.Object, alg lifecycle.Algorithm) hsm.Ref {
	return hsm.Ref{ID: o.ID, SPKI: o.SPKI, Alg: alg}
}

// Context is a context that ends with the test, or when the device is stuck.
func Context(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// Generate makes a key or fails the test.
func Generate(t testing.TB, ks hsm.KeyStore, alg lifecycle.Algorithm) hsm.Object {
	t.Helper()
	o, err := ks.Generate(Context(t), SpecFor(t, alg))
	if err != nil {
		t.Fatalf("Generate %s: %v", alg, err)
	}
	return o
}

// SignAndVerify signs a message and checks the signature, or fails the test.
func SignAndVerify(t testing.TB, ks hsm.KeyStore, ref hsm.Ref, message string) {
	t.Helper()
	input := InputFor(ref.Alg, message)
	sig, err := ks.Sign(Context(t), ref, input)
	if err != nil {
		t.Fatalf("Sign %s: %v", ref.Alg, err)
	}
	if err := hsm.VerifySignature(ref.Alg, ref.SPKI, input, sig); err != nil {
		t.Fatalf("signature by %s does not verify: %v", ref.Alg, err)
	}
}
