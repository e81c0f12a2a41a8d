package store

import (
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/state"
)

// rows is a bbolt transaction as the state machine sees it. Errors of bbolt have
// no way through Apply, which never fails: they are raised as a writeError and
// caught where the transaction ends.
type rows struct {
	tx      *bolt.Tx
	buckets map[state.Table]*bolt.Bucket
}

type writeError struct{ err error }

func newRows(tx *bolt.Tx) *rows {
	return &rows{tx: tx, buckets: make(map[state.Table]*bolt.Bucket, len(state.Tables))}
}

func (r *rows) bucket(t state.Table) *bolt.Bucket {
	if b := r.buckets[t]; b != nil {
		return b
	}
	b := r.tx.Bucket([]byte(t))
	if b == nil {
		panic(writeError{fmt.Errorf("table %s: %w", t, ErrDamaged)}) // makeTables made them all
	}
	switch t {
	case state.TableLog, state.TableLogHashes:
		b.FillPercent = 1 // rows are only appended: a split page is never filled up later
	}
	r.buckets[t] = b
	return b
}

func (r *rows) Get(t state.Table, key string) []byte { return r.bucket(t).Get([]byte(key)) }

func (r *rows) Ascend(t state.Table, from string, fn func(key string, row []byte) bool) {
	c := r.bucket(t).Cursor()
	for k, v := c.Seek([]byte(from)); k != nil; k, v = c.Next() {
		if !fn(string(k), v) {
			return
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
