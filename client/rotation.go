package client

import (
	"context"

	"github.com/chancery-project/chancery/transport/wire"
)

// Rotations lists what is under way, paused or on its way out; with wire.QueryState
// wire.RotationsWaiting, RotationsPaused or RotationsAll.
func (c *Client) Rotations(ctx context.Context, opts ...Option) (wire.List[wire.KeyRotation], error) {
	return list[wire.KeyRotation](ctx, c, wire.PathRotations, opts)
}

// Rotation is how far the versions of a key have come, and what they wait for.
func (c *Client) Rotation(ctx context.Context, key string, opts ...Option) (*wire.KeyRotation, error) {
	return one[wire.KeyRotation](ctx, c, wire.Path(wire.PathRotation, key), opts)
}

// PauseRotation holds the plan of a key until ResumeRotation.
func (c *Client) PauseRotation(ctx context.Context, key string, p wire.PauseRotation, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathPauseRotation, key, p, opts)
}

// ResumeRotation lets the plan of a key go on.
func (c *Client) ResumeRotation(ctx context.Context, key string, r wire.ResumeRotation, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathResumeRotation, key, r, opts)
}

// SkipGate opens a gate before its time; a rule can ask approvals for it.
func (c *Client) SkipGate(ctx context.Context, key string, s wire.SkipGate, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathSkipGate, key, s, opts)
}

// RollBack gives a version up that waits to be activated.
func (c *Client) RollBack(ctx context.Context, key string, r wire.RollBack, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRollBack, key, r, opts)
}
