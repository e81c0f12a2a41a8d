package command

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDecode: no panic; what is accepted re-encodes to itself; Check does not panic
// on anything that decodes.
func FuzzDecode(f *testing.F) {
	for _, b := range examples() {
		f.Add(encode(f, exampleCommand(b)))
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) { decodeHolds(t, b) })
}

// FuzzBody puts the bytes behind a right checksum, which FuzzDecode rarely finds.
func FuzzBody(f *testing.F) {
	for _, b := range examples() {
		e := encode(f, exampleCommand(b))
		f.Add(uint16(b.Kind()), e[headerBytes:])
	}
	f.Fuzz(func(t *testing.T, kind uint16, body []byte) { decodeHolds(t, seal(Kind(kind), body)) })
}

func decodeHolds(t *testing.T, b []byte) {
	c, err := Decode(b)
	if err != nil {
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownKind) {
			t.Fatalf("%v is neither corruption nor an unknown kind", err)
		}
		return
	}
	_ = c.Check() // either answer is right; a panic is not
	again, err := c.Encode()
	if err != nil || !bytes.Equal(again, b) {
		t.Fatalf("accepted %x, written back %x (%v)", b, again, err)
	}
}
