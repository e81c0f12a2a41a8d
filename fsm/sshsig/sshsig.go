// Package sshsig verifies SSH signatures (the SSHSIG format of OpenSSH's
// PROTOCOL.sshsig, made by `ssh-keygen -Y sign`, by agents and by hardware keys)
// for login challenges and, inside Apply, for approvals.
//
// It is frozen. Every replica must come to the same answer about the same bytes,
// for as long as the log is replayed, so what is accepted here may change only
// together with the cluster's Format number. For the same reason it is pure: no
// clock, no randomness, no I/O, and no parser from outside the standard library.
//
// Threat model. Key, signature and message all come from the caller and are
// hostile. Parsing is strict: one encoding per value, no trailing bytes, bounded
// sizes. A signature counts only for one key, one namespace and one message; a
// hardware key must also have asked its owner for a touch. Accepted are Ed25519
// and ECDSA on P-256, plain and in a FIDO authenticator (the "sk-" types); RSA,
// DSA, certificates and the webauthn types are not.
//
// An ECDSA signature (r, s) has a twin (r, n-s) that OpenSSH also makes and
// accepts, and so does this package: never take the bytes of a signature as the
// identity of an approval.
package sshsig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// Sentinels. Callers test with errors.Is.
var (
	// ErrKey is returned for a public key that is malformed, weak or of a type
	// that is not accepted.
	ErrKey = errors.New("unusable SSH public key")
	// ErrFormat is returned for bytes that are not a well-formed signature.
	ErrFormat = errors.New("malformed SSH signature")
	// ErrOtherKey is returned for a signature made with another key.
	ErrOtherKey = errors.New("SSH signature is by another key")
	// ErrNamespace is returned for a signature made for another purpose.
	ErrNamespace = errors.New("SSH signature is for another namespace")
	// ErrPresence is returned when a hardware key signed without a touch.
	ErrPresence = errors.New("SSH signature without user presence")
	// ErrSignature is returned when the signature does not match the message.
	ErrSignature = errors.New("SSH signature does not match")
)

const (
	preamble      = "SSHSIG"
	formatVersion = 1
)

// Flags of a FIDO authenticator (W3C WebAuthn Level 2, section 6.1). Those that
// announce more authenticator data, or nothing that is defined, are refused.
const (
	flagPresent  = 0x01 // the owner touched the device
	flagVerified = 0x04 // and proved who they are, by PIN or finger
	flagBackupOK = 0x08 // the key may be synchronised between devices
	flagBackedUp = 0x10

	flagsKnown = flagPresent | flagVerified | flagBackupOK | flagBackedUp
)

// Verify returns nil if armored is a signature by key over message in namespace.
func Verify(key Key, namespace string, message, armored []byte) error {
	if key.kind == "" {
		return fmt.Errorf("%w: the key is empty", ErrKey)
	}
	if namespace == "" || len(namespace) > maxNamespaceBytes || len(message) > maxMessageBytes {
		return fmt.Errorf("%w: a namespace has 1 to %d bytes and a message at most %d", ErrFormat, maxNamespaceBytes, maxMessageBytes)
	}
	blob, err := unarmor(armored)
	if err != nil {
		return err
	}
	s, err := parseSignature(blob)
	if err != nil {
		return err
	}
	if string(s.key) != key.blob {
		return fmt.Errorf("%w, not by %s", ErrOtherKey, key.Fingerprint())
	}
	if string(s.namespace) != namespace {
		return fmt.Errorf("%w, not for %q: sign with ssh-keygen -Y sign -n %s", ErrNamespace, namespace, namespace)
	}
	return key.verify(s.signed(message), s.signature)
}

// signature is the decoded outer structure.
type signature struct {
	key       []byte
	namespace []byte
	hash      string
	signature []byte
}

