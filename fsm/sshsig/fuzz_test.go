package sshsig

import (
	"bytes"
	"testing"
)

// FuzzVerify: no input panics, and nothing but the golden signatures, perhaps
// folded otherwise, is accepted for the golden message.
func FuzzVerify(f *testing.F) {
	vectors := golden(f)
	accepted := map[string]bool{}
	for i, v := range vectors {
		f.Add(uint(i), v.armored)
		blob, err := unarmor(v.armored)
		if err != nil {
			f.Fatal(err)
		}
		accepted[string(blob)] = true
	}
	f.Fuzz(func(t *testing.T, i uint, armored []byte) {
		v := vectors[i%uint(len(vectors))]
		if Verify(v.key, namespace, v.message, armored) != nil {
			return
		}
		if blob, err := unarmor(armored); err != nil || !accepted[string(blob)] {
			t.Errorf("a signature nobody made was accepted: %x, %v", blob, err)
		}
	})
}

// FuzzSignature works below the armor, where the structure is.
func FuzzSignature(f *testing.F) {
	vectors := golden(f)
	for i, v := range vectors {
		blob, err := unarmor(v.armored)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint(i), blob)
	}
	f.Fuzz(func(t *testing.T, i uint, blob []byte) {
		v := vectors[i%uint(len(vectors))]
		s, err := parseSignature(blob)
		if err != nil {
			return
		}
		again := append([]byte(preamble), 0, 0, 0, formatVersion)
		for _, field := range [][]byte{s.key, s.namespace, nil, []byte(s.hash), s.signature} {
			again = appendString(again, field)
		}
		if !bytes.Equal(again, blob) {
			t.Errorf("%x parses as %x", blob, again)
		}
		_ = v.key.verify(s.signed(v.message), s.signature) // must not panic; whether it verifies is FuzzVerify's question
	})
}

// FuzzParseAuthorizedKey: what is accepted survives both round trips.
func FuzzParseAuthorizedKey(f *testing.F) {
	for _, v := range golden(f) {
		f.Add(v.key.String() + " comment\n")
	}
	f.Add("ssh-rsa AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		k, err := ParseAuthorizedKey(line)
		if err != nil {
			return
		}
		a, errA := ParseAuthorizedKey(k.String())
		b, errB := ParseKey(k.Marshal())
		if errA != nil || errB != nil || a != k || b != k {
			t.Errorf("%q: %v %v", line, errA, errB)
		}
	})
}
