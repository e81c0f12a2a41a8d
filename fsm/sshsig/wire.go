package sshsig

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

const (
	armorBegin = "-----BEGIN SSH SIGNATURE-----"
	armorEnd   = "-----END SSH SIGNATURE-----"
)

// unarmor reads the text form: the two marker lines and between them base64 in
// lines of at most 76 characters, padded, without a stray bit. Lines end in LF or
// in CR LF, all alike; after the last marker one line end may stand and nothing
// else.
func unarmor(armored []byte) ([]byte, error) {
	if len(armored) > maxArmoredBytes {
		return nil, fmt.Errorf("%w: it has more than %d bytes", ErrFormat, maxArmoredBytes)
	}
	eol := []byte("\n")
	if bytes.HasPrefix(armored, []byte(armorBegin+"\r\n")) {
		eol = []byte("\r\n")
	}
	lines := bytes.Split(bytes.TrimSuffix(armored, eol), eol)
	last := len(lines) - 1
	if last < 2 || string(lines[0]) != armorBegin || string(lines[last]) != armorEnd {
		return nil, fmt.Errorf("%w: give all of the file that ssh-keygen -Y sign wrote, from %s to %s", ErrFormat, armorBegin, armorEnd)
	}
	var text []byte
	for _, line := range lines[1:last] {
		// The decoder skips line ends by itself, where we do not allow them.
		if len(line) == 0 || len(line) > maxArmorLineBytes || bytes.ContainsAny(line, "\r\n") {
			return nil, fmt.Errorf("%w: a line of the armor is empty or longer than %d characters", ErrFormat, maxArmorLineBytes)
		}
		text = append(text, line...)
	}
	blob, err := base64.StdEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: the armor is not base64", ErrFormat)
	}
	return blob, nil
}

// reader reads the SSH wire encoding (RFC 4251, section 5). After the first
// mismatch it stays failed and yields zero values.
type reader struct {
	rest   []byte
	failed bool
}

// finished is true when everything was read and nothing is left.
func (r *reader) finished() bool { return !r.failed && len(r.rest) == 0 }

func (r *reader) take(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// string reads a length and that many bytes, at most limitBytes.
func (r *reader) string(limitBytes int) []byte {
	n := r.uint32()
	if uint64(n) > uint64(limitBytes) {
		r.failed = true
		return nil
	}
	return r.take(int(n))
}

// integer reads a positive mpint in its one shortest form and returns its
// big-endian bytes.
func (r *reader) integer() []byte {
	b := r.string(maxIntegerBytes)
	switch {
	case len(b) == 0, // zero
		b[0]&0x80 != 0, // negative
		b[0] == 0 && (len(b) == 1 || b[1]&0x80 == 0): // a zero byte that carries no sign
		r.failed = true
		return nil
	}
	return b
}

func appendString(dst, s []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(s)))
	return append(dst, s...)
}
