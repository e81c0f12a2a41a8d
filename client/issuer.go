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
func (c *Client) DropProfile(ctx context.Context, name string, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathDropProfile, name, struct{}{}, opts)
}

// IssueCertificate asks the node for a certificate, or another node when that one cannot
// sign. A repeat with the same request id gives the same certificate.
func (c *Client) IssueCertificate(ctx context.Context, issuer string, r wire.IssueCertificate, opts ...Option) (*wire.IssuedCertificate, error) {
	out := new(wire.IssuedCertificate)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathIssueCertificate, issuer), r, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// RenewCertificate asks for the successor of a certificate with a proof of its own key.
// No other credential is needed.
func (c *Client) RenewCertificate(ctx context.Context, serial string, r wire.RenewCertificate, opts ...Option) (*wire.IssuedCertificate, error) {
	out := new(wire.IssuedCertificate)
	if err := c.mutate(ctx, http.MethodPost, wire.Path(wire.PathRenewCertificate, serial), r, out, opts); err != nil {
		return nil, err
	}
	return out, nil
}

// Certificates finds certificates. Queries: wire.QueryIssuer, QueryName, QueryActor,
// QueryNode, QueryProfile, QueryState, QueryExpires.
func (c *Client) Certificates(ctx context.Context, opts ...Option) (wire.List[wire.Certificate], error) {
	return list[wire.Certificate](ctx, c, wire.PathCertificates, opts)
}

// Certificate is one certificate, by its serial in any spelling.
func (c *Client) Certificate(ctx context.Context, serial string, opts ...Option) (*wire.Certificate, error) {
	return one[wire.Certificate](ctx, c, wire.Path(wire.PathCertificate, serial), opts)
}

// RevokeCertificates revokes certificates of one issuer.
func (c *Client) RevokeCertificates(ctx context.Context, r wire.RevokeCertificates, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathRevokeCertificates, "", r, opts)
}

// ReleaseCertificates ends the hold of certificates of one issuer.
func (c *Client) ReleaseCertificates(ctx context.Context, r wire.ReleaseCertificates, opts ...Option) (*wire.Operation, error) {
	return c.operate(ctx, wire.PathReleaseCertificates, "", r, opts)
}
