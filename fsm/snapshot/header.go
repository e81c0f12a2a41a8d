package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Version of the container that this binary writes, and the only one it reads.
const Version = 1

const magic = "CHCYSNAP"

// Limits of a container, each with its reason.
const (
	maxHeaderBytes = 1 << 10 // the header has a fixed set of short fields
	maxKeyBytes    = 4 << 10 // the longest key is a request id with its actor, 1.1 KiB
	maxRowBytes    = 4 << 20 // a row holds what one entry of 1 MiB wrote, and some of its own
)

// Marks before each part of the body.
const (
	markTable = 'T'
	markRow   = 'R'
	markEnd   = 'E' // of a table
	markClose = 'Z'
)

// Sentinels.
var (
	// ErrDamaged is returned for bytes that are no whole snapshot of ours.
	ErrDamaged = errors.New("the snapshot is damaged")
	// ErrNewer is returned when a newer version of Chancery wrote the snapshot.
	ErrNewer = errors.New("the snapshot was written by a newer version: upgrade this binary")
)

// Header says which state the snapshot holds.
type Header struct {
	ClusterID string            `cbor:"1,keyasint"` // "" before genesis
	Epoch     uint64            `cbor:"2,keyasint"`
	Format    uint64            `cbor:"3,keyasint"`
	Index     uint64            `cbor:"4,keyasint"` // last entry the state took in
	LogSize   uint64            `cbor:"5,keyasint"`
	LogRoot   [32]byte          `cbor:"6,keyasint"`
	Digest    [32]byte          `cbor:"7,keyasint"` // state digest
	Clock     lifecycle.Instant `cbor:"8,keyasint"`
}

// Position of the state in the snapshot.
func (h *Header) Position() state.Position {
	return state.Position{Epoch: h.Epoch, Index: h.Index, LogSize: h.LogSize, LogRoot: h.LogRoot}
}

// describe reads the header's facts out of a state.
func describe(r state.Reader) (h Header, err error) {
	var m state.Meta
	r.Ascend(state.TableMeta, "", func(_ string, row []byte) bool {
		m, err = state.ParseMeta(row)
		return false
	})
	if err != nil {
		return h, fmt.Errorf("read the meta row: %w", err)
	}
	h = headerOf(&m)
	var c lifecycle.Cluster
	r.Ascend(state.TableCluster, "", func(_ string, row []byte) bool {
		err = command.Unmarshal(row, &c)
		return false
	})
	if err != nil {
		return h, fmt.Errorf("read the cluster row: %w", err)
	}
	h.ClusterID, h.Format = c.ID, c.Format
	return h, nil
}

func headerOf(m *state.Meta) Header {
	h := Header{Epoch: m.Epoch, Index: m.Index, LogSize: m.LogSize, LogRoot: m.LogRoot, Clock: m.Clock}
	h.Digest = m.Digest()
	return h
}

// encode writes the header with all that comes before and its SHA-256.
func (h *Header) encode() []byte {
	body := command.Marshal(h)
	b := make([]byte, 14, 14+len(body)+sha256.Size)
	copy(b, magic)
	binary.BigEndian.PutUint16(b[8:], Version)
	binary.BigEndian.PutUint32(b[10:], uint32(len(body)))
	b = append(b, body...)
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}
