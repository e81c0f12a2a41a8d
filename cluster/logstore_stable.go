package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// The stable store holds the current term and the last vote. A flipped bit there
// can make a node vote twice in one term, so each value is followed by a checksum
// over key and value. raft expects an error that reads exactly "not found" for a
// key that is absent, which raft-boltdb gives.

const stableSumBytes = 8

// ErrStableDigest is returned when a value of the stable store was altered.
var ErrStableDigest = errors.New("raft's stored vote or term does not match its checksum")

func stableSum(key, value []byte) []byte {
	h := sha256.New()
	h.Write([]byte("chancery raft stable 1\x00"))
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(key))))
	h.Write(key)
	h.Write(value)
	return h.Sum(nil)[:stableSumBytes]
}

// Set stores a value durably.
func (s *LogStore) Set(key, value []byte) error {
	stored := append(append(make([]byte, 0, len(value)+stableSumBytes), value...), stableSum(key, value)...)
	return s.bolt.set(key, stored)
}

// Get reads a value; its error reads "not found" when there is none.
func (s *LogStore) Get(key []byte) ([]byte, error) {
	stored, err := s.bolt.get(key)
	if err != nil {
		return nil, err
	}
	n := len(stored) - stableSumBytes
	if n < 0 || string(stored[n:]) != string(stableSum(key, stored[:n])) {
		return nil, s.damaged(string(key), ErrStableDigest)
	}
	return stored[:n], nil
}

// SetUint64 stores a number durably.
func (s *LogStore) SetUint64(key []byte, value uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 reads a number; its error reads "not found" when there is none.
func (s *LogStore) GetUint64(key []byte) (uint64, error) {
	value, err := s.Get(key)
	if err != nil {
		return 0, err
	}
	if len(value) != 8 {
		return 0, s.damaged(string(key), fmt.Errorf("%w: %d bytes where 8 belong", ErrStableDigest, len(value)))
	}
	return binary.BigEndian.Uint64(value), nil
}
