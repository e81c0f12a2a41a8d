package api

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// proveLog proves that a leaf stands in the log, or that the log has only grown since it
// had a size, or both at once and of one position.
func (c *call) proveLog() (any, error) {
	if err := c.may(access.LogRead, ""); err != nil {
		return nil, err
	}
	out := wire.LogProof{Position: transport.Position(c.snap.Position())}
	size := out.Position.LogSize
	if c.query.Has(wire.QueryLeaf) {
		n, err := c.number(wire.QueryLeaf, 0)
		if err != nil {
			return nil, err
		}
		if n >= size {
			return nil, wire.Errorf(wire.NotFound, "the log has no leaf %d: it has %d leaves, numbered from 0", n, size)
		}
		proof, err := tlog.ProveRecord(int64(size), int64(n), c.snap.Hashes())
		if err != nil {
			return nil, fmt.Errorf("prove leaf %d: %w", n, err)
		}
		out.Leaf, out.Inclusion = &n, hashesOf(proof)
	}
	if c.query.Has(wire.QueryOldSize) {
		n, err := c.number(wire.QueryOldSize, 0)
		if err != nil {
			return nil, err
		}
		if n == 0 || n > size {
			return nil, wire.Errorf(wire.Invalid, "%s is from 1 to %d, the size of the log here, not %d", wire.QueryOldSize, size, n)
		}
		proof, err := tlog.ProveTree(int64(size), int64(n), c.snap.Hashes())
		if err != nil {
			return nil, fmt.Errorf("prove the log of size %d: %w", n, err)
		}
		out.OldSize, out.Consistency = &n, hashesOf(proof)
	}
	if out.Leaf == nil && out.OldSize == nil {
		return nil, wire.Errorf(wire.Invalid, "say what to prove: %s, the number of a leaf, or %s, the size of an earlier log", wire.QueryLeaf, wire.QueryOldSize)
	}
	return out, nil
}

func hashesOf(proof []tlog.Hash) [][]byte {
	out := make([][]byte, len(proof))
	for i := range proof {
		out[i] = proof[i][:]
	}
	return out
}
