package lifecycle

import "fmt"

// Algorithm is a JOSE signature algorithm name (RFC 7518, RFC 8037). One key has
// one algorithm for its whole life.
type Algorithm string

const (
	ES256 Algorithm = "ES256" // ECDSA P-256 with SHA-256
	ES384 Algorithm = "ES384" // ECDSA P-384 with SHA-384
	EdDSA Algorithm = "EdDSA" // Ed25519, signs the message itself
	RS256 Algorithm = "RS256" // RSASSA-PKCS1-v1_5 with SHA-256
	PS256 Algorithm = "PS256" // RSASSA-PSS with SHA-256, salt length = hash length
)

// Algorithms lists every supported algorithm in the order the documentation uses.
var Algorithms = []Algorithm{ES256, ES384, EdDSA, RS256, PS256}

// Hash names the digest an algorithm signs.
type Hash string

const (
	NoHash Hash = "" // EdDSA: the message is signed, not a digest of it
	SHA256 Hash = "SHA-256"
	SHA384 Hash = "SHA-384"
)

// Size is the digest length in bytes; 0 for NoHash.
func (h Hash) Size() int {
	switch h {
	case SHA256:
		return 32
	case SHA384:
		return 48
	}
	return 0
}

// Hash tells which digest the algorithm signs.
func (a Algorithm) Hash() Hash {
	switch a {
	case ES256, RS256, PS256:
		return SHA256
	case ES384:
		return SHA384
	}
	return NoHash
}

// IsRSA reports whether keys of the algorithm have a modulus size.
func (a Algorithm) IsRSA() bool { return a == RS256 || a == PS256 }

// Limits of an RSA modulus, in bits. 2048 is the smallest SP 800-131A allows;
// above 4096 HSMs become slow enough to starve a queue.
const (
	MinRSABits     = 2048
	MaxRSABits     = 4096
	DefaultRSABits = 3072
)

// CheckAlgorithm validates an algorithm with its modulus size. bits is 0 for
// everything but RSA.
func CheckAlgorithm(a Algorithm, bits int) error {
	switch a {
	case ES256, ES384, EdDSA:
		if bits != 0 {
			return fmt.Errorf("%s has no --bits: its curve fixes the size", a)
		}
		return nil
	case RS256, PS256:
		if bits < MinRSABits || bits > MaxRSABits || bits%256 != 0 {
			return fmt.Errorf("%s needs 2048 to 4096 bits in steps of 256, not %d", a, bits)
		}
		return nil
	case "":
		return fmt.Errorf("no algorithm: choose one of %v", Algorithms)
	}
	return fmt.Errorf("unknown algorithm %q: choose one of %v", string(a), Algorithms)
}
