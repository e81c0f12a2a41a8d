package store

import (
	"errors"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/chancery-project/chancery/fsm/snapshot"
	"github.com/chancery-project/chancery/fsm/state"
)

// loadBytes of rows go into one transaction, to bound its memory.
const loadBytes = 4 << 20

// part is what one transaction puts into an empty file: rows in their order, with their
// bytes in one piece, which bbolt refers to until the commit.
type part struct {
	rows  []placed
	bytes []byte
}

type placed struct {
	table            state.Table
	start, end, stop int // the key is bytes[start:end], the row bytes[end:stop]
}

// errUnwritten stops the reader when the writer has failed; load returns that error.
var errUnwritten = errors.New("rows could not be written")

// load writes the rows of a snapshot into an empty file. One goroutine reads and hashes a
// part while another one inserts the part before.
func load(db *bolt.DB, rd *snapshot.Reader) error {
	parts, gone := make(chan *part), make(chan struct{})
	var failed error // the writer's, until gone is closed
	go func() {
		defer close(gone)
		failed = insert(db, parts)
	}()
	p := newPart()
	hand := func() error {
		select {
		case parts <- p:
			p = newPart()
			return nil
		case <-gone:
			return errUnwritten
		}
	}
	err := rd.Rows(func(t state.Table, key string, row []byte) error {
		if len(p.rows) > 0 && len(p.bytes)+len(key)+len(row) > loadBytes {
			if err := hand(); err != nil {
				return err
			}
		}
		p.add(t, key, row)
		return nil
	})
	if err == nil {
		err = hand()
	}
	close(parts)
	<-gone
	if failed != nil {
		return failed
	}
	return err
}

// newPart has room for what a part usually holds; one row alone may be larger.
func newPart() *part { return &part{bytes: make([]byte, 0, loadBytes)} }

func (p *part) add(t state.Table, key string, row []byte) {
	start := len(p.bytes)
	p.bytes = append(append(p.bytes, key...), row...)
	p.rows = append(p.rows, placed{t, start, start + len(key), len(p.bytes)})
}

// insert takes parts until there are no more, or one fails.
func insert(db *bolt.DB, parts <-chan *part) error {
	for p := range parts {
		if err := db.Update(p.put); err != nil {
			return fmt.Errorf("%w: %w", ErrStorage, err)
		}
	}
	return nil
}

func (p *part) put(tx *bolt.Tx) error {
	table, b := state.Table(""), (*bolt.Bucket)(nil)
	for _, r := range p.rows {
		if r.table != table { // they come one after the other
			b, table = tx.Bucket([]byte(r.table)), r.table
			b.FillPercent = max(0.9, fill(r.table)) // rows come in order
		}
		if err := b.Put(p.bytes[r.start:r.end], p.bytes[r.end:r.stop:r.stop]); err != nil {
			return err //nolint:wrapcheck // insert does; the reader has checked the sizes, so this is no forger's
		}
	}
	return nil
}
