package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Every Raft entry carries, in its Extensions, a version byte and a SHA-256 over all
// its other fields. raft-boltdb notices a flipped bit in none of them.
//
// FROZEN: entries with version 1 are in logs and snapshots' tails; another rule is
// another version.
const (
	digestVersion = 1
	digestDomain  = "chancery raft entry 1\x00"
)

// Sentinels of a damaged entry, wrapped with its index and both digests.
var (
	// ErrEntryDigest is returned when an entry does not match its digest.
	ErrEntryDigest = errors.New("raft entry does not match its digest")
	// ErrNoDigest is returned when an entry carries no digest of a known version.
	ErrNoDigest = errors.New("raft entry carries no digest")
)

// entryDigest covers index, term, type, the leader's append time and data. The time
// decides nothing; it is covered so that no stored bit can change unnoticed. Only
// its instant counts: zone and monotonic part do not survive the codec.
func entryDigest(l *raft.Log) [sha256.Size]byte {
	head := make([]byte, 0, len(digestDomain)+8+8+1+8+4)
	head = append(head, digestDomain...)
	head = binary.BigEndian.AppendUint64(head, l.Index)
	head = binary.BigEndian.AppendUint64(head, l.Term)
	head = append(head, byte(l.Type))
	head = binary.BigEndian.AppendUint64(head, uint64(l.AppendedAt.Unix()))
	head = binary.BigEndian.AppendUint32(head, uint32(l.AppendedAt.Nanosecond()))
	h := sha256.New()
	h.Write(head)
	h.Write(l.Data)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum
}

// seal sets the digest of an entry that this node has just made.
func seal(l *raft.Log) {
	sum := entryDigest(l)
	l.Extensions = append([]byte{digestVersion}, sum[:]...)
}

// checkEntry verifies an entry's digest.
func checkEntry(l *raft.Log) error {
	if len(l.Extensions) != 1+sha256.Size || l.Extensions[0] != digestVersion {
		return fmt.Errorf("index %d, type %d: %w", l.Index, l.Type, ErrNoDigest)
	}
	if sum := entryDigest(l); !bytes.Equal(sum[:], l.Extensions[1:]) {
		return fmt.Errorf("index %d, type %d: %w: carried %s, computed %s",
			l.Index, l.Type, ErrEntryDigest, hex.EncodeToString(l.Extensions[1:]), hex.EncodeToString(sum[:]))
	}
	return nil
}
