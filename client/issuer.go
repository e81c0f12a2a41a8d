package client

import (
	"context"
	"net/http"

	"github.com/chancery-project/chancery/transport/wire"
)

// CreateIssuer makes an issuer and its key; its CA certificates follow by themselves.
func (c *Client) CreateIssuer(ctx context.Context, is wire.CreateIssuer, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathIssuers, "", is, opts)
}

// Issuers lists issuers in name order.
func (c *Client) Issuers(ctx context.Context, opts ...Option) (wire.List[wire.Issuer], error) {
	return list[wire.Issuer](ctx, c, wire.PathIssuers, opts)
}

// Issuer is one issuer with the CA certificates of its instances.
func (c *Client) Issuer(ctx context.Context, name string, opts ...Option) (*wire.Issuer, error) {
	return one[wire.Issuer](ctx, c, wire.Path(wire.PathIssuer, name), opts)
}

// SetIssuer changes what the next CA certificates, CRLs and OCSP answers are made by;
// what is left out stays.
func (c *Client) SetIssuer(ctx context.Context, name string, t wire.IssuerTerms, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathIssuerTerms, name, t, opts)
}

// RequestCACert has a node sign the certificate request of its instance of an external
// issuer: name the node with At, or whichever answers does it for its own.
func (c *Client) RequestCACert(ctx context.Context, issuer string, r wire.RequestCACert, opts ...Option) (*wire.CACertRequest, error) {
	out := new(wire.CACertRequest)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathIssuerRequest, issuer), r, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// ImportCACert brings the CA certificate of an external issuer's instance.
func (c *Client) ImportCACert(ctx context.Context, name string, cert wire.ImportCACert, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathImportCACert, name, cert, opts)
}

// Affected lists what one node's instance signed and has not ended. Query:
// wire.QueryNode.
func (c *Client) Affected(ctx context.Context, issuer string, opts ...Option) (wire.List[wire.Certificate], error) {
	return list[wire.Certificate](ctx, c, wire.Path(wire.PathAffected, issuer), opts)
}

// Profiles lists profiles, built-in ones included.
func (c *Client) Profiles(ctx context.Context, opts ...Option) (wire.List[wire.Profile], error) {
	return list[wire.Profile](ctx, c, wire.PathProfiles, opts)
}

// Profile is one profile.
func (c *Client) Profile(ctx context.Context, name string, opts ...Option) (*wire.Profile, error) {
	return one[wire.Profile](ctx, c, wire.Path(wire.PathProfile, name), opts)
}

// SetProfile adds a profile, or replaces one.
func (c *Client) SetProfile(ctx context.Context, name string, p wire.SetProfile, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathProfile, name, p, opts)
}

// DropProfile ends a profile.
func (c *Client) DropProfile(ctx context.Context, name string, d wire.DropProfile, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathDropProfile, name, d, opts)
}
