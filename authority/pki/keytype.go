package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"math/big"
	"strconv"
)

// Kinds of subject keys, as profiles name them.
const (
	KeyP256    = "P-256"
	KeyP384    = "P-384"
	KeyEd25519 = "Ed25519"
	KeyRSA2048 = "RSA-2048"
	KeyRSA3072 = "RSA-3072"
	KeyRSA4096 = "RSA-4096"
)

// KeyTypes lists every kind of subject key there can be a certificate for.
var KeyTypes = []string{KeyP256, KeyP384, KeyEd25519, KeyRSA2048, KeyRSA3072, KeyRSA4096}

// KeyType names the kind of a public key, and refuses one that is known to be weak.
func KeyType(pub crypto.PublicKey) (string, error) {
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch name := k.Curve.Params().Name; name {
		case KeyP256, KeyP384:
			return name, nil
		default:
			return "", fmt.Errorf("a key on curve %s: choose P-256 or P-384", name)
		}
	case ed25519.PublicKey:
		return KeyEd25519, nil
	case *rsa.PublicKey:
		name := "RSA-" + strconv.Itoa(k.N.BitLen())
		if name != KeyRSA2048 && name != KeyRSA3072 && name != KeyRSA4096 {
			return "", fmt.Errorf("an RSA key of %d bits: choose 2048, 3072 or 4096", k.N.BitLen())
		}
		return name, checkRSA(k)
	}
	return "", fmt.Errorf("a public key of type %T cannot be certified: choose one of %v", pub, KeyTypes)
}

// Weaknesses of RSA keys that show in the public half.
var (
	errExponent = errors.New("the RSA key's public exponent is not 65537")
	errFactor   = errors.New("the RSA key's modulus has a small factor: the key was not generated, or is damaged; make a new one")
	errROCA     = errors.New("the RSA key was made by a device with the ROCA weakness (CVE-2017-15361): make it elsewhere")
	errFermat   = errors.New("the two primes of the RSA key are so close that it can be factored: make a new one with another tool")
)

func checkRSA(k *rsa.PublicKey) error {
	switch {
	case k.E != 65537:
		return errExponent
	case smallFactor(k.N):
		return errFactor
	case roca(k.N):
		return errROCA
	case closePrimes(k.N):
		return errFermat
	}
	return nil
}

// primes below 752, as NIST SP 800-89 section 5.3.3 asks to divide by.
var primes = func() (out []uint64) {
	for n := uint64(2); n < 752; n++ {
		prime := true
		for _, p := range out {
			prime = prime && n%p != 0
		}
		if prime {
			out = append(out, n)
		}
	}
	return out
}()

func smallFactor(n *big.Int) bool {
	for _, p := range primes {
		if remainder(n, p) == 0 {
			return true
		}
	}
	return false
}

func remainder(n *big.Int, p uint64) uint64 {
	return new(big.Int).Mod(n, new(big.Int).SetUint64(p)).Uint64()
}

// rocaPrimes is how many of the smallest primes the weak generator's moduli show their
// structure by, whatever their size (Nemec et al., ACM CCS 2017, section 2.1).
const rocaPrimes = 39

// generated[i] holds the powers of 65537 modulo the i-th prime.
var generated = func() (out [rocaPrimes]map[uint64]bool) {
	for i := range out {
		p := primes[i]
		out[i] = map[uint64]bool{}
		for x := 1 % p; !out[i][x]; x = x * 65537 % p {
			out[i][x] = true
		}
	}
	return out
}()

// roca reports whether the modulus is a power of 65537 modulo each small prime: all of
// the weak generator's are, of others not one in 2^100.
func roca(n *big.Int) bool {
	for i := range generated {
		if !generated[i][remainder(n, primes[i])] {
			return false
		}
	}
	return true
}

// fermatRounds finds primes whose difference is below about 2^9 times the fourth root
// of the modulus.
const fermatRounds = 100

// closePrimes is Fermat's factorisation, a few steps of it (CVE-2022-26320).
func closePrimes(n *big.Int) bool {
	a := new(big.Int).Sqrt(n)
	one := big.NewInt(1)
	if new(big.Int).Mul(a, a).Cmp(n) < 0 {
		a.Add(a, one)
	}
	rest, root := new(big.Int), new(big.Int)
	for range fermatRounds {
		rest.Sub(rest.Mul(a, a), n)
		root.Sqrt(rest)
		if new(big.Int).Mul(root, root).Cmp(rest) == 0 {
			return true
		}
		a.Add(a, one)
	}
	return false
}
