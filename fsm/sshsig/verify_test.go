package sshsig

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const namespace = "chancery"

type vector struct {
	name    string
	key     Key
	message []byte
	armored []byte
}

func golden(t testing.TB) []vector {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var out []vector
	for _, name := range []string{"ed25519", "ecdsa", "sk-ed25519", "sk-ecdsa"} {
		key, err := ParseAuthorizedKey(string(read(name + ".pub")))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, hash := range []string{"sha256", "sha512"} {
			out = append(out, vector{name + "-" + hash, key, read("message"), read(name + "-" + hash + ".sig")})
		}
	}
	return out
}

func TestGoldenVectors(t *testing.T) {
	prints := map[Type]string{ // as ssh-keygen -l printed them
		Ed25519:   "SHA256:7+S4X1qmULdVcRmO/i9FA0tIJlBfSr4FTEAoeedAV3g",
		ECDSA:     "SHA256:re5L/EP8mEX2cvAoY0C+caPi4he5Waj1L3DjELLcgfU",
		SKEd25519: "SHA256:xkUvzquNcPSL0pkXcNV0ZH3+VO1zvvWW5URc5j4Sf0A",
		SKECDSA:   "SHA256:aCYqzk3y7ZpEtQFwuQabGGylspo+aQn5FLCuaTFVizA",
	}
	vectors := golden(t)
	for i, v := range vectors {
		if err := Verify(v.key, namespace, v.message, v.armored); err != nil {
			t.Errorf("%s: %v", v.name, err)
		}
		if v.key.Fingerprint() != prints[v.key.Type()] {
			t.Errorf("%s: fingerprint %s", v.name, v.key.Fingerprint())
		}
		if err := Verify(v.key, "file", v.message, v.armored); !errors.Is(err, ErrNamespace) {
			t.Errorf("%s in another namespace: %v", v.name, err)
		}
		if err := Verify(v.key, namespace, append(v.message, '\n'), v.armored); !errors.Is(err, ErrSignature) {
			t.Errorf("%s with another message: %v", v.name, err)
		}
		other := vectors[(i+2)%len(vectors)]
		if err := Verify(other.key, namespace, v.message, v.armored); !errors.Is(err, ErrOtherKey) {
			t.Errorf("%s by another key: %v", v.name, err)
		}
		if err := Verify(Key{}, namespace, v.message, v.armored); !errors.Is(err, ErrKey) {
			t.Errorf("%s by no key: %v", v.name, err)
		}
		// The same signature with Windows line ends, and without the last one.
		if err := Verify(v.key, namespace, v.message, bytes.ReplaceAll(v.armored, []byte("\n"), []byte("\r\n"))); err != nil {
			t.Errorf("%s with CR LF: %v", v.name, err)
		}
		if err := Verify(v.key, namespace, v.message, bytes.TrimSuffix(v.armored, []byte("\n"))); err != nil {
			t.Errorf("%s without the last line end: %v", v.name, err)
		}
	}
}

// TestEveryByteFlipIsRefused flips bits of each byte, in the text and in what it
// encodes.
func TestEveryByteFlipIsRefused(t *testing.T) {
	for _, v := range golden(t) {
		for at := range v.armored {
			for _, flip := range []byte{0x01, 0x02, 0x20, 0x80} {
				bad := bytes.Clone(v.armored)
				bad[at] ^= flip
				if Verify(v.key, namespace, v.message, bad) == nil {
					t.Fatalf("%s: text byte %d ^ %#x (%q) is accepted", v.name, at, flip, bad[at])
				}
			}
		}
		blob, err := unarmor(v.armored)
		if err != nil {
			t.Fatal(err)
		}
		for at := range blob {
			for bit := range 8 {
				bad := bytes.Clone(blob)
				bad[at] ^= 1 << bit
				if Verify(v.key, namespace, v.message, armor(bad)) == nil {
					t.Fatalf("%s: bit %d of byte %d is not checked", v.name, bit, at)
				}
			}
		}
		for cut := range blob {
			if Verify(v.key, namespace, v.message, armor(blob[:cut])) == nil {
				t.Fatalf("%s: cut to %d bytes and accepted", v.name, cut)
			}
		}
	}
}