func parseSignature(blob []byte) (signature, error) {
	r := reader{rest: blob}
	if string(r.take(len(preamble))) != preamble {
		return signature{}, fmt.Errorf("%w: it does not begin with %s", ErrFormat, preamble)
	}
	if v := r.uint32(); v != formatVersion {
		return signature{}, fmt.Errorf("%w: its version is %d, not %d", ErrFormat, v, formatVersion)
	}
	s := signature{
		key:       r.string(maxKeyBytes),
		namespace: r.string(maxNamespaceBytes),
	}
	// Reserved for future use by the format. It would be signed, but nobody could
	// say what a signer meant by it.
	reserved := r.string(0)
	s.hash = string(r.string(len("sha512")))
	s.signature = r.string(maxSignatureBytes)
	if !r.finished() || len(reserved) > 0 {
		return signature{}, fmt.Errorf("%w: a field is missing, too long or left over", ErrFormat)
	}
	if s.hash != "sha256" && s.hash != "sha512" {
		return signature{}, fmt.Errorf("%w: its hash is neither sha256 nor sha512", ErrFormat)
	}
	return s, nil
}

// signed returns the bytes that the key signs: the envelope with the message's
// digest in it.
func (s *signature) signed(message []byte) []byte {
	var digest []byte
	if s.hash == "sha256" {
		sum := sha256.Sum256(message)
		digest = sum[:]
	} else {
		sum := sha512.Sum512(message)
		digest = sum[:]
	}
	out := []byte(preamble)
	out = appendString(out, s.namespace)
	out = appendString(out, nil)
	out = appendString(out, []byte(s.hash))
	return appendString(out, digest)
}

// verify checks the inner signature over data.
func (k Key) verify(data, sig []byte) error {
	r := reader{rest: sig}
	if string(r.string(maxTypeBytes)) != string(k.kind) {
		return fmt.Errorf("%w: the signature's algorithm is not the key's, %s", ErrFormat, k.kind)
	}
	raw := r.string(maxSignatureBytes)
	if k.kind.hardware() {
		flags, counter := r.byte(), r.uint32()
		if r.failed || flags&^byte(flagsKnown) != 0 {
			return fmt.Errorf("%w: its authenticator flags are %#x", ErrFormat, flags)
		}
		if flags&flagPresent == 0 {
			return fmt.Errorf("%w: touch the key when it blinks, and do not use no-touch-required", ErrPresence)
		}
		data = authenticatorData(k.application, flags, counter, data)
	}
	if !r.finished() {
		return fmt.Errorf("%w: the inner signature is cut or has bytes left over", ErrFormat)
	}
	if k.kind == Ed25519 || k.kind == SKEd25519 {
		return verifyEd25519(k.point, data, raw)
	}
	return verifyECDSA(k.point, data, raw)
}

// authenticatorData is what a FIDO device signs instead of data (PROTOCOL.u2f).
func authenticatorData(application string, flags byte, counter uint32, data []byte) []byte {
	app, digest := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	out := append([]byte(nil), app[:]...)
	out = append(out, flags)
	out = binary.BigEndian.AppendUint32(out, counter)
	return append(out, digest[:]...)
}

func verifyEd25519(point string, data, sig []byte) error {
	if len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: an Ed25519 signature has %d bytes", ErrFormat, ed25519.SignatureSize)
	}
	if !ed25519.Verify(ed25519.PublicKey(point), data, sig) {
		return ErrSignature
	}
	return nil
}

func verifyECDSA(point string, data, sig []byte) error {
	r := reader{rest: sig}
	rr, ss := r.integer(), r.integer()
	if !r.finished() {
		return fmt.Errorf("%w: an ECDSA signature is two positive integers in their shortest form", ErrFormat)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), []byte(point))
	if err != nil {
		return fmt.Errorf("%w: the point is not on the curve", ErrKey)
	}
	digest := sha256.Sum256(data)
	if !ecdsa.Verify(public, digest[:], new(big.Int).SetBytes(rr), new(big.Int).SetBytes(ss)) {
		return ErrSignature
	}
	return nil
}
