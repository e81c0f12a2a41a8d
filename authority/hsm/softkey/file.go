package softkey

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// A key file, version 1. Numbers are big-endian. One file is one key pair, named
// <key id in hex>.key.
//
//	offset  size  field
//	     0     4  magic "CHSK"
//	     4     1  version, 1
//	     5     1  derivation of the sealing key: 1 = HKDF-SHA256 of a key file,
//	              2 = Argon2id of a passphrase
//	     6     1  cipher, 1 = XChaCha20-Poly1305
//	     7     1  zero
//	     8     4  Argon2id passes (zero for derivation 1)
//	    12     4  Argon2id memory in KiB (zero for derivation 1)
//	    16     1  Argon2id lanes (zero for derivation 1)
//	    17     3  zero
//	    20    16  salt of the derivation
//	    36    16  key id (CKA_ID)
//	    52    24  nonce
//	    76     4  length n of the sealed part, tag included
//	    80     n  sealed part; the file ends here
//
// Associated data: bytes 0 to 79, then the length of the cluster id in two bytes,
// then the cluster id. So a file that was moved to another id, another cluster or
// another version of the format does not open.
//
// Sealed plaintext: length of the algorithm name (1), name, length of the label
// (2), label, PKCS#8 private key up to the end.
const (
	magic      = "CHSK"
	version    = 1
	cipherX    = 1 // XChaCha20-Poly1305: its nonce is long enough to be drawn at random
	headerSize = 80
	saltSize   = 16

	// maxFile bounds what is read: a 4096-bit PKCS#8 key is 2.4 KB.
	maxFile = 16 << 10
	// maxLabel is what a sealed label may take, in bytes.
	maxLabel = 255
)

// header is the cleartext part of a key file.
type header struct {
	kdf   derivation
	id    hsm.ObjectID
	nonce [chacha20poly1305.NonceSizeX]byte
	n     uint32
}

// record is the sealed part of a key file.
type record struct {
	alg   lifecycle.Algorithm
	label string
	pkcs8 []byte
}

func (h header) encode() []byte {
	out := make([]byte, 0, headerSize)
	out = append(out, magic...)
	out = append(out, version, byte(h.kdf.kind), cipherX, 0)
	out = binary.BigEndian.AppendUint32(out, h.kdf.passes)
	out = binary.BigEndian.AppendUint32(out, h.kdf.memoryKiB)
	out = append(out, h.kdf.lanes, 0, 0, 0)
	out = append(out, h.kdf.salt[:]...)
	out = append(out, h.id[:]...)
	out = append(out, h.nonce[:]...)
	return binary.BigEndian.AppendUint32(out, h.n)
}

// damaged is the one way this package says that a file cannot be used. It wraps
// ErrCorrupt and never ErrNotFound: the key is there.
func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", hsm.ErrCorrupt, fmt.Sprintf(format, args...))
}

// parseHeader splits a file into header and sealed part. Everything it accepts
// encodes back to the same bytes.
func parseHeader(file []byte) (header, []byte, error) {
	var h header
	switch {
	case len(file) < headerSize:
		return h, nil, damaged("file of %d bytes is shorter than its header of %d", len(file), headerSize)
	case len(file) > maxFile:
		return h, nil, damaged("file of %d bytes is larger than any key (%d)", len(file), maxFile)
	case string(file[:4]) != magic:
		return h, nil, damaged("it does not start with %q, so it is no key file", magic)
	case file[4] != version:
		return h, nil, damaged("format version %d is unknown to this program, which reads %d", file[4], version)
	case file[6] != cipherX:
		return h, nil, damaged("cipher %d is unknown", file[6])
	case file[7] != 0 || !bytes.Equal(file[17:20], []byte{0, 0, 0}):
		return h, nil, damaged("reserved header bytes are not zero")
	}
	h.kdf = derivation{
		kind:      kdfKind(file[5]),
		passes:    binary.BigEndian.Uint32(file[8:]),
		memoryKiB: binary.BigEndian.Uint32(file[12:]),
		lanes:     file[16],
		salt:      [saltSize]byte(file[20:36]),
	}
	if err := h.kdf.check(); err != nil {
		return h, nil, err
	}
	h.id = hsm.ObjectID(file[36:52])
	h.nonce = [chacha20poly1305.NonceSizeX]byte(file[52:76])
	h.n = binary.BigEndian.Uint32(file[76:80])
	if int64(h.n) != int64(len(file)-headerSize) {
		return h, nil, damaged("header announces %d sealed bytes, the file has %d", h.n, len(file)-headerSize)
	}
	return h, file[headerSize:], nil
}

