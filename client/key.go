package client

import (
	"context"
	"net/http"

	"github.com/chancery-project/chancery/transport/wire"
)

func (c *Client) get(ctx context.Context, path string, out any, opts []Option) error {
	cl := newCall(http.MethodGet, path, opts)
	cl.read = !cl.stale
	_, err := c.do(ctx, cl, out)
	return err
}

func list[T any](ctx context.Context, c *Client, path string, opts []Option) (wire.List[T], error) {
	var l wire.List[T]
	err := c.get(ctx, path, &l, opts)
	return l, err
}

// one returns nil with an error, so that nobody takes an empty answer for a real one.
func one[T any](ctx context.Context, c *Client, path string, opts []Option) (*T, error) {
	v := new(T)
	if err := c.get(ctx, path, v, opts); err != nil {
		return nil, err
	}
	return v, nil
}

// mutate sends a change. With Plan nothing can have happened, whatever is lost.
func (c *Client) mutate(ctx context.Context, method, path string, in, out any, opts []Option) error {
	cl := newCall(method, path, opts)
	cl.body, cl.mutation = in, cl.query.Get(wire.QueryPlan) == ""
	_, err := c.do(ctx, cl, out)
	return err
}

func (c *Client) operate(ctx context.Context, pattern, name string, in any, opts []Option) (*wire.Operation, error) {
	op := new(wire.Operation)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(pattern, name), in, op, opts); err != nil {
		return nil, err
	}
	return op, nil
}

// CreateKey makes a key; with Wait it answers when the first version is that far.
func (c *Client) CreateKey(ctx context.Context, k wire.CreateKey, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathKeys, "", k, opts)
}

// Keys lists keys in name order. Filters: wire.QuerySelector, QueryPurpose,
// QueryState, QueryOwner.
func (c *Client) Keys(ctx context.Context, opts ...Option) (wire.List[wire.KeySummary], error) {
	return list[wire.KeySummary](ctx, c, wire.PathKeys, opts)
}

// Key is one key with its versions and instances.
func (c *Client) Key(ctx context.Context, name string, opts ...Option) (*wire.Key, error) {
	return one[wire.Key](ctx, c, wire.Path(wire.PathKey, name), opts)
}

// Versions lists the versions of a key, newest first.
func (c *Client) Versions(ctx context.Context, name string, opts ...Option) (wire.List[wire.Version], error) {
	return list[wire.Version](ctx, c, wire.Path(wire.PathVersions, name), opts)
}

// History lists what happened to a key, oldest first.
func (c *Client) History(ctx context.Context, name string, opts ...Option) (wire.List[wire.Event], error) {
	return list[wire.Event](ctx, c, wire.Path(wire.PathHistory, name), opts)
}

// Policy of a key; its Version goes into IfMatch.
func (c *Client) Policy(ctx context.Context, name string, opts ...Option) (*wire.Policy, error) {
	return one[wire.Policy](ctx, c, wire.Path(wire.PathPolicy, name), opts)
}

// SetPolicy replaces a policy and needs IfMatch.
func (c *Client) SetPolicy(ctx context.Context, name string, p wire.SetPolicy, opts ...Option) (*wire.Operation, error) {
	op := new(wire.Operation)
	if err := c.mutate(ctx, http.MethodPut, wire.Path(wire.PathPolicy, name), p, op, opts); err != nil {
		return nil, err
	}
	return op, nil
}

// Rotate makes the next version.
func (c *Client) Rotate(ctx context.Context, name string, r wire.Rotate, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRotate, name, r, opts)
}

// Activate makes a published version the one that signs.
func (c *Client) Activate(ctx context.Context, name string, v wire.VersionVerb, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathActivate, name, v, opts)
}

// Suspend stops a version from signing until Resume.
func (c *Client) Suspend(ctx context.Context, name string, v wire.VersionVerb, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathSuspend, name, v, opts)
}

// Resume ends a suspension.
func (c *Client) Resume(ctx context.Context, name string, v wire.VersionVerb, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathResume, name, v, opts)
}

// Deactivate ends the signing life of a version; what it signed still verifies.
func (c *Client) Deactivate(ctx context.Context, name string, v wire.VersionVerb, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathDeactivate, name, v, opts)
}

// Revoke withdraws trust from a key, versions of it or one instance.
func (c *Client) Revoke(ctx context.Context, name string, r wire.Revoke, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRevoke, name, r, opts)
}

// Replace ends versions of a key and makes the next one in their place, at once.
func (c *Client) Replace(ctx context.Context, name string, r wire.Replace, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathReplace, name, r, opts)
}

// Destroy asks for the erasure of a version's private keys, or takes that back.
func (c *Client) Destroy(ctx context.Context, name string, d wire.Destroy, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathDestroy, name, d, opts)
}

// Export is a key's public side: its trust set as a JWK Set (RFC 7517), or what
// wire.QueryFormat (pem, der, jwks, ssh), QueryVersion, QueryKID and QueryNode choose.
func (c *Client) Export(ctx context.Context, name string, opts ...Option) ([]byte, error) {
	var b []byte
	err := c.get(ctx, wire.Path(wire.PathExport, name), &b, opts)
	return b, err
}
