package sshsig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strings"
	"testing"
)

// signer makes SSH signatures without OpenSSH, of all four types and with every
// field open to change. For the sk- types it plays the FIDO device.
type signer struct {
	kind        Type
	ed          ed25519.PrivateKey
	ec          *ecdsa.PrivateKey
	application string
	curve       string
	flags       byte
	counter     uint32

	// What a test may bend before signing.
	reserved  string
	hash      string
	version   uint32
	algorithm Type
}

func newSigner(t testing.TB, kind Type) *signer {
	t.Helper()
	s := &signer{kind: kind, algorithm: kind, curve: curveName, application: "ssh:", flags: flagPresent, counter: 7, hash: "sha512", version: 1}
	var err error
	if s.isECDSA() {
		s.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, s.ed, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *signer) isECDSA() bool { return s.kind == ECDSA || s.kind == SKECDSA }

func (s *signer) blob(t testing.TB) []byte {
	t.Helper()
	out := appendString(nil, []byte(s.kind))
	if s.isECDSA() {
		point, err := s.ec.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		out = appendString(appendString(out, []byte(s.curve)), point)
	} else {
		out = appendString(out, s.ed.Public().(ed25519.PublicKey))
	}
	if s.kind.hardware() {
		out = appendString(out, []byte(s.application))
	}
	return out
}

func (s *signer) key(t testing.TB) Key {
	t.Helper()
	k, err := ParseKey(s.blob(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mpint(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) > 0 && b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return appendString(nil, b)
}

// inner signs data and returns the inner signature.
func (s *signer) inner(t testing.TB, data []byte) []byte {
	t.Helper()
	if s.kind.hardware() {
		app, digest := sha256.Sum256([]byte(s.application)), sha256.Sum256(data)
		data = append(append([]byte{}, app[:]...), s.flags)
		data = binary.BigEndian.AppendUint32(data, s.counter)
		data = append(data, digest[:]...)
	}
	var raw []byte
	if s.isECDSA() {
		digest := sha256.Sum256(data)
		r, ss, err := ecdsa.Sign(rand.Reader, s.ec, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		raw = append(mpint(r), mpint(ss)...)
	} else {
		raw = ed25519.Sign(s.ed, data)
	}
	out := appendString(appendString(nil, []byte(s.algorithm)), raw)
	if s.kind.hardware() {
		out = binary.BigEndian.AppendUint32(append(out, s.flags), s.counter)
	}
	return out
}

// sign returns the binary form of a whole signature.
func (s *signer) sign(t testing.TB, namespace string, message []byte) []byte {
	t.Helper()
	part := signature{namespace: []byte(namespace), hash: s.hash}
	data := part.signed(message)
	if s.reserved != "" { // signed is for the empty field
		data = append([]byte(preamble), appendString(nil, []byte(namespace))...)
		data = appendString(data, []byte(s.reserved))
		sum := sha256.Sum256(message)
		data = appendString(appendString(data, []byte("sha256")), sum[:])
		s.hash = "sha256"
	}
	return s.wrap(t, namespace, s.inner(t, data))
}

func (s *signer) wrap(t testing.TB, namespace string, inner []byte) []byte {
	t.Helper()
	out := binary.BigEndian.AppendUint32([]byte(preamble), s.version)
	out = appendString(out, s.blob(t))
	out = appendString(out, []byte(namespace))
	out = appendString(out, []byte(s.reserved))
	out = appendString(out, []byte(s.hash))
	return appendString(out, inner)
}

// armor is ssh-keygen's text form.
func armor(blob []byte) []byte {
	var b strings.Builder
	b.WriteString(armorBegin + "\n")
	text := base64.StdEncoding.EncodeToString(blob)
	for len(text) > 70 {
		b.WriteString(text[:70] + "\n")
		text = text[70:]
	}
	b.WriteString(text + "\n" + armorEnd + "\n")
	return []byte(b.String())
}

var allTypes = []Type{Ed25519, ECDSA, SKEd25519, SKECDSA}