func TestMessageFlips(t *testing.T) {
	for _, v := range golden(t) {
		for at := range v.message {
			bad := bytes.Clone(v.message)
			bad[at] ^= 1
			if err := Verify(v.key, namespace, bad, v.armored); !errors.Is(err, ErrSignature) {
				t.Fatalf("%s: message byte %d: %v", v.name, at, err)
			}
		}
	}
}

// TestBentSignatures are all signed correctly over what they say; what they say is
// not acceptable.
func TestBentSignatures(t *testing.T) {
	message := []byte("m")
	for name, c := range map[string]struct {
		bend  func(*signer)
		types []Type
		want  error
	}{
		"as it should be":    {func(*signer) {}, allTypes, nil},
		"sha256":             {func(s *signer) { s.hash = "sha256" }, allTypes, nil},
		"user verified":      {func(s *signer) { s.flags |= flagVerified }, allTypes[2:], nil},
		"synchronised key":   {func(s *signer) { s.flags |= flagBackupOK | flagBackedUp }, allTypes[2:], nil},
		"counter zero":       {func(s *signer) { s.counter = 0 }, allTypes[2:], nil},
		"own application":    {func(s *signer) { s.application = "ssh:work" }, allTypes[2:], nil},
		"no touch":           {func(s *signer) { s.flags = 0 }, allTypes[2:], ErrPresence},
		"verified, no touch": {func(s *signer) { s.flags = flagVerified }, allTypes[2:], ErrPresence},
		"reserved flag 0x02": {func(s *signer) { s.flags |= 0x02 }, allTypes[2:], ErrFormat},
		"reserved flag 0x20": {func(s *signer) { s.flags |= 0x20 }, allTypes[2:], ErrFormat},
		"attested data":      {func(s *signer) { s.flags |= 0x40 }, allTypes[2:], ErrFormat},
		"extensions":         {func(s *signer) { s.flags |= 0x80 }, allTypes[2:], ErrFormat},
		"version 0":          {func(s *signer) { s.version = 0 }, allTypes, ErrFormat},
		"version 2":          {func(s *signer) { s.version = 2 }, allTypes, ErrFormat},
		"hash sha1":          {func(s *signer) { s.hash = "sha1" }, allTypes, ErrFormat},
		"hash upper case":    {func(s *signer) { s.hash = "SHA512" }, allTypes, ErrFormat},
		"hash empty":         {func(s *signer) { s.hash = "" }, allTypes, ErrFormat},
		"reserved field":     {func(s *signer) { s.reserved = "x" }, allTypes, ErrFormat},
		"inner algorithm":    {func(s *signer) { s.algorithm = "ssh-rsa" }, allTypes, ErrFormat},
		"plain in hardware":  {func(s *signer) { s.algorithm = Ed25519 }, []Type{SKEd25519}, ErrFormat},
	} {
		for _, kind := range c.types {
			s := newSigner(t, kind)
			c.bend(s)
			err := Verify(s.key(t), namespace, message, armor(s.sign(t, namespace, message)))
			if !errors.Is(err, c.want) {
				t.Errorf("%s, %s: %v, want %v", name, kind, err, c.want)
			}
		}
	}
}

// TestHardwareFieldsAreSigned: flags, counter and application are under the
// device's signature and not merely beside it.
func TestHardwareFieldsAreSigned(t *testing.T) {
	message := []byte("m")
	for _, kind := range allTypes[2:] {
		s := newSigner(t, kind)
		blob := s.sign(t, namespace, message)
		for name, change := range map[string]func([]byte){
			"flags":   func(b []byte) { b[len(b)-5] |= flagVerified },
			"counter": func(b []byte) { b[len(b)-1]++ },
		} {
			bad := bytes.Clone(blob)
			change(bad)
			if err := Verify(s.key(t), namespace, message, armor(bad)); !errors.Is(err, ErrSignature) {
				t.Errorf("%s: another %s: %v", kind, name, err)
			}
		}
		inner := s.inner(t, (&signature{namespace: []byte(namespace), hash: s.hash}).signed(message))
		s.application = "ssh:other" // the same key pair registered under another name
		if err := Verify(s.key(t), namespace, message, armor(s.wrap(t, namespace, inner))); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: another application: %v", kind, err)
		}
		// A plain signature of the same pair is no hardware signature.
		s.application = "ssh:"
		plain := *s
		plain.kind = map[Type]Type{SKEd25519: Ed25519, SKECDSA: ECDSA}[kind]
		raw := plain.inner(t, (&signature{namespace: []byte(namespace), hash: s.hash}).signed(message))
		raw = append(raw, flagPresent, 0, 0, 0, 1)
		if err := Verify(s.key(t), namespace, message, armor(s.wrap(t, namespace, raw))); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: a plain signature: %v", kind, err)
		}
	}
}

