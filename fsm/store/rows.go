package store

import (
	"fmt"
	"runtime"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/state"
)

// rows is a bbolt transaction as the state machine sees it. Errors of bbolt have
// no way through Apply, which never fails: they are raised as a writeError and
// caught where the transaction ends.
type rows struct {
	tx      *bolt.Tx
	buckets map[state.Table]*bolt.Bucket // made at the first use of each: most reads need one
	polite  bool                         // let others run every now and then: this walks over everything
}

// politeRows is how many rows a walk hashes and encodes, in about a quarter of a
// millisecond, before it offers its processor. Without it the writer, back from
// each write to the file, would queue behind whole time slices of the walk.
const politeRows = 64

type writeError struct{ err error }

func newRows(tx *bolt.Tx) *rows {
	return &rows{tx: tx, buckets: map[state.Table]*bolt.Bucket{}}
}

// newWalk is for reading all of a transaction beside the writer.
func newWalk(tx *bolt.Tx) *rows {
	r := newRows(tx)
	r.polite = true
	return r
}

func (r *rows) bucket(t state.Table) *bolt.Bucket {
	if b := r.buckets[t]; b != nil {
		return b
	}
	b := r.tx.Bucket([]byte(t))
	if b == nil {
		panic(writeError{fmt.Errorf("table %s: %w", t, ErrDamaged)}) // makeTables made them all
	}
	b.FillPercent = fill(t)
	r.buckets[t] = b
	return b
}

// fill is how full a page of the table is left when it is split. Where rows are only
// appended nothing is put into it later. Where they come anywhere, halves do best.
func fill(t state.Table) float64 {
	switch t {
	case state.TableLog, state.TableLogHashes, state.TableCertDERs:
		return 1
	case state.TableCertificates:
		return 0.95 // serials sort by time, and a row may grow a little when it is recorded
	case state.TableCertRequests, state.TableOperations:
		return 0.9 // their ids sort by time, that of their callers
	case state.TableCertExpiry:
		return 0.7 // some append, those with the usual lifetimes
	}
	return bolt.DefaultFillPercent
}

func (r *rows) Get(t state.Table, key string) []byte { return r.bucket(t).Get([]byte(key)) }

func (r *rows) Ascend(t state.Table, from string, fn func(key string, row []byte) bool) {
	c, n := r.bucket(t).Cursor(), 0
	for k, v := c.Seek([]byte(from)); k != nil; k, v = c.Next() {
		if !fn(string(k), v) {
			return
		}
		if n++; r.polite && n%politeRows == 0 {
			runtime.Gosched()
		}
	}
}

func (r *rows) Put(t state.Table, key string, row []byte) {
	if err := r.bucket(t).Put([]byte(key), row); err != nil {
		panic(writeError{fmt.Errorf("put row %s/%q: %w", t, key, err)})
	}
}

func (r *rows) Delete(t state.Table, key string) {
	if err := r.bucket(t).Delete([]byte(key)); err != nil {
		panic(writeError{fmt.Errorf("delete row %s/%q: %w", t, key, err)})
	}
}
