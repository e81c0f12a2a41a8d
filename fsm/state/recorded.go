package state

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// recordedBytes of a row: the entry, and the place of the leaf in it.
const recordedBytes = 8 + 2

// ErrRecordMissing is returned when the log has not the leaf that its index names.
var ErrRecordMissing = errors.New("the log has not the record that its index names")

// noteRecorded says where the signatures stand: in the leaf that comes next. One that
// came before, as deterministic ones may, keeps its first place: since then it exists.
// Fifty bytes a signature, less than a tenth of what its leaf and hashes take.
func (x *tx) noteRecorded(items []command.SignatureItem) {
	row := make([]byte, recordedBytes)
	binary.BigEndian.PutUint64(row, x.index)
	binary.BigEndian.PutUint16(row[8:], uint16(len(x.leaves)))
	for _, it := range items {
		if key := string(it.Sig); x.coldGet(TableRecorded, key) == nil {
			x.coldAdd(TableRecorded, key, row)
		}
	}
}

// Recorded finds the leaf in which a strict signature stands, by the SHA-256 of the
// signature; nil when this state knows of none. One that is recorded in a newer state
// is not found: whoever concludes something from that asks a linearizable View.
func (v *View) Recorded(sum [sha256.Size]byte) (*Leaf, error) {
	var index uint64
	var sub int
	err := v.cold(func(r Reader) error {
		if b := r.Get(TableRecorded, string(sum[:])); len(b) == recordedBytes {
			index, sub = binary.BigEndian.Uint64(b), int(binary.BigEndian.Uint16(b[8:]))
		}
		return nil
	})
	if err != nil || index == 0 || index > v.Position().Index {
		return nil, err
	}
	first, err := v.LeafAfter(index - 1)
	if err != nil {
		return nil, fmt.Errorf("find entry %d in the log: %w", index, err)
	}
	var found *Leaf
	err = v.Leaves(first+uint64(sub), func(_ uint64, l *Leaf, _ []byte) bool {
		found = l
		return false
	})
	if err == nil && (found == nil || found.Index != index || found.Sub != sub || found.Kind != leafRecorded) {
		err = fmt.Errorf("entry %d, leaf %d: %w", index, sub, ErrRecordMissing)
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// AllRecorded reports whether every signature of the version that was released must
// stand in the log: the key has been strict since before the version was made. A node
// that knows of the version then knows of the policy.
func AllRecorded(k *lifecycle.Key, v *lifecycle.Version) bool {
	return k.StrictAt != 0 && k.StrictAt <= v.Created.At
}
