package client

import (
	"context"
	"fmt"
	"net/http"

	"github.com/chancery-project/chancery/transport/wire"
)

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
// QueryNode, QueryProfile, QueryState, QueryExpires; or QuerySerials alone, which leaves out
// what there is not.
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

// CertificateStatus is a status answer about a certificate that was checked like a Status.
type CertificateStatus struct {
	wire.CertificateClaims
	JWS string `json:"jws"`
}

// Good reports whether the certificate may be relied on. Every other status says no.
func (s *CertificateStatus) Good() bool {
	return s != nil && s.CertificateClaims.Status == wire.Good
}

// CertificateStatus asks the public listeners whether a certificate may be relied on now.
// It fails closed, like KeyStatus. The serial is 40 hex digits, lower case.
func (c *Client) CertificateStatus(ctx context.Context, serial string, opts ...Option) (best *CertificateStatus, err error) {
	subject := wire.CertificateSubject(serial)
	err = c.standing(ctx, "/status/"+subject, subject, opts, func(jws string, e Expect) (said string, position wire.Position, err error) {
		claims, err := VerifyCertificateStatus(jws, e)
		if err != nil {
			return said, position, err
		}
		if best == nil || claims.Status != wire.Indeterminate {
			best = &CertificateStatus{*claims, jws}
		}
		return claims.Status, claims.Position, nil
	})
	if best != nil {
		return best, nil
	}
	return nil, err
}

// VerifyCertificateStatus is VerifyStatus for an answer about a certificate. The Subject
// is wire.CertificateSubject.
func VerifyCertificateStatus(jws string, e Expect) (*wire.CertificateClaims, error) {
	claims := new(wire.CertificateClaims)
	if err := e.verify(jws, wire.TypCertificate, maxStatement, claims, &claims.Statement); err != nil {
		return nil, fmt.Errorf("verify a status answer: %w", err)
	}
	fresh := claims.Freshness == wire.Bounded && !claims.AsOf.IsZero()
	switch claims.Status {
	case wire.Revoked, wire.Indeterminate:
	case wire.Good, wire.Unknown, wire.CertificateOnHold, wire.CertificateEnded:
		if !fresh {
			return nil, fmt.Errorf("verify a status answer: %w: %q is said out of a state that is not fresh", ErrForged, claims.Status)
		}
	default:
		return nil, fmt.Errorf("verify a status answer: %w: status %.20q", ErrForged, claims.Status)
	}
	if wire.CertificateSubject(claims.Serial) != e.Subject {
		return nil, fmt.Errorf("verify a status answer: %w: it names serial %.50q", ErrOtherQuestion, claims.Serial)
	}
	return claims, nil
}