// TestIntegersHaveOneForm bends the two integers of a right ECDSA signature.
func TestIntegersHaveOneForm(t *testing.T) {
	message := []byte("m")
	for _, kind := range []Type{ECDSA, SKECDSA} {
		s := newSigner(t, kind)
		data := (&signature{namespace: []byte(namespace), hash: s.hash}).signed(message)
		good := reader{rest: s.inner(t, data)}
		algorithm, pair := good.string(maxTypeBytes), good.string(maxSignatureBytes)
		tail := good.rest
		in := reader{rest: pair}
		r, ss := new(big.Int).SetBytes(in.integer()), new(big.Int).SetBytes(in.integer())
		n := s.ec.Params().N
		padded := func(i *big.Int) []byte { return appendString(nil, append([]byte{0}, mpint(i)[4:]...)) }
		join := func(a, b []byte) []byte { return append(bytes.Clone(a), b...) }
		for name, c := range map[string]struct {
			pair []byte
			ok   bool
		}{
			"as it was":      {join(mpint(r), mpint(ss)), true},
			"the twin":       {join(mpint(r), mpint(new(big.Int).Sub(n, ss))), true}, // see the package comment
			"padded r":       {join(padded(r), mpint(ss)), false},
			"padded s":       {join(mpint(r), padded(ss)), false},
			"r zero":         {join(appendString(nil, nil), mpint(ss)), false},
			"r zero byte":    {join(appendString(nil, []byte{0}), mpint(ss)), false},
			"negative":       {join(appendString(nil, []byte{0x80}), mpint(ss)), false},
			"s plus n":       {join(mpint(r), mpint(new(big.Int).Add(n, ss))), false},
			"s too long":     {join(mpint(r), mpint(new(big.Int).Lsh(ss, 64))), false},
			"one integer":    {mpint(r), false},
			"three integers": {join(join(mpint(r), mpint(ss)), mpint(ss)), false},
			"nothing":        {nil, false},
		} {
			inner := append(appendString(appendString(nil, algorithm), c.pair), tail...)
			err := Verify(s.key(t), namespace, message, armor(s.wrap(t, namespace, inner)))
			if (err == nil) != c.ok {
				t.Errorf("%s, %s: %v", kind, name, err)
			}
		}
	}
}

func TestArmorForms(t *testing.T) {
	s := newSigner(t, Ed25519)
	key, message := s.key(t), []byte("m")
	good := string(armor(s.sign(t, namespace, message)))
	body := strings.TrimSuffix(strings.TrimPrefix(good, armorBegin+"\n"), armorEnd+"\n")
	flat := strings.ReplaceAll(body, "\n", "")
	wrap := func(body string) string { return armorBegin + "\n" + body + armorEnd + "\n" }
	fold := func(s string, n int) (out string) {
		for len(s) > n {
			out, s = out+s[:n]+"\n", s[n:]
		}
		return out + s + "\n"
	}
	for name, c := range map[string]struct {
		text string
		ok   bool
	}{
		"70 columns":     {good, true},
		"64 columns":     {wrap(fold(flat, 64)), true},
		"76 columns":     {wrap(fold(flat, 76)), true},
		"77 columns":     {wrap(fold(flat, 77)), false},
		"one line":       {wrap(flat + "\n"), false},
		"two newlines":   {good + "\n", false},
		"text before":    {"x" + good, false},
		"newline before": {"\n" + good, false},
		"text after":     {good + "x", false},
		"no begin":       {body + armorEnd + "\n", false},
		"no end":         {armorBegin + "\n" + body, false},
		"no body":        {wrap(""), false},
		"empty line":     {wrap("\n" + body), false},
		"mixed line end": {strings.Replace(good, "\n", "\r\n", 1), false},
		"stray CR":       {wrap(body[:10] + "\r" + body[10:]), false},
		"space":          {strings.Replace(good, body, " "+body, 1), false},
		"url alphabet":   {wrap(strings.Replace(body, body[5:6], "_", 1)), false},
		"PEM header":     {wrap("A: b\n\n" + body), false},
		"other label":    {strings.ReplaceAll(good, "SSH", "PGP"), false},
		"empty":          {"", false},
		"binary":         {string(s.sign(t, namespace, message)), false},
		"huge":           {wrap(strings.Repeat(body, 20)), false},
		"twice":          {good + good, false},
	} {
		if err := Verify(key, namespace, message, []byte(c.text)); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		} else if err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v, want ErrFormat", name, err)
		}
	}
}

