// Package hsm is the seam between Chancery and the device that holds private
// keys. A KeyStore is ONE node's partition; its keys never leave it.
//
// Threat and concurrency model: every method may be called from any goroutine.
// A KeyStore never deletes, replaces or re-generates by inference: only Generate
// creates, only Destroy destroys, each for one exact CKA_ID. "The look-up failed"
// and "the look-up succeeded and found nothing" are different errors, because a
// wiped token answers the second and a broken session the first.
package hsm

import (
	"context"
	"encoding/hex"
	"errors"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ObjectID is a key pair's CKA_ID: 16 bytes, drawn by the proposer of the intent.
type ObjectID [16]byte

func (id ObjectID) String() string { return hex.EncodeToString(id[:]) }

// Sentinels. A driver wraps them with detail; callers test with errors.Is.
var (
	ErrNotFound    = errors.New("no such key pair in the key store")      // the look-up worked and found nothing
	ErrExists      = errors.New("a key pair with this id already exists") // Generate refuses, it never overwrites
	ErrAmbiguous   = errors.New("several objects share one CKA_ID")       // quarantine, never pick one
	ErrMismatch    = errors.New("the object under this CKA_ID is not the registered key")
	ErrUnsupported = errors.New("the key store cannot do this algorithm")
	ErrBusy        = errors.New("the key store's queue is full")  // nothing was signed, try another node
	ErrUnavailable = errors.New("the key store does not answer")  // token absent, session lost, device error
	ErrLocked      = errors.New("the token refused the PIN")      // never retried automatically
	ErrInput       = errors.New("wrong input length for the key") // digest length, oversize message
	ErrClosed      = errors.New("the key store is closed")
	ErrCorrupt     = errors.New("the stored key is damaged or sealed with another secret") // it is there, it cannot be opened
	ErrSignature   = errors.New("the signature does not verify")
)

// Object is one key pair as the device reports it.
type Object struct {
	ID         ObjectID
	Label      string
	SPKI       []byte // DER SubjectPublicKeyInfo
	Attributes Attributes
}

// Attributes is the read-back record of how a private key is protected
// (PKCS#11 attribute names). For softkey only Sensitive, Extractable and Sign are
// meaningful and Extractable is honestly true.
type Attributes struct {
	Sensitive, AlwaysSensitive    bool
	Extractable, NeverExtractable bool
	Sign, Decrypt, Unwrap, Derive bool
	Modifiable, Copyable          bool
	Local                         bool // CKA_LOCAL: generated inside the token
}

// Spec says what to generate.
type Spec struct {
	ID    ObjectID
	Label string // shown by token tools: "<key>/<version>"
	Alg   lifecycle.Algorithm
	Bits  int // RSA modulus bits, else 0
}

// Ref names the key to sign with. The device's public key under ID must equal
// SPKI, or the call fails with ErrMismatch: after a token was re-initialised an
// old handle can be another key.
type Ref struct {
	ID   ObjectID
	SPKI []byte
	Alg  lifecycle.Algorithm
}

// Health is a cheap, cached statement about the device; it never touches it.
type Health struct {
	OK     bool
	Why    string // empty when OK; else what happened and what to do next
	Locked bool   // the PIN was refused: no automatic attempt will follow
	Token  string // label, or directory for softkey
	Serial string
}

// KeyStore is one node's partition.
type KeyStore interface {
	// Driver is "pkcs11" or "soft".
	Driver() string
	// Check tells without touching the device whether a key of this kind can be
	// made and used here; ErrUnsupported otherwise.
	Check(alg lifecycle.Algorithm, bits int) error
	// Generate makes a key pair under exactly spec.ID, reads its attributes back
	// and returns it. ErrExists when the id is taken, whatever holds it.
	Generate(ctx context.Context, spec Spec) (Object, error)
	// Find looks one key pair up by CKA_ID.
	Find(ctx context.Context, id ObjectID) (Object, error)
	// Inventory lists every key pair in one pass over the device.
	Inventory(ctx context.Context) ([]Object, error)
	// Sign signs a digest of exactly ref.Alg.Hash().Size() bytes (the message
	// itself, at most MaxMessage bytes, for EdDSA). ECDSA signatures are ASN.1
	// DER; RSA and Ed25519 are in their native form. The caller verifies the
	// signature; a KeyStore is not trusted to.
	Sign(ctx context.Context, ref Ref, input []byte) ([]byte, error)
	// Destroy removes the key pair whose CKA_ID and SPKI both match. It succeeds
	// only when two look-ups (by id and by listing) afterwards find nothing.
	// ErrNotFound when there was nothing to begin with: absence is not evidence
	// that it was destroyed here.
	Destroy(ctx context.Context, id ObjectID, spki []byte) error
	Health() Health
	Close() error
}

// MaxMessage bounds what EdDSA signs in one call, in bytes.
const MaxMessage = 64 << 10
