package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strconv"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/fsm/state"
)

// Mismatch is returned when rows do not add up to what the state says of itself:
// bytes were changed by something that is not Apply.
type Mismatch struct {
	Index    uint64 // of the last entry the state took in
	What     string // "state digest", "log root", "log size" or "stored log hashes"
	Computed string // from the rows
	Stored   string // in the meta row
}

func (m *Mismatch) Error() string {
	return fmt.Sprintf("the rows at entry %d give %s %s, but %s is stored with them", m.Index, m.What, m.Computed, m.Stored)
}

// Checker recomputes a state's digest and log root from its rows, which come in
// the order of state.Tables and, within a table, in key order.
type Checker struct {
	meta    state.Meta
	hasMeta bool
	rows    state.SetHash
	derived state.SumHash
	tree    tree
	hashes  hash.Hash // of the rows of TableLogHashes
	nHashes uint64
}

// NewChecker starts with no rows.
func NewChecker() *Checker {
	return &Checker{hashes: sha256.New(), tree: tree{stored: sha256.New()}}
}

// Row takes one row in. It keeps nothing of the bytes.
func (c *Checker) Row(t state.Table, key string, row []byte) error {
	switch {
	case t.Index():
		c.derived.Add(t, key, row)
		return nil
	case t.Digested():
		c.rows.Add(t, key, row)
		return nil
	}
	switch t {
	case state.TableMeta:
		if c.hasMeta {
			return fmt.Errorf("check row %s/%q: there is one meta row only", t, key)
		}
		m, err := state.ParseMeta(row)
		if err != nil {
			return fmt.Errorf("check row %s/%q: %w", t, key, err)
		}
		c.meta, c.hasMeta = m, true
	case state.TableLog:
		if err := inSequence(t, key, c.tree.size); err != nil {
			return err
		}
		c.tree.add(row)
	case state.TableLogHashes:
		if err := inSequence(t, key, c.nHashes); err != nil {
			return err
		}
		if len(row) != tlog.HashSize {
			return fmt.Errorf("check row %s/%d: a hash of %d bytes", t, c.nHashes, len(row))
		}
		c.hashes.Write(row)
		c.nHashes++
	}
	return nil
}

func inSequence(t state.Table, key string, next uint64) error {
	if len(key) != 8 || binary.BigEndian.Uint64([]byte(key)) != next {
		return fmt.Errorf("check row %s/%x: number %d is missing before it", t, key, next)
	}
	return nil
}

// Finish compares and returns the meta row. Without any row the state is the empty
// one. The error is a *Mismatch unless the rows are no state at all.
func (c *Checker) Finish() (state.Meta, error) {
	if !c.hasMeta {
		if c.rows != (state.SetHash{}) || c.derived != (state.SumHash{}) || c.tree.size != 0 || c.nHashes != 0 {
			return c.meta, fmt.Errorf("check the state: it has rows but no meta row")
		}
		return c.meta, nil
	}
	m := &c.meta
	num := func(n uint64) string { return strconv.FormatUint(n, 10) }
	mismatch := func(what, computed, stored string) (state.Meta, error) {
		return c.meta, &Mismatch{Index: m.Index, What: what, Computed: computed, Stored: stored}
	}
	if c.tree.size != m.LogSize {
		return mismatch("log size", num(c.tree.size), num(m.LogSize))
	}
	if root := c.tree.root(); m.LogSize > 0 && root != m.LogRoot {
		return mismatch("log root", hex.EncodeToString(root[:]), hex.EncodeToString(m.LogRoot[:]))
	}
	if mine, theirs := c.tree.stored.Sum(nil), c.hashes.Sum(nil); !bytes.Equal(mine, theirs) {
		return mismatch("stored log hashes", hex.EncodeToString(mine), hex.EncodeToString(theirs))
	}
	if c.rows != m.Rows || c.derived != m.Derived {
		computed := *m
		computed.Rows, computed.Derived = c.rows, c.derived
		mine, theirs := computed.Digest(), m.Digest()
		return mismatch("state digest", hex.EncodeToString(mine[:]), hex.EncodeToString(theirs[:]))
	}
	return c.meta, nil
}

// tree recomputes an RFC 6962 tree with the roots of its complete subtrees only.
type tree struct {
	size   uint64
	roots  []tlog.Hash // of complete subtrees, largest first
	stored hash.Hash   // over the hashes in the order tlog numbers them
}

func (t *tree) add(record []byte) {
	h := tlog.RecordHash(record)
	t.stored.Write(h[:])
	// Each trailing one bit of the size is a subtree that this leaf completes.
	for n := t.size; n&1 == 1; n >>= 1 {
		last := len(t.roots) - 1
		h = tlog.NodeHash(t.roots[last], h)
		t.roots = t.roots[:last]
		t.stored.Write(h[:])
	}
	t.roots = append(t.roots, h)
	t.size++
}

func (t *tree) root() (h tlog.Hash) {
	for i := len(t.roots) - 1; i >= 0; i-- {
		if i == len(t.roots)-1 {
			h = t.roots[i]
		} else {
			h = tlog.NodeHash(t.roots[i], h)
		}
	}
	return h
}
