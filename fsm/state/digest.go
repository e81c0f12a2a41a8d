package state

import (
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
)

// SetHash is LtHash (Bellare and Micciancio's lattice-based homomorphic hash):
// 1024 lanes of 16 bits, each row expanded to all of them and added lane by lane.
// The sum depends on the set of rows and not on the order they came in, so one
// changed row costs two expansions whatever the size of the state.
type SetHash [2048]byte

const rowDomain = "chancery-row/1\x00"

func expand(t Table, key string, row []byte) (e SetHash) {
	h := sha3.NewSHAKE128()
	var n [12]byte
	binary.BigEndian.PutUint32(n[0:], uint32(len(t)))
	binary.BigEndian.PutUint32(n[4:], uint32(len(key)))
	binary.BigEndian.PutUint32(n[8:], uint32(len(row)))
	h.Write([]byte(rowDomain))
	h.Write(n[:])
	h.Write([]byte(t))
	h.Write([]byte(key))
	h.Write(row)
	h.Read(e[:])
	return e
}

// Add puts a row into the set.
func (s *SetHash) Add(t Table, key string, row []byte) {
	e := expand(t, key, row)
	for i := 0; i < len(s); i += 2 {
		binary.LittleEndian.PutUint16(s[i:], binary.LittleEndian.Uint16(s[i:])+binary.LittleEndian.Uint16(e[i:]))
	}
}

// Remove takes a row out of the set.
func (s *SetHash) Remove(t Table, key string, row []byte) {
	e := expand(t, key, row)
	for i := 0; i < len(s); i += 2 {
		binary.LittleEndian.PutUint16(s[i:], binary.LittleEndian.Uint16(s[i:])-binary.LittleEndian.Uint16(e[i:]))
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
