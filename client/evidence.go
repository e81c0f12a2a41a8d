package client

import (
	"context"

	"github.com/chancery-project/chancery/transport/wire"
)

// ConfirmPurpose says again why a key exists.
func (c *Client) ConfirmPurpose(ctx context.Context, name string, r wire.ConfirmPurpose, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathConfirmPurpose, name, r, opts)
}

// Signatures asks every node what a key has signed. Filters: wire.QueryVersion, QueryKID,
// QuerySince, QueryUntil. Look at Complete, and at Nodes for what is not known.
func (c *Client) Signatures(ctx context.Context, name string, opts ...Option) (*wire.SignatureReport, error) {
	return one[wire.SignatureReport](ctx, c, wire.Path(wire.PathSignatureReport, name), opts)
}

// RotationReport lists the keys that somebody should look at.
func (c *Client) RotationReport(ctx context.Context, opts ...Option) (*wire.RotationReport, error) {
	return one[wire.RotationReport](ctx, c, wire.PathRotationReport, opts)
}

// Dependents of a key: who verifies, who signs, what it has certified.
func (c *Client) Dependents(ctx context.Context, name string, opts ...Option) (wire.List[wire.DependentOf], error) {
	return list[wire.DependentOf](ctx, c, wire.Path(wire.PathDependents, name), opts)
}
