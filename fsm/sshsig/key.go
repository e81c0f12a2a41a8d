package sshsig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
)

// Type is the name of a key type, as the first word of an authorized-key line.
type Type string

const (
	Ed25519   Type = "ssh-ed25519"
	ECDSA     Type = "ecdsa-sha2-nistp256"
	SKEd25519 Type = "sk-ssh-ed25519@openssh.com"
	SKECDSA   Type = "sk-ecdsa-sha2-nistp256@openssh.com"
)

// hardware tells the types whose private half lives in a FIDO authenticator.
func (t Type) hardware() bool { return t == SKEd25519 || t == SKECDSA }

const (
	curveName = "nistp256"
	// applicationPrefix keeps keys made for web sites apart from keys made for SSH.
	applicationPrefix = "ssh:"
)

// Key is an accepted public key. It is comparable; the zero value is no key.
type Key struct {
	kind        Type
	blob        string // wire form, canonical
	point       string // 32 bytes of Ed25519, or 65 of an uncompressed P-256 point
	application string // hardware types only
}

// ParseAuthorizedKey reads one line "type base64 [comment]", as in a .pub file.
// The line may end in one newline. Options before the type are refused: they
// would promise restrictions that nobody here enforces.
func ParseAuthorizedKey(line string) (Key, error) {
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	if len(line) > maxLineBytes || strings.ContainsAny(line, "\r\n\x00") {
		return Key{}, fmt.Errorf("%w: give one line of at most %d bytes, as in a .pub file", ErrKey, maxLineBytes)
	}
	kind, rest, found := strings.Cut(line, " ")
	if err := checkType(Type(kind)); err != nil {
		return Key{}, err
	}
	encoded, _, _ := strings.Cut(rest, " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || !found {
		return Key{}, fmt.Errorf("%w: the second word of the line is not base64", ErrKey)
	}
	key, err := ParseKey(blob)
	if err != nil {
		return Key{}, err
	}
	if string(key.kind) != kind {
		return Key{}, fmt.Errorf("%w: the line says %s, the key inside is %s", ErrKey, kind, key.kind)
	}
	return key, nil
}

// ParseKey reads a key in the wire form that Marshal gives.
func ParseKey(blob []byte) (Key, error) {
	r := reader{rest: blob}
	k := Key{kind: Type(r.string(maxTypeBytes)), blob: string(blob)}
	if err := checkType(k.kind); err != nil {
		return Key{}, err
	}
	curve := curveName
	if k.kind == ECDSA || k.kind == SKECDSA {
		curve = string(r.string(len(curveName)))
	}
	k.point = string(r.string(1 + 2*32))
	if k.kind.hardware() {
		k.application = string(r.string(maxApplicationBytes))
	}
	if !r.finished() || curve != curveName {
		return Key{}, fmt.Errorf("%w: a field is missing, too long, unknown or left over", ErrKey)
	}
	if k.kind.hardware() && !strings.HasPrefix(k.application, applicationPrefix) {
		return Key{}, fmt.Errorf("%w: the application of a hardware key must begin with %q", ErrKey, applicationPrefix)
	}
	if err := k.checkPoint(); err != nil {
		return Key{}, err
	}
	return k, nil
}

func checkType(t Type) error {
	switch t {
	case Ed25519, ECDSA, SKEd25519, SKECDSA:
		return nil
	}
	return fmt.Errorf("%w: the type must be %s, %s, %s or %s; make one with ssh-keygen -t ed25519",
		ErrKey, Ed25519, ECDSA, SKEd25519, SKECDSA)
}

func (k Key) checkPoint() error {
	if k.kind == Ed25519 || k.kind == SKEd25519 {
		if len(k.point) != ed25519.PublicKeySize {
			return fmt.Errorf("%w: an Ed25519 key has %d bytes", ErrKey, ed25519.PublicKeySize)
		}
		if weakEd25519(k.point) {
			return fmt.Errorf("%w: it is one of the points for which anyone can make signatures", ErrKey)
		}
		return nil
	}
	if _, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), []byte(k.point)); err != nil {
		return fmt.Errorf("%w: it is not an uncompressed point of P-256", ErrKey)
	}
	return nil
}

// weakEd25519 is true for the points of order 1, 2, 4 and 8, under which a
// signature without any secret verifies for one message in at most eight, and for
// encodings of y that are not reduced modulo p = 2^255 - 19. y is little-endian
// and the top bit of the last byte is the sign of x.
func weakEd25519(point string) bool {
	y := []byte(point)
	y[31] &= 0x7f
	unreduced := y[0] >= 0xed && y[31] == 0x7f
	for _, b := range y[1:31] {
		unreduced = unreduced && b == 0xff
	}
	if unreduced {
		return true
	}
	switch string(y) {
	case "\x00" + zeros31, // order 4
		"\x01" + zeros31,         // order 1, the neutral element
		"\xec" + ones30 + "\x7f", // order 2, y = -1
		"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05", // order 8
		"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a": // order 8
		return true
	}
	return false
}

const (
	zeros31 = "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	ones30  = "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
)

// Type is the key's type; empty for the zero Key.
func (k Key) Type() Type { return k.kind }

// Marshal returns the wire form, the base64 word of an authorized-key line.
func (k Key) Marshal() []byte { return []byte(k.blob) }

// Fingerprint is what `ssh-keygen -l` prints: SHA256 and unpadded base64.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256([]byte(k.blob))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// String is the authorized-key line without a comment.
func (k Key) String() string {
	return string(k.kind) + " " + base64.StdEncoding.EncodeToString([]byte(k.blob))
}
