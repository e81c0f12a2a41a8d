package client

import (
	"context"
	"net/http"

	"github.com/chancery-project/chancery/transport/wire"
)

// sign sends a request whose answer is worth nothing after the deadline. It is
// repeated on other nodes: a signature made twice harms nobody.
func (c *Client) sign(ctx context.Context, pattern, key string, in, out any, opts []Option) error {
	cl := newCall(http.MethodPost, wire.Path(pattern, key), opts)
	cl.body, cl.deadline = in, c.cfg.SignDeadline
	_, err := c.do(ctx, cl, out)
	return err
}

// Sign makes one signature over r.Message or r.Digest.
func (c *Client) Sign(ctx context.Context, key string, r wire.SignRequest, opts ...Option) (*wire.Signature, error) {
	s := new(wire.Signature)
	if err := c.sign(ctx, wire.PathSign, key, r, s, opts); err != nil {
		return nil, err
	}
	return s, nil
}

// SignBatch signs r.Items; each has its own result, in order.
func (c *Client) SignBatch(ctx context.Context, key string, r wire.SignRequest, opts ...Option) (*wire.Signatures, error) {
	s := new(wire.Signatures)
	if err := c.sign(ctx, wire.PathSign, key, r, s, opts); err != nil {
		return nil, err
	}
	return s, nil
}

// SignJWT makes a token.
func (c *Client) SignJWT(ctx context.Context, key string, r wire.JWTRequest, opts ...Option) (*wire.JWT, error) {
	t := new(wire.JWT)
	if err := c.sign(ctx, wire.PathJWT, key, r, t, opts); err != nil {
		return nil, err
	}
	return t, nil
}

// Verify asks the cluster about a signature or token. KeySet answers without it.
func (c *Client) Verify(ctx context.Context, key string, r wire.VerifyRequest, opts ...Option) (*wire.Verification, error) {
	cl := newCall(http.MethodPost, wire.Path(wire.PathVerify, key), opts)
	cl.body, cl.read = r, !cl.stale
	v := new(wire.Verification)
	if _, err := c.do(ctx, cl, v); err != nil {
		return nil, err
	}
	return v, nil
}
