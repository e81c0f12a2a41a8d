package client

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/chancery-project/chancery/transport/wire"
)

// ErrLogProof is returned when a proof does not show what it should: the log is not
// what somebody was shown before, or its node lies.
var ErrLogProof = errors.New("the log does not prove it")

// ProveLeaf asks for a proof that the log has a leaf, and checks it: the leaf is the exact
// text. It returns the size and root of the log it is proven for.
func (c *Client) ProveLeaf(ctx context.Context, number uint64, leaf string, opts ...Option) (wire.Position, error) {
	p, err := c.logProof(ctx, wire.QueryLeaf, number, opts)
	if err != nil {
		return wire.Position{}, err
	}
	return p.Position, CheckLeaf(p, number, leaf)
}

// ProveExtends asks for a proof that the log begins with the one that had a size and a
// root, and checks it: nothing in that one was changed or taken away since. It
// returns what to keep for the next time.
func (c *Client) ProveExtends(ctx context.Context, size uint64, root []byte, opts ...Option) (wire.Position, error) {
	p, err := c.logProof(ctx, wire.QueryOldSize, size, opts)
	if err != nil {
		return wire.Position{}, err
	}
	return p.Position, CheckExtends(p, size, root)
}

func (c *Client) logProof(ctx context.Context, what string, n uint64, opts []Option) (*wire.LogProof, error) {
	return one[wire.LogProof](ctx, c, wire.PathLogProof, append(opts, Query(what, fmt.Sprint(n))))
}

// CheckLeaf checks a proof of one leaf against the root of its position.
func CheckLeaf(p *wire.LogProof, number uint64, leaf string) error {
	proof, size, root, err := partsOf(p, p.Inclusion)
	if err != nil {
		return err
	}
	if number >= uint64(size) {
		return fmt.Errorf("%w: leaf %d is not in a log of %d", ErrLogProof, number, size)
	}
	if err := tlog.CheckRecord(proof, size, root, int64(number), tlog.RecordHash([]byte(leaf))); err != nil {
		return fmt.Errorf("%w: leaf %d is another one, or not there: %w", ErrLogProof, number, err)
	}
	return nil
}

// CheckExtends checks a proof that the log of the position begins with the one that had
// this size and root.
func CheckExtends(p *wire.LogProof, size uint64, root []byte) error {
	proof, now, newRoot, err := partsOf(p, p.Consistency)
	if err != nil {
		return err
	}
	if size == 0 || size > uint64(now) || len(root) != sha256.Size {
		return fmt.Errorf("%w: a log of %d leaves cannot extend one of %d with a root of %d bytes", ErrLogProof, now, size, len(root))
	}
	if err := tlog.CheckTree(proof, now, newRoot, int64(size), tlog.Hash(root)); err != nil {
		return fmt.Errorf("%w: the first %d leaves are not what they were: %w", ErrLogProof, size, err)
	}
	return nil
}

// partsOf takes a proof apart, as the library that checks it wants it.
func partsOf(p *wire.LogProof, hashes [][]byte) (proof []tlog.Hash, size int64, root tlog.Hash, err error) {
	at := p.Position
	if at.LogSize > 1<<62 || len(at.LogRoot) != sha256.Size {
		return nil, 0, root, fmt.Errorf("%w: its position has no root", ErrLogProof)
	}
	for _, h := range hashes {
		if len(h) != sha256.Size {
			return nil, 0, root, fmt.Errorf("%w: a hash of %d bytes", ErrLogProof, len(h))
		}
		proof = append(proof, tlog.Hash(h))
	}
	return proof, int64(at.LogSize), tlog.Hash(at.LogRoot), nil
}
