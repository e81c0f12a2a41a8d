package authority

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// IssuerSpec is what the owner of a new issuer says about it.
type IssuerSpec struct {
	Key    KeySpec // its Purpose is certificate, whatever it says
	Kind   string  // "root", "issuing" or "external"
	Parent string  // issuing only
	Terms  *lifecycle.IssuerTerms
}

// CreateIssuer makes a key of purpose certificate and the issuer that signs with it.
// Its CA certificates follow by themselves, except an external one's, which are
// imported.
func (s *Service) CreateIssuer(ctx context.Context, req Request, spec IssuerSpec) (Result, error) {
	if err := lifecycle.CheckName("issuer", spec.Key.Name); err != nil {
		return Result{}, refuse("invalid", "", "%v", err)
	}
	return s.change(ctx, req, access.IssuerEdit, lifecycle.KeyID(spec.Key.Name), func(v *state.View) (command.Body, []command.RowRef, error) {
		if old := v.Key(lifecycle.KeyID(spec.Key.Name)); old != nil {
			return nil, nil, refuse(string(state.AlreadyExists), "choose another name: names are never reused", "key %s exists since %s", old.ID, old.Created.At)
		}
		c, err := s.planIssuer(v, spec)
		return c, []command.RowRef{{Table: string(state.TableKeys), Key: spec.Key.Name}}, err
	})
}

func (s *Service) planIssuer(v *state.View, spec IssuerSpec) (*command.CreateIssuer, error) {
	c := &command.CreateIssuer{Of: lifecycle.IssuerKind(spec.Kind), Parent: lifecycle.KeyID(spec.Parent)}
	if c.Of == lifecycle.RootIssuer {
		spec.Key.Custody = string(lifecycle.Singleton)
	}
	key, err := s.planKeyFor(v, spec.Key, lifecycle.ForCertificate)
	if err != nil {
		return nil, err
	}
	if key.Alg == lifecycle.EdDSA {
		return nil, refuse("invalid", "choose ES256 or ES384", "an issuer cannot sign with EdDSA: it signs whole messages, and key stores take none as long as a CRL grows")
	}
	c.Key, c.Terms = *key, lifecycle.DefaultIssuerTerms(c.Of, spec.Key.Name)
	if spec.Terms != nil {
		c.Terms = *spec.Terms
	}
	if err := pki.CheckTerms(&c.Terms); err != nil {
		return nil, refuse("invalid", "", "%v", err)
	}
	return c, nil
}

// SetIssuer changes the terms of an issuer's next CA certificates, CRLs and OCSP answers.
func (s *Service) SetIssuer(ctx context.Context, req Request, name string, terms lifecycle.IssuerTerms) (Result, error) {
	return s.change(ctx, req, access.IssuerEdit, lifecycle.KeyID(name), func(*state.View) (command.Body, []command.RowRef, error) {
		if err := pki.CheckTerms(&terms); err != nil {
			return nil, nil, refuse("invalid", "", "%v", err)
		}
		return &command.SetIssuer{Issuer: lifecycle.KeyID(name), Terms: terms}, nil, nil
	})
}

// Import is what came of a CA certificate from elsewhere.
type Import struct {
	Result
	Change command.Body // nil = a repeat
	Notes  []string     // where the certificate differs from what was asked for, and may
}

