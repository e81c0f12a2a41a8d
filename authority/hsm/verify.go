package hsm

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"sync"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// VerifySignature checks a signature over input (a digest of exactly
// alg.Hash().Size() bytes, the message itself for EdDSA) with the public key in
// spki. It returns ErrSignature when the signature is wrong, ErrInput when input
// has the wrong length, ErrMismatch when spki is not a key for alg. ECDSA
// signatures must be strict DER, PSS salts as long as the hash.
func VerifySignature(alg lifecycle.Algorithm, spki, input, sig []byte) error {
	if err := CheckInput(alg, input); err != nil {
		return err
	}
	pub, err := parsedKeys.get(spki)
	if err != nil {
		return err
	}
	if err := CheckKey(alg, pub); err != nil {
		return err
	}
	if !verifies(alg, pub, input, sig) {
		return fmt.Errorf("verify %s: %w", alg, ErrSignature)
	}
	return nil
}

func verifies(alg lifecycle.Algorithm, pub crypto.PublicKey, input, sig []byte) bool {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, input, sig)
	case ed25519.PublicKey:
		return ed25519.Verify(key, input, sig)
	case *rsa.PublicKey:
		if alg == lifecycle.PS256 {
			return rsa.VerifyPSS(key, crypto.SHA256, input, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, input, sig) == nil
	}
	return false
}

// CheckInput refuses what alg must not sign. A driver calls it before the device,
// because PKCS#11 libraries sign digests of any length, the empty one included.
func CheckInput(alg lifecycle.Algorithm, input []byte) error {
	switch want := alg.Hash().Size(); {
	case want != 0 && len(input) != want:
		return fmt.Errorf("%s signs a digest of %d bytes, not %d: %w", alg, want, len(input), ErrInput)
	case want == 0 && alg != lifecycle.EdDSA:
		return fmt.Errorf("%q: %w", string(alg), ErrUnsupported)
	case len(input) > MaxMessage:
		return fmt.Errorf("%s signs at most %d bytes at once, not %d: sign a digest: %w", alg, MaxMessage, len(input), ErrInput)
	}
	return nil
}

// CheckKey refuses a public key that cannot belong to alg.
func CheckKey(alg lifecycle.Algorithm, pub crypto.PublicKey) error {
	fits := false
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		fits = alg == lifecycle.ES256 && key.Curve == elliptic.P256() ||
			alg == lifecycle.ES384 && key.Curve == elliptic.P384()
	case ed25519.PublicKey:
		fits = alg == lifecycle.EdDSA
	case *rsa.PublicKey:
		fits = alg.IsRSA()
	}
	if !fits {
		return fmt.Errorf("%s is not an algorithm of this public key (%T): %w", alg, pub, ErrMismatch)
	}
	return nil
}

// ParseSPKI reads a DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7) of one of
// the supported kinds: P-256, P-384, Ed25519, RSA of 2048 to 4096 bits with
// exponent 65537. Only the canonical encoding is accepted, because SPKI bytes are
// compared as the key's identity.
func ParseSPKI(spki []byte) (crypto.PublicKey, error) {
	// x509 returns an Ed25519 key as a slice of its input. A parsed key outlives the
	// caller's buffer, so it gets bytes of its own.
	pub, err := x509.ParsePKIXPublicKey(bytes.Clone(spki))
	if err != nil {
		return nil, fmt.Errorf("parse public key: %w", err)
	}
	if err := checkPublic(pub); err != nil {
		return nil, err
	}
	canonical, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	if !bytes.Equal(canonical, spki) {
		return nil, fmt.Errorf("parse public key: encoding is not canonical DER: %w", ErrMismatch)
	}
	return pub, nil
}

func checkPublic(pub crypto.PublicKey) error {
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() && key.Curve != elliptic.P384() {
			return fmt.Errorf("curve %s: %w", key.Curve.Params().Name, ErrUnsupported)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < lifecycle.MinRSABits || bits > lifecycle.MaxRSABits {
			return fmt.Errorf("RSA modulus of %d bits: %w", bits, ErrUnsupported)
		}
		if key.E != rsaExponent {
			return fmt.Errorf("RSA exponent %d: %w", key.E, ErrUnsupported)
		}
	default:
		return fmt.Errorf("public key %T: %w", pub, ErrUnsupported)
	}
	return nil
}

// rsaExponent is F4, the only public exponent made or accepted.
const rsaExponent = 65537

// MarshalSPKI is the inverse of ParseSPKI.
func MarshalSPKI(pub crypto.PublicKey) ([]byte, error) {
	if err := checkPublic(pub); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return der, nil
}

// parsedKeys spares the hot path the parsing, which for ECDSA costs as much as a
// tenth of the verification.
var parsedKeys = keyCache{keys: make(map[[sha256.Size]byte]crypto.PublicKey)}

// keyCache maps SHA-256 of an SPKI to its parsed key. Keyed by hash, not by
// address, because SPKI bytes come out of a database anew for each request.
type keyCache struct {
	mu   sync.RWMutex // owns keys
	keys map[[sha256.Size]byte]crypto.PublicKey
}

// keyCacheMax bounds the cache; a node signs with and verifies for a few hundred
// instances.
const keyCacheMax = 1024

func (c *keyCache) get(spki []byte) (crypto.PublicKey, error) {
	sum := sha256.Sum256(spki)
	c.mu.RLock()
	pub, ok := c.keys[sum]
	c.mu.RUnlock()
	if ok {
		return pub, nil
	}
	pub, err := ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.keys) >= keyCacheMax {
		for victim := range c.keys { // map order is random enough for an eviction
			delete(c.keys, victim)
			break
		}
	}
	c.keys[sum] = pub
	return pub, nil
}