func TestStrayBase64BitsAreRefused(t *testing.T) {
	s := newSigner(t, Ed25519)
	message := []byte("m")
	padded := 0
	for pad := range 3 { // namespaces of three lengths give all paddings
		ns := namespace + strings.Repeat("x", pad)
		text := string(armor(s.sign(t, ns, message)))
		if err := Verify(s.key(t), ns, message, []byte(text)); err != nil {
			t.Fatal(err)
		}
		at := strings.Index(text, "=")
		if at < 0 {
			continue
		}
		padded++
		if err := Verify(s.key(t), ns, message, []byte(strings.ReplaceAll(text, "=", ""))); !errors.Is(err, ErrFormat) {
			t.Errorf("without padding: %v", err)
		}
		// The character before the padding has bits that say nothing: A, Q, g, w and
		// the like have them clear.
		bad := text[:at-1] + string(text[at-1]+1) + text[at:]
		if err := Verify(s.key(t), ns, message, []byte(bad)); !errors.Is(err, ErrFormat) {
			t.Errorf("stray bits: %v", err)
		}
	}
	if padded != 2 {
		t.Errorf("%d of the texts had padding", padded)
	}
}

func TestLimits(t *testing.T) {
	s := newSigner(t, Ed25519)
	for name, c := range map[string]struct {
		namespace string
		message   int
		ok        bool
	}{
		"longest namespace":  {strings.Repeat("n", maxNamespaceBytes), 1, true},
		"namespace too long": {strings.Repeat("n", maxNamespaceBytes+1), 1, false},
		"no namespace":       {"", 1, false},
		"no message":         {namespace, 0, true},
		"longest message":    {namespace, maxMessageBytes, true},
		"message too long":   {namespace, maxMessageBytes + 1, false},
	} {
		message := make([]byte, c.message)
		err := Verify(s.key(t), c.namespace, message, armor(s.sign(t, c.namespace, message)))
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A length that promises four gigabytes must not be believed.
	blob := binary.BigEndian.AppendUint32([]byte(preamble), formatVersion)
	blob = binary.BigEndian.AppendUint32(blob, 0xffffffff)
	if err := Verify(s.key(t), namespace, nil, armor(blob)); !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
}

// TestWeakEd25519 shows for each refused point that a signature made of nothing
// but zeros and the neutral element verifies under it, which is why it is refused.
func TestWeakEd25519(t *testing.T) {
	hexes := []string{
		"00" + strings.Repeat("00", 31), "01" + strings.Repeat("00", 31), "ec" + strings.Repeat("ff", 30) + "7f",
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
		"ed" + strings.Repeat("ff", 30) + "7f", "ee" + strings.Repeat("ff", 30) + "7f", // 0 and 1, unreduced
	}
	forged := make([]byte, ed25519.SignatureSize)
	forged[0] = 1 // R is the neutral element, S is zero
	for _, h := range hexes {
		var point []byte
		if _, err := fmt.Sscanf(h, "%x", &point); err != nil || len(point) != 32 {
			t.Fatal(h, err)
		}
		for _, sign := range []byte{0, 0x80} {
			p := bytes.Clone(point)
			p[31] |= sign
			works := false
			for i := range 64 {
				works = works || ed25519.Verify(p, fmt.Append(nil, i), forged)
			}
			if !works && sign == 0 { // with the sign bit some are no points at all
				t.Errorf("%x: the forgery does not work, why is it refused?", p)
			}
			for _, kind := range []Type{Ed25519, SKEd25519} {
				blob := appendString(appendString(nil, []byte(kind)), p)
				if kind.hardware() {
					blob = appendString(blob, []byte("ssh:"))
				}
				if _, err := ParseKey(blob); !errors.Is(err, ErrKey) {
					t.Errorf("%s %x: %v", kind, p, err)
				}
			}
		}
	}
}