// ImportCACert takes the CA certificate of an instance of an external issuer in, as the
// CA above made it, with those above it as far as they are brought along. The order of the
// certificates does not count.
func (s *Service) ImportCACert(ctx context.Context, req Request, name string, ders [][]byte) (in Import, err error) {
	in.Result, err = s.change(ctx, req, access.IssuerEdit, lifecycle.KeyID(name), func(v *state.View) (command.Body, []command.RowRef, error) {
		is := v.Issuer(lifecycle.KeyID(name))
		if is == nil {
			return nil, nil, refuse(string(state.IssuerNotFound), "chancery issuer list", "there is no issuer %q", name)
		}
		if is.Kind != lifecycle.ExternalIssuer {
			return nil, nil, refuse("invalid", "", "the CA certificates of %s are made here: it is of kind %s", name, is.Kind)
		}
		i, der, others, err := instanceOf(v, is.Name, ders)
		if err != nil {
			return nil, nil, err
		}
		var cert *x509.Certificate
		cert, in.Notes, err = pki.CheckImported(der, pki.CAOrder{Terms: is.IssuerTerms, Subject: is.CASubject(i.Version, i.KID), SPKI: i.SPKI, Now: s.Now()})
		if err != nil {
			return nil, nil, refuse("invalid", asAsked(v, is.Name, i), "%v", err)
		}
		body := &command.BindCACert{Issuer: is.Name, Version: i.Version, Node: i.Node, DER: der, Subject: cert.Subject.CommonName}
		above, err := pki.Above(cert, others, s.Now())
		if err != nil {
			return nil, nil, refuse("invalid", "chancery issuer import "+name+" takes the CA certificate alone, too", "%v", err)
		}
		for _, c := range above {
			body.Above = append(body.Above, c.Raw)
		}
		if n := len(above); n > 0 && !pki.SelfIssued(above[n-1]) {
			in.Notes = append(in.Notes, fmt.Sprintf("the root is not among the certificates: they end below %s", above[n-1].Issuer))
		}
		in.Change = body
		return body, []command.RowRef{state.RefIssuer(is)}, nil
	})
	return in, err
}

// asAsked says how to get a CA certificate that fits.
func asAsked(v *state.View, issuer lifecycle.KeyID, i *lifecycle.Instance) string {
	node := "NODE"
	if n := v.Node(i.Node); n != nil {
		node = n.Name
	}
	return fmt.Sprintf("have the request of chancery issuer csr %s --node %s signed with the extensions it asks for (openssl x509 -req -copy_extensions copyall); or change what is asked for: chancery issuer set %s", issuer, node, issuer)
}

// instanceOf finds the certificate that is for a public key of the issuer, and the
// instance with that key.
func instanceOf(v *state.View, issuer lifecycle.KeyID, ders [][]byte) (found *lifecycle.Instance, der []byte, others []*x509.Certificate, err error) {
	for _, d := range ders {
		cert, err := x509.ParseCertificate(d)
		if err != nil {
			return nil, nil, nil, refuse("invalid", "openssl x509 -in FILE -noout -text", "read a certificate: %v", err)
		}
		i := instanceWith(v, issuer, cert.RawSubjectPublicKeyInfo)
		switch {
		case i == nil:
			others = append(others, cert)
		case found != nil:
			return nil, nil, nil, refuse("invalid", "import one after the other", "two of the certificates are for public keys of issuer %s", issuer)
		default:
			found, der = i, d
		}
	}
	if found == nil {
		return nil, nil, nil, refuse(string(state.InstanceNotFound), "chancery issuer csr "+string(issuer), "the certificate is for no public key of issuer %s", issuer)
	}
	return found, der, others, nil
}

func instanceWith(v *state.View, issuer lifecycle.KeyID, spki []byte) *lifecycle.Instance {
	for _, ver := range v.Versions(issuer) {
		for _, i := range v.Instances(issuer, ver.Number) {
			if bytes.Equal(i.SPKI, spki) {
				return i
			}
		}
	}
	return nil
}

// SetProfile adds a profile or replaces the one of its name; DropProfile ends it.
func (s *Service) SetProfile(ctx context.Context, req Request, name string, terms lifecycle.ProfileTerms) (Result, error) {
	return s.change(ctx, req, access.ProfileEdit, "", func(*state.View) (command.Body, []command.RowRef, error) {
		if err := pki.CheckProfile(&terms); err != nil {
			return nil, nil, refuse("invalid", "", "%v", err)
		}
		return &command.SetProfile{Name: name, Terms: terms}, nil, nil
	})
}

// DropProfile ends a profile; a built-in one of its name counts again.
func (s *Service) DropProfile(ctx context.Context, req Request, name string) (Result, error) {
	return s.change(ctx, req, access.ProfileEdit, "", func(*state.View) (command.Body, []command.RowRef, error) {
		return &command.DropProfile{Name: name}, nil, nil
	})
}

