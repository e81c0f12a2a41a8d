package state

import (
	"bytes"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// hashReader reads stored hashes of the RFC 6962 tree out of a transaction.
type hashReader struct{ r Reader }

func (h hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		b := h.r.Get(TableLogHashes, number(uint64(x)))
		if len(b) != tlog.HashSize {
			return nil, fmt.Errorf("stored hash %d of the lifecycle log has %d bytes", x, len(b))
		}
		copy(out[i][:], b)
	}
	return out, nil
}

// edge is the right edge of the tree: the roots of the complete subtrees that its leaves
// fall into, the largest first, one for each bit that is set in their number. It is all
// that appending a leaf and computing the root need of what is stored, so neither reads
// anything.
type edge []tlog.Hash

// loadEdge reads the edge of the tree with size leaves.
func loadEdge(r Reader, size uint64) (edge, error) {
	var at []int64
	begin := uint64(0)
	for level := 63; level >= 0; level-- {
		if n := uint64(1) << level; size&n != 0 {
			at = append(at, tlog.StoredHashIndex(level, int64(begin>>level)))
			begin += n
		}
	}
	e, err := hashReader{r}.ReadHashes(at)
	if err != nil {
		return nil, fmt.Errorf("read the edge of the lifecycle log at %d: %w", size, err)
	}
	return e, nil
}

// append adds a record as leaf number size and stores it with each hash that it completes.
func (e *edge) append(b Backend, size uint64, record []byte) {
	at := uint64(tlog.StoredHashIndex(0, int64(size)))
	h := tlog.RecordHash(record)
	b.Put(TableLogHashes, number(at), bytes.Clone(h[:])) // it belongs to the transaction
	// Each trailing 1 of size is a complete subtree as large as the one just made.
	for ; size&1 != 0; size >>= 1 {
		last := len(*e) - 1
		h = tlog.NodeHash((*e)[last], h)
		*e = (*e)[:last]
		at++
		b.Put(TableLogHashes, number(at), bytes.Clone(h[:]))
	}
	*e = append(*e, h)
}

// root is the RFC 6962 root over all leaves; there must be one.
func (e edge) root() [32]byte {
	h := e[len(e)-1]
	for i := len(e) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e[i], h)
	}
	return h
}