// associated is what the seal covers besides the plaintext.
func associated(head []byte, clusterID string) []byte {
	ad := make([]byte, 0, len(head)+2+len(clusterID))
	ad = append(ad, head...)
	ad = binary.BigEndian.AppendUint16(ad, uint16(len(clusterID)))
	return append(ad, clusterID...)
}

// seal makes a key file.
func seal(key sealingKey, clusterID string, id hsm.ObjectID, rec record) ([]byte, error) {
	if len(rec.label) > maxLabel {
		return nil, fmt.Errorf("seal key: label of %d bytes is longer than %d: %w", len(rec.label), maxLabel, hsm.ErrInput)
	}
	h := header{kdf: key.kdf, id: id}
	if _, err := rand.Read(h.nonce[:]); err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return sealUnder(key, clusterID, h, rec)
}

// sealUnder seals with the nonce in h, which must never serve twice.
func sealUnder(key sealingKey, clusterID string, h header, rec record) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(key.secret[:])
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	plain := make([]byte, 0, 3+len(rec.alg)+len(rec.label)+len(rec.pkcs8))
	plain = append(plain, byte(len(rec.alg)))
	plain = append(plain, rec.alg...)
	plain = binary.BigEndian.AppendUint16(plain, uint16(len(rec.label)))
	plain = append(plain, rec.label...)
	plain = append(plain, rec.pkcs8...)
	defer clear(plain)

	h.n = uint32(len(plain) + aead.Overhead())
	head := h.encode()
	return aead.Seal(bytes.Clone(head), h.nonce[:], plain, associated(head, clusterID)), nil
}

// unseal opens a key file that must be the one for id.
func unseal(key sealingKey, clusterID string, id hsm.ObjectID, file []byte) (record, error) {
	h, sealed, err := parseHeader(file)
	if err != nil {
		return record{}, err
	}
	if h.id != id {
		return record{}, damaged("file holds key id %s, not %s: it was copied or renamed", h.id, id)
	}
	aead, err := chacha20poly1305.NewX(key.secret[:])
	if err != nil {
		return record{}, fmt.Errorf("open key: %w", err)
	}
	plain, err := aead.Open(nil, h.nonce[:], sealed, associated(file[:headerSize], clusterID))
	if err != nil {
		return record{}, damaged("the seal does not open: the file is damaged, or was sealed with another key_file, passphrase or cluster id")
	}
	return parseRecord(plain)
}

func parseRecord(plain []byte) (record, error) {
	var rec record
	alg, rest, ok := cut(plain, 1)
	if !ok {
		return rec, damaged("sealed part ends inside the algorithm")
	}
	label, pkcs8, ok := cut(rest, 2)
	if !ok || len(label) > maxLabel {
		return rec, damaged("sealed part ends inside the label")
	}
	return record{alg: lifecycle.Algorithm(alg), label: string(label), pkcs8: pkcs8}, nil
}

// cut reads a field with a length of width bytes before it.
func cut(in []byte, width int) (field, rest []byte, ok bool) {
	if len(in) < width {
		return nil, nil, false
	}
	n := 0
	for _, b := range in[:width] {
		n = n<<8 | int(b)
	}
	in = in[width:]
	if len(in) < n {
		return nil, nil, false
	}
	return in[:n], in[n:], true
}
