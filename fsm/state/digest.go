package state

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
)

// SetHash is LtHash (Bellare and Micciancio's lattice-based homomorphic hash):
// 1024 lanes of 16 bits, each row expanded to all of them and added lane by lane.
// The sum depends on the set of rows and not on the order they came in, so one
// changed row costs two expansions whatever the size of the state.
type SetHash [2048]byte

const rowDomain = "chancery-row/2\x00"

// chunkBytes of a row's expansion are made and added at a time.
const chunkBytes = 512

// expand makes 2 KiB of a row: SHA-256 over the row, with its table, key and lengths
// bound in, is the key of an AES-256-CTR keystream from counter zero. Both parts are
// fixed functions, the same on every platform, and nothing in them is secret.
//
// LtHash wants the expansion to look like a random function of the row. Equal seeds
// would need a collision of SHA-256; with distinct seeds each keystream is the output
// of an ideal cipher under a key of its own, which differs from random bytes only in
// that its 128 blocks never repeat (an advantage below 2^-114). An extendable-output
// function would say the same in one word, at three times the cost: the row digests
// were a fifth of what a follower's processor did.
func expand(t Table, key string, row []byte) cipher.Stream {
	h := sha256.New()
	var n [12]byte
	binary.BigEndian.PutUint32(n[0:], uint32(len(t)))
	binary.BigEndian.PutUint32(n[4:], uint32(len(key)))
	binary.BigEndian.PutUint32(n[8:], uint32(len(row)))
	h.Write([]byte(rowDomain))
	h.Write(n[:])
	h.Write([]byte(t))
	h.Write([]byte(key))
	h.Write(row)
	var seed [sha256.Size]byte
	block, err := aes.NewCipher(h.Sum(seed[:0]))
	if err != nil {
		panic(err) // the seed has the length of a key
	}
	var counter [aes.BlockSize]byte
	return cipher.NewCTR(block, counter[:])
}

// highBits are the top bits of the four lanes in a word. Lanes are added four at a
// time: without their top bits no sum reaches the next lane, and the top bit of a sum
// is the exclusive or of both top bits and the carry that arrived there.
const highBits = 0x8000_8000_8000_8000

// Add puts a row into the set.
func (s *SetHash) Add(t Table, key string, row []byte) {
	stream := expand(t, key, row)
	var e [chunkBytes]byte
	for lanes := s[:]; len(lanes) > 0; lanes = lanes[chunkBytes:] {
		clear(e[:])
		stream.XORKeyStream(e[:], e[:])
		for i := 0; i < chunkBytes; i += 8 {
			a, b := binary.LittleEndian.Uint64(lanes[i:]), binary.LittleEndian.Uint64(e[i:])
			binary.LittleEndian.PutUint64(lanes[i:], ((a&^highBits)+(b&^highBits))^((a^b)&highBits))
		}
	}
}

// Remove takes a row out of the set.
func (s *SetHash) Remove(t Table, key string, row []byte) {
	stream := expand(t, key, row)
	var e [chunkBytes]byte
	for lanes := s[:]; len(lanes) > 0; lanes = lanes[chunkBytes:] {
		clear(e[:])
		stream.XORKeyStream(e[:], e[:])
		for i := 0; i < chunkBytes; i += 8 {
			a, b := binary.LittleEndian.Uint64(lanes[i:]), binary.LittleEndian.Uint64(e[i:])
			binary.LittleEndian.PutUint64(lanes[i:], ((a|highBits)-(b&^highBits))^(^(a^b)&highBits))
		}
	}
}

// Scan computes the set hash of everything in a transaction from nothing.
func Scan(r Reader) (s SetHash) {
	for _, t := range Tables {
		if !t.Digested() {
			continue
		}
		r.Ascend(t, "", func(key string, row []byte) bool {
			s.Add(t, key, row)
			return true
		})
	}
	return s
}

// Digest is the state digest: the set hash with the clock and the epoch bound
// to it, because they are state too and stand in no row.
func (m *Meta) Digest() [sha256.Size]byte {
	h := sha256.New()
	h.Write([]byte("chancery-state/1\x00"))
	var n [16]byte
	binary.BigEndian.PutUint64(n[0:], uint64(m.Clock))
	binary.BigEndian.PutUint64(n[8:], m.Epoch)
	h.Write(n[:])
	h.Write(m.Rows[:])
	return [sha256.Size]byte(h.Sum(nil))
}
