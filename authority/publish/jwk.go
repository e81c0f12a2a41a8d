package publish

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// member is one name and value of a JWK. Values are base64url or registered names,
// so no JSON escape can occur in them.
type member struct{ name, value string }

// members returns the required members of a public key in the lexicographic order
// RFC 7638 section 3.2 hashes them in.
func members(spki []byte) ([]member, error) {
	pub, err := hsm.ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	switch key := pub.(type) {
	case *ecdsa.PublicKey:
		// SEC 1 uncompressed point: 04 || X || Y, both padded to the field size as
		// RFC 7518 section 6.2.1.2 wants them.
		point, err := key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode EC point: %w", err)
		}
		half := (len(point) - 1) / 2
		return []member{{"crv", key.Curve.Params().Name}, {"kty", "EC"},
			{"x", b64(point[1 : 1+half])}, {"y", b64(point[1+half:])}}, nil
	case ed25519.PublicKey:
		return []member{{"crv", "Ed25519"}, {"kty", "OKP"}, {"x", b64(key)}}, nil
	case *rsa.PublicKey:
		return []member{{"e", b64(big.NewInt(int64(key.E)).Bytes())}, {"kty", "RSA"}, {"n", b64(key.N.Bytes())}}, nil
	}
	return nil, fmt.Errorf("public key %T: %w", pub, hsm.ErrUnsupported)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// object writes members, already in order, as a JSON object without whitespace.
func object(b []byte, ms []member) []byte {
	b = append(b, '{')
	for i, m := range ms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), m.name...), `":"`...)
		b = append(append(b, m.value...), '"')
	}
	return append(b, '}')
}

// Thumbprint is the RFC 7638 SHA-256 thumbprint of a DER SubjectPublicKeyInfo,
// base64url without padding: 43 characters. It is the kid of an instance.
func Thumbprint(spki []byte) (string, error) {
	ms, err := members(spki)
	if err != nil {
		return "", fmt.Errorf("compute thumbprint: %w", err)
	}
	sum := sha256.Sum256(object(nil, ms))
	return b64(sum[:]), nil
}

// JWK is the public key as a canonical JWK: the required members with alg, kid and
// use, in lexicographic order and without whitespace (RFC 7517).
func JWK(alg lifecycle.Algorithm, kid string, spki []byte) ([]byte, error) {
	return appendJWK(nil, alg, kid, spki)
}

func appendJWK(b []byte, alg lifecycle.Algorithm, kid string, spki []byte) ([]byte, error) {
	required, err := members(spki)
	if err != nil {
		return nil, fmt.Errorf("encode JWK %s: %w", kid, err)
	}
	ours := []member{{"alg", string(alg)}, {"kid", kid}, {"use", "sig"}}
	merged := make([]member, 0, len(required)+len(ours))
	for len(ours) > 0 || len(required) > 0 {
		if len(required) == 0 || len(ours) > 0 && ours[0].name < required[0].name {
			merged, ours = append(merged, ours[0]), ours[1:]
		} else {
			merged, required = append(merged, required[0]), required[1:]
		}
	}
	return object(b, merged), nil
}
