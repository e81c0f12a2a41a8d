package sshsig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestKeyRoundTrip(t *testing.T) {
	for _, kind := range allTypes {
		k := newSigner(t, kind).key(t)
		for name, line := range map[string]string{
			"bare": k.String(), "comment": k.String() + " alice@host", "spaces": k.String() + " a b  c ", "newline": k.String() + " a\n",
			"CR LF": k.String() + "\r\n",
		} {
			back, err := ParseAuthorizedKey(line)
			if err != nil || back != k {
				t.Errorf("%s, %s: %+v, %v", kind, name, back, err)
			}
		}
		back, err := ParseKey(k.Marshal())
		if err != nil || back != k || k.Type() != kind {
			t.Errorf("%s: %+v, %v", kind, back, err)
		}
		for at := range k.Marshal() {
			if _, err := ParseKey(k.Marshal()[:at]); !errors.Is(err, ErrKey) {
				t.Fatalf("%s cut to %d bytes: %v", kind, at, err)
			}
		}
		if _, err := ParseKey(append(k.Marshal(), 0)); !errors.Is(err, ErrKey) {
			t.Errorf("%s with a byte left over: %v", kind, err)
		}
	}
}

func TestKeyLinesRefused(t *testing.T) {
	good := newSigner(t, Ed25519).key(t).String()
	other := newSigner(t, ECDSA).key(t).String()
	word := strings.Fields(good)[1]
	for name, line := range map[string]string{
		"empty":         "",
		"blank":         " ",
		"type only":     "ssh-ed25519",
		"type, space":   "ssh-ed25519 ",
		"options":       `command="true" ` + good,
		"leading space": " " + good,
		"two spaces":    strings.Replace(good, " ", "  ", 1),
		"tab":           strings.Replace(good, " ", "\t", 1),
		"two lines":     good + "\n" + good,
		"two newlines":  good + "\n\n",
		"NUL":           good + " \x00",
		"other type":    "ssh-ed25519 " + strings.Fields(other)[1],
		"not base64":    "ssh-ed25519 !!!!",
		"cut base64":    good[:len(good)-1],
		"stray bits":    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5A=B=",
		"newline in":    "ssh-ed25519 " + word[:8] + "\n" + word[8:],
		"rsa":           "ssh-rsa AAAAB3NzaC1yc2EAAAADAQAB",
		"certificate":   "ssh-ed25519-cert-v01@openssh.com " + word,
		"webauthn":      "webauthn-sk-ecdsa-sha2-nistp256@openssh.com " + word,
		"p384":          "ecdsa-sha2-nistp384 " + word,
		"long":          good + " " + strings.Repeat("x", maxLineBytes),
	} {
		if k, err := ParseAuthorizedKey(line); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func TestBentKeysRefused(t *testing.T) {
	field := func(s string) []byte { return appendString(nil, []byte(s)) }
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	ec := newSigner(t, ECDSA).key(t)
	ed := newSigner(t, Ed25519).key(t)
	off := []byte(ec.point)
	off[64] ^= 1
	compressed := append([]byte{2}, ec.point[1:33]...)
	for name, blob := range map[string][]byte{
		"empty":                 nil,
		"unknown type":          field("ssh-dss"),
		"short ed25519":         join(field("ssh-ed25519"), field(ed.point[:31])),
		"long ed25519":          join(field("ssh-ed25519"), field(ed.point+"x")),
		"huge ed25519":          join(field("ssh-ed25519"), field(strings.Repeat("x", 66))),
		"other curve":           join(field(string(ECDSA)), field("nistp384"), field(ec.point)),
		"curve missing":         join(field(string(ECDSA)), field(ec.point)),
		"off the curve":         join(field(string(ECDSA)), field(curveName), field(string(off))),
		"compressed":            join(field(string(ECDSA)), field(curveName), field(string(compressed))),
		"infinity":              join(field(string(ECDSA)), field(curveName), field("\x00")),
		"hybrid":                join(field(string(ECDSA)), field(curveName), field("\x06"+ec.point[1:])),
		"sk, no application":    join(field(string(SKEd25519)), field(ed.point)),
		"sk, empty application": join(field(string(SKEd25519)), field(ed.point), field("")),
		"sk, web application":   join(field(string(SKEd25519)), field(ed.point), field("example.com")),
		"sk, long application":  join(field(string(SKEd25519)), field(ed.point), field("ssh:"+strings.Repeat("x", maxApplicationBytes))),
		"sk-ecdsa, web":         join(field(string(SKECDSA)), field(curveName), field(ec.point), field("https://example.com")),
	} {
		if _, err := ParseKey(blob); !errors.Is(err, ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
		line := string(Ed25519) + " " + base64.StdEncoding.EncodeToString(blob)
		if _, err := ParseAuthorizedKey(line); !errors.Is(err, ErrKey) {
			t.Errorf("%s as a line: %v", name, err)
		}
	}
}
