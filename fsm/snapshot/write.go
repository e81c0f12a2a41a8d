package snapshot

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"io"

	"github.com/chancery-project/chancery/fsm/state"
)

// Write streams the state that r shows. It recomputes digest and log root on the
// way and fails with a *Mismatch, before the trailer, when they are not the stored
// ones: an altered state is not passed on.
func Write(w io.Writer, r state.Reader) (Header, error) {
	h, err := describe(r)
	if err != nil {
		return h, fmt.Errorf("write snapshot: %w", err)
	}
	out := newWriter(w)
	out.bytes(h.encode())
	for _, t := range state.Tables {
		out.table(r, t)
	}
	out.bytes([]byte{markClose})
	if out.err != nil {
		return h, fmt.Errorf("write snapshot: %w", out.err)
	}
	if _, err := out.check.Finish(); err != nil {
		return h, fmt.Errorf("write snapshot: %w", err)
	}
	out.bytes(out.sum.Sum(nil))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return h, fmt.Errorf("write snapshot: %w", out.err)
	}
	return h, nil
}

// writer keeps the first error and does nothing after it.
type writer struct {
	w     *bufio.Writer
	sum   hash.Hash
	check *Checker
	err   error
}

func newWriter(w io.Writer) *writer {
	return &writer{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New(), check: NewChecker()}
}

func (w *writer) bytes(b []byte) {
	if w.err != nil {
		return
	}
	w.sum.Write(b)
	_, w.err = w.w.Write(b)
}

func (w *writer) table(r state.Reader, t state.Table) {
	var rows uint64
	r.Ascend(t, "", func(key string, row []byte) bool {
		if rows == 0 {
			w.bytes(append([]byte{markTable, byte(len(t))}, t...))
		}
		w.row(t, key, row)
		rows++
		return w.err == nil
	})
	if rows > 0 {
		w.bytes(binary.BigEndian.AppendUint64([]byte{markEnd}, rows))
	}
}

func (w *writer) row(t state.Table, key string, row []byte) {
	if key == "" || len(key) > maxKeyBytes || len(row) > maxRowBytes {
		w.err = fmt.Errorf("row %s/%q of %d bytes with a key of %d is past the limits of a snapshot", t, key, len(row), len(key))
		return
	}
	if err := w.check.Row(t, key, row); err != nil {
		w.err = err
		return
	}
	var head [9]byte
	head[0] = markRow
	binary.BigEndian.PutUint32(head[1:], uint32(len(key)))
	binary.BigEndian.PutUint32(head[5:], uint32(len(row)))
	w.bytes(head[:])
	w.bytes([]byte(key))
	w.bytes(row)
}
