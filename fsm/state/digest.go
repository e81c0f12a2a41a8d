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

// SumHash adds up SHA-256 of rows, as four numbers of 64 bits that wrap around. It finds
// what damage and mistakes do to rows that follow from others; somebody who may choose
// rows freely could make two sets with one sum, so nothing else is trusted to it. It
// costs a tenth of a SetHash.
type SumHash [32]byte

// Add puts a row into the sum.
func (s *SumHash) Add(t Table, key string, row []byte) {
	h := seed(t, key, row)
	for i := 0; i < len(s); i += 8 {
		binary.LittleEndian.PutUint64(s[i:], binary.LittleEndian.Uint64(s[i:])+binary.LittleEndian.Uint64(h[i:]))
	}
}

// Remove takes a row out of the sum.
func (s *SumHash) Remove(t Table, key string, row []byte) {
	h := seed(t, key, row)
	for i := 0; i < len(s); i += 8 {
		binary.LittleEndian.PutUint64(s[i:], binary.LittleEndian.Uint64(s[i:])-binary.LittleEndian.Uint64(h[i:]))
	}
}

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
	key256 := seed(t, key, row)
	block, err := aes.NewCipher(key256[:])
	if err != nil {
		panic(err) // the seed has the length of a key
	}
	var counter [aes.BlockSize]byte
	return cipher.NewCTR(block, counter[:])
}

// seed is SHA-256 over the row, with its table, key and lengths bound in.
func seed(t Table, key string, row []byte) [sha256.Size]byte {
	var place [1024]byte // does for most rows
	b := append(place[:0], rowDomain...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(t)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(key)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(row)))
	b = append(append(append(b, t...), key...), row...)
	return sha256.Sum256(b)
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

// Scan computes the sums of everything in a transaction from nothing.
func Scan(r Reader) (rows SetHash, derived SumHash) {
	for _, t := range Tables {
		r.Ascend(t, "", func(key string, row []byte) bool {
			switch {
			case t.Index():
				derived.Add(t, key, row)
			case t.Digested():
				rows.Add(t, key, row)
			default:
				return false
			}
			return true
		})
	}
	return rows, derived
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
	if m.Derived != (SumHash{}) { // a state without certificates has the digest it had before there were any
		h.Write(m.Derived[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
