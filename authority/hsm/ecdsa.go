package hsm

import (
	"crypto/elliptic"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ECDSA signatures have two forms: ASN.1 DER (X.509, openssl) and r||s of fixed
// width (JWS, RFC 7518 section 3.4; PKCS#11). A KeyStore answers DER.

// coordinateSize is the width of r and of s in the raw form, in bytes.
func coordinateSize(alg lifecycle.Algorithm) (int, error) {
	switch alg {
	case lifecycle.ES256:
		return 32, nil
	case lifecycle.ES384:
		return 48, nil
	}
	return 0, fmt.Errorf("%s is not ECDSA: %w", alg, ErrUnsupported)
}

// RawECDSA turns a DER signature into r||s, each left-padded to the curve's width.
func RawECDSA(alg lifecycle.Algorithm, der []byte) ([]byte, error) {
	size, err := coordinateSize(alg)
	if err != nil {
		return nil, err
	}
	var seq cryptobyte.String
	in := cryptobyte.String(der)
	raw := make([]byte, 2*size)
	if !in.ReadASN1(&seq, asn1.SEQUENCE) || !in.Empty() ||
		!readCoordinate(&seq, raw[:size]) || !readCoordinate(&seq, raw[size:]) || !seq.Empty() {
		return nil, fmt.Errorf("parse ECDSA signature: not strict DER of two %d-byte integers: %w", size, ErrSignature)
	}
	return raw, nil
}

// readCoordinate reads one INTEGER that is minimal and not negative into dst,
// right-aligned.
func readCoordinate(in *cryptobyte.String, dst []byte) bool {
	var v []byte
	if !in.ReadASN1Integer(&v) || len(v) > len(dst) {
		return false
	}
	copy(dst[len(dst)-len(v):], v)
	return true
}

// DERFromRaw turns r||s into DER. The halves are of equal width, at most 48 bytes.
func DERFromRaw(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 || len(raw) > 96 {
		return nil, fmt.Errorf("encode ECDSA signature: %d bytes are not r||s: %w", len(raw), ErrSignature)
	}
	half := len(raw) / 2
	content := integerSize(raw[:half]) + integerSize(raw[half:])
	// content is at most 2*(48+3) = 102 bytes, so each length fits one byte.
	der := make([]byte, 0, 2+content)
	der = append(der, 0x30, byte(content))
	der = appendInteger(der, raw[:half])
	return appendInteger(der, raw[half:]), nil
}

// significant drops leading zero bytes but keeps the last byte of a zero.
func significant(v []byte) []byte {
	for len(v) > 1 && v[0] == 0 {
		v = v[1:]
	}
	return v
}

func integerSize(v []byte) int {
	v = significant(v)
	n := 2 + len(v)
	if v[0]&0x80 != 0 {
		n++ // a zero byte keeps the INTEGER positive
	}
	return n
}

func appendInteger(der, v []byte) []byte {
	v = significant(v)
	if v[0]&0x80 != 0 {
		der = append(der, 0x02, byte(len(v)+1), 0)
	} else {
		der = append(der, 0x02, byte(len(v)))
	}
	return append(der, v...)
}

// OtherECDSA is the other signature that everybody can make of an ECDSA signature
// without the key: s and the group order less s both verify (SEC 1, section 4.1.4).
func OtherECDSA(alg lifecycle.Algorithm, der []byte) ([]byte, error) {
	raw, err := RawECDSA(alg, der)
	if err != nil {
		return nil, err
	}
	order := elliptic.P256().Params().N
	if alg == lifecycle.ES384 {
		order = elliptic.P384().Params().N
	}
	half := raw[len(raw)/2:]
	new(big.Int).Mod(new(big.Int).Sub(order, new(big.Int).SetBytes(half)), order).FillBytes(half)
	return DERFromRaw(raw)
}
