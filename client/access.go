package client

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

// Principals lists whoever may call.
func (c *Client) Principals(ctx context.Context, opts ...Option) (wire.List[wire.Principal], error) {
	return list[wire.Principal](ctx, c, wire.PathPrincipals, opts)
}

// Principal by name.
func (c *Client) Principal(ctx context.Context, name string, opts ...Option) (*wire.Principal, error) {
	return one[wire.Principal](ctx, c, wire.Path(wire.PathPrincipal, name), opts)
}

// AddPrincipal adds a principal, or with Replace changes one.
func (c *Client) AddPrincipal(ctx context.Context, p wire.AddPrincipal, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathPrincipals, "", p, opts)
}

// RevokePrincipal ends a principal and its tokens, for ever.
func (c *Client) RevokePrincipal(ctx context.Context, name string, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRevokePrincipal, name, struct{}{}, opts)
}

// Tokens lists tokens, without their secrets. Filter: wire.QueryActor.
func (c *Client) Tokens(ctx context.Context, opts ...Option) (wire.List[wire.Token], error) {
	return list[wire.Token](ctx, c, wire.PathTokens, opts)
}

// CreateToken makes a bearer token. Its secret is in the answer and nowhere else.
func (c *Client) CreateToken(ctx context.Context, t wire.CreateToken, opts ...Option) (*wire.CreatedToken, error) {
	out := new(wire.CreatedToken)
	if err := c.mutate(ctx, http.MethodPost, wire.PathTokens, t, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// RevokeToken ends a token.
func (c *Client) RevokeToken(ctx context.Context, id string, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRevokeToken, id, struct{}{}, opts)
}

// WhoAmI says who this client is taken for.
func (c *Client) WhoAmI(ctx context.Context, opts ...Option) (*wire.WhoAmI, error) {
	return one[wire.WhoAmI](ctx, c, wire.PathWhoAmI, opts)
}

// CanI asks whether this client's principal may do something.
func (c *Client) CanI(ctx context.Context, q wire.CanI, opts ...Option) (*wire.Decision, error) {
	cl := newCall(http.MethodPost, wire.PathCanI, opts)
	cl.body, cl.read = q, !cl.stale
	d := new(wire.Decision)
	if _, err := c.do(ctx, cl, d); err != nil {
		return nil, err
	}
	return d, nil
}

// Login answers a challenge. sign gets the namespace and the exact text and
// returns an armoured SSH signature; it is asked only after the challenge has been
// checked to be one.
func (c *Client) Login(ctx context.Context, who wire.ChallengeRequest, sign func(namespace string, text []byte) (string, error), opts ...Option) (*wire.Login, error) {
	cl := newCall(http.MethodPost, wire.PathChallenge, opts)
	cl.body = who
	var ch wire.Challenge
	if _, err := c.do(ctx, cl, &ch); err != nil {
		return nil, err
	}
	if ch.Namespace != wire.LoginNamespace || !strings.HasPrefix(ch.Challenge, wire.LoginPreamble) {
		return nil, fmt.Errorf("log in: the server sent something else than a login challenge; it was not signed")
	}
	signature, err := sign(wire.LoginNamespace, []byte(ch.Challenge))
	if err != nil {
		return nil, fmt.Errorf("sign the challenge: %w", err)
	}
	out := new(wire.Login)
	err = c.mutate(ctx, http.MethodPost, wire.PathLogin, wire.LoginRequest{Challenge: ch.Challenge, Signature: signature}, out, opts)
	if err != nil {
		return nil, err
	}
	return out, nil
}
