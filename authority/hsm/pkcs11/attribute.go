//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// Values that the Go binding does not name.
const (
	ckkECEdwards           = 0x40   // CKK_EC_EDWARDS, PKCS#11 v3.0
	ckmEdwardsKeyPairGen   = 0x1055 // CKM_EC_EDWARDS_KEY_PAIR_GEN
	ckmEdDSA               = 0x1057 // CKM_EDDSA
	ed25519PrintableParams = "\x13\x0cedwards25519"
)

// DER of the curve object identifiers, as CKA_EC_PARAMS holds them.
var (
	oidP256    = []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}
	oidP384    = []byte{0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22}
	oidEd25519 = []byte{0x06, 0x03, 0x2b, 0x65, 0x70}
)

// ulong reads a CK_ULONG attribute: 4 or 8 bytes in the machine's order.
func ulong(value []byte) (uint, bool) {
	switch len(value) {
	case 8:
		return uint(binary.NativeEndian.Uint64(value)), true
	case 4:
		return uint(binary.NativeEndian.Uint32(value)), true
	}
	return 0, false
}

// publicKey reads the SPKI of a public key object.
func (w *worker) publicKey(handle pkcs11.ObjectHandle) ([]byte, error) {
	values, err := w.attributes(handle, pkcs11.CKA_KEY_TYPE)
	if err != nil {
		return nil, err
	}
	kind, ok := ulong(values[0])
	if !ok {
		return nil, fmt.Errorf("read public key: CKA_KEY_TYPE has %d bytes: %w", len(values[0]), hsm.ErrUnsupported)
	}
	var first, second uint
	switch kind {
	case pkcs11.CKK_RSA:
		first, second = pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT
	case pkcs11.CKK_EC, ckkECEdwards:
		first, second = pkcs11.CKA_EC_PARAMS, pkcs11.CKA_EC_POINT
	default:
		return nil, fmt.Errorf("read public key: key type %#x: %w", kind, hsm.ErrUnsupported)
	}
	if values, err = w.attributes(handle, first, second); err != nil {
		return nil, err
	}
	pub, err := decodePublic(kind, values[0], values[1])
	if err != nil {
		return nil, fmt.Errorf("read public key: %w", err)
	}
	return hsm.MarshalSPKI(pub)
}

// decodePublic builds a public key from what a token says about it: modulus and
// exponent, or curve and point.
func decodePublic(kind uint, first, second []byte) (crypto.PublicKey, error) {
	switch kind {
	case pkcs11.CKK_RSA:
		exponent := new(big.Int).SetBytes(second)
		if !exponent.IsInt64() || exponent.Int64() > 1<<31-1 {
			return nil, fmt.Errorf("RSA exponent of %d bits: %w", exponent.BitLen(), hsm.ErrUnsupported)
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(first), E: int(exponent.Int64())}, nil
	case ckkECEdwards:
		if !bytes.Equal(first, oidEd25519) && string(first) != ed25519PrintableParams {
			return nil, fmt.Errorf("curve %x of Edwards form: %w", first, hsm.ErrUnsupported)
		}
		point, err := octets(second, ed25519.PublicKeySize)
		return ed25519.PublicKey(point), err
	case pkcs11.CKK_EC:
		var curve elliptic.Curve
		switch {
		case bytes.Equal(first, oidP256):
			curve = elliptic.P256()
		case bytes.Equal(first, oidP384):
			curve = elliptic.P384()
		default:
			return nil, fmt.Errorf("curve %x: %w", first, hsm.ErrUnsupported)
		}
		point, err := octets(second, 1+2*((curve.Params().BitSize+7)/8))
		if err != nil {
			return nil, err
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, point)
		if err != nil {
			return nil, fmt.Errorf("point is not on the curve: %w", hsm.ErrMismatch)
		}
		return pub, nil
	}
	return nil, fmt.Errorf("key type %#x: %w", kind, hsm.ErrUnsupported)
}

// octets unwraps an EC point: PKCS#11 wants a DER OCTET STRING, some tokens give the
// bare point.
func octets(value []byte, size int) ([]byte, error) {
	if len(value) == size {
		return value, nil
	}
	var point []byte
	if rest, err := asn1.Unmarshal(value, &point); err != nil || len(rest) != 0 || len(point) != size {
		return nil, fmt.Errorf("point of %d bytes, expected %d: %w", len(value), size, hsm.ErrMismatch)
	}
	return point, nil
}

// protection reads back how a private key is protected. An attribute the token does
// not know counts as the worse value: nothing is claimed that was not seen.
func (w *worker) protection(private pkcs11.ObjectHandle) (hsm.Attributes, error) {
	var a hsm.Attributes
	fields := []struct {
		name  uint
		value *bool
		worse bool
	}{
		{pkcs11.CKA_SENSITIVE, &a.Sensitive, false},
		{pkcs11.CKA_ALWAYS_SENSITIVE, &a.AlwaysSensitive, false},
		{pkcs11.CKA_EXTRACTABLE, &a.Extractable, true},
		{pkcs11.CKA_NEVER_EXTRACTABLE, &a.NeverExtractable, false},
		{pkcs11.CKA_SIGN, &a.Sign, false},
		{pkcs11.CKA_DECRYPT, &a.Decrypt, true},
		{pkcs11.CKA_UNWRAP, &a.Unwrap, true},
		{pkcs11.CKA_DERIVE, &a.Derive, true},
		{pkcs11.CKA_MODIFIABLE, &a.Modifiable, true},
		{pkcs11.CKA_COPYABLE, &a.Copyable, true},
		{pkcs11.CKA_LOCAL, &a.Local, false},
	}
	names := make([]uint, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if values, err := w.attributes(private, names...); err == nil {
		for i, f := range fields {
			*f.value = boolean(values[i], f.worse)
		}
		return a, nil
	} else if broken(err) {
		return a, err
	}
	for _, f := range fields { // one is unknown to the token: find out which
		values, err := w.attributes(private, f.name)
		switch {
		case err == nil:
			*f.value = boolean(values[0], f.worse)
		case broken(err):
			return a, err
		default:
			*f.value = f.worse
		}
	}
	return a, nil
}

func boolean(value []byte, worse bool) bool {
	if len(value) != 1 {
		return worse
	}
	return value[0] != 0
}

// checkProtection holds a generated key to what was asked for.
func checkProtection(a hsm.Attributes) error {
	var missing []error
	for _, f := range []struct {
		ok   bool
		what string
	}{
		{a.Sensitive && a.AlwaysSensitive, "it can be read in plaintext (CKA_SENSITIVE, CKA_ALWAYS_SENSITIVE)"},
		{!a.Extractable && a.NeverExtractable, "it can be extracted (CKA_EXTRACTABLE, CKA_NEVER_EXTRACTABLE)"},
		{a.Local, "it was not generated in the token (CKA_LOCAL)"},
		{a.Sign, "it cannot sign (CKA_SIGN)"},
		{!a.Decrypt && !a.Unwrap, "it can decrypt or unwrap"},
	} {
		if !f.ok {
			missing = append(missing, errors.New(f.what))
		}
	}
	return errors.Join(missing...)
}