// RevokeCertificates puts certificates of one issuer on its CRLs. Operators of the
// issuer may, and whoever requested all of them.
func (s *Service) RevokeCertificates(ctx context.Context, req Request, issuer string, items []command.RevokeItem) (Result, error) {
	slices.SortFunc(items, func(a, b command.RevokeItem) int { return bytes.Compare(a.Serial[:], b.Serial[:]) })
	serials := make([]lifecycle.Serial, len(items))
	for i := range items {
		var err error
		if items[i].InvalidityAt, err = s.happened("invalidity_at", items[i].InvalidityAt); err != nil {
			return Result{}, err
		}
		serials[i] = items[i].Serial
	}
	found, err := s.View().CertificatesOf(serials)
	if err != nil {
		return Result{}, fmt.Errorf("look for certificates: %w", err)
	}
	verb := access.CertRevoke
	if owns(req.Caller.Principal, found) {
		verb = access.CertRevokeOwn
	}
	return s.change(ctx, req, verb, lifecycle.KeyID(issuer), func(*state.View) (command.Body, []command.RowRef, error) {
		if err := ofIssuer(issuer, serials, found); err != nil {
			return nil, nil, err
		}
		return &command.RevokeCertificates{Items: items}, nil, nil
	})
}

// ReleaseCertificates takes certificates of one issuer that are on hold off its CRLs.
func (s *Service) ReleaseCertificates(ctx context.Context, req Request, issuer string, serials []lifecycle.Serial, comment string) (Result, error) {
	slices.SortFunc(serials, func(a, b lifecycle.Serial) int { return bytes.Compare(a[:], b[:]) })
	found, err := s.View().CertificatesOf(serials)
	if err != nil {
		return Result{}, fmt.Errorf("look for certificates: %w", err)
	}
	return s.change(ctx, req, access.CertRelease, lifecycle.KeyID(issuer), func(*state.View) (command.Body, []command.RowRef, error) {
		if err := ofIssuer(issuer, serials, found); err != nil {
			return nil, nil, err
		}
		return &command.ReleaseCertificates{Serials: serials, Comment: comment}, nil, nil
	})
}

// ofIssuer refuses certificates of another issuer: the right to revoke is one issuer's.
// Whose a serial is never changes, so it does not matter when it was looked up.
func ofIssuer(issuer string, serials []lifecycle.Serial, found []*lifecycle.Certificate) error {
	for i, c := range found {
		if c == nil || string(c.Issuer) != issuer {
			return refuse(string(state.CertificateNotFound), "chancery cert list --issuer "+issuer, "issuer %s has no certificate with serial %s", issuer, serials[i])
		}
	}
	return nil
}

// owns reports whether the principal requested all of the certificates.
func owns(principal string, certs []*lifecycle.Certificate) bool {
	for _, c := range certs {
		if c == nil || c.Requester != principal {
			return false
		}
	}
	return len(certs) > 0
}

// checkSignedBy verifies who signed a CA certificate that a node brings: the state
// machine does not look at signatures.
func checkSignedBy(v *state.View, c *command.BindCACert, node lifecycle.NodeID) error {
	is := v.Issuer(c.Issuer)
	if is == nil {
		return refuse(string(state.IssuerNotFound), "", "there is no issuer %q", string(c.Issuer))
	}
	cert, err := x509.ParseCertificate(c.DER)
	if err != nil {
		return refuse("invalid", "", "the CA certificate cannot be read: %v", err)
	}
	switch is.Kind {
	case lifecycle.RootIssuer:
		if c.Node != node || cert.CheckSignatureFrom(cert) != nil {
			return &Denied{"a root's certificate is signed by its own instance, on its own node"}
		}
	case lifecycle.IssuingIssuer:
		for _, parent := range v.CACerts(is.Parent) {
			if parent.Node != node {
				continue
			}
			if above, err := x509.ParseCertificate(parent.DER); err == nil && cert.CheckSignatureFrom(above) == nil {
				return nil
			}
		}
		return &Denied{fmt.Sprintf("node %s has no CA certificate of %s that signed this one", node.Short(), is.Parent)}
	default:
		return &Denied{"the CA certificates of an external issuer are imported by an admin"}
	}
	return nil
}
