package pki

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// lint looks at a certificate that only the throwaway key has signed, as a verifier
// would, and as RFC 5280 asks where verifiers are lax.
func (ca *CA) lint(c *x509.Certificate, p *Profile, names *Names) error {
	if err := ca.lintAny(c); err != nil {
		return err
	}
	switch {
	case c.IsCA || c.MaxPathLen > 0 || c.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return errors.New("it could sign certificates or CRLs")
	case c.KeyUsage == 0:
		return errors.New("no key usage is left for this kind of key")
	case len(c.DNSNames) != len(names.DNS) || len(c.IPAddresses) != len(names.IPs) || len(c.URIs) != len(names.URIs) || len(c.EmailAddresses) != len(names.Emails):
		return errors.New("a name was lost on the way")
	case names.Empty() && c.Subject.CommonName == "":
		return errors.New("it names nobody")
	case has(c, oidNoRevAvail) && (len(c.CRLDistributionPoints) > 0 || len(c.OCSPServer) > 0):
		return errors.New("it says both that there is revocation and that there is none")
	case c.NotAfter.Sub(c.NotBefore) > time.Duration(p.Terms.MaxValidity+p.Terms.Backdate)*time.Millisecond:
		return fmt.Errorf("it lives longer than profile %s allows", p.Name)
	}
	return ca.verifyLeaf(c)
}

// lintCA is lint for a CA certificate below this one.
func (ca *CA) lintCA(c *x509.Certificate) error {
	if bytes.Equal(c.RawSubject, c.RawIssuer) {
		return errors.New("it has the subject of its own CA: verifiers would take it for a root")
	}
	if err := ca.lintAny(c); err != nil {
		return err
	}
	if !c.IsCA || c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign {
		return errors.New("it is no CA certificate")
	}
	return ca.verify(c)
}

func (ca *CA) lintAny(c *x509.Certificate) error {
	switch {
	case c.Version != 3:
		return fmt.Errorf("it is of version %d", c.Version)
	case c.SerialNumber.Sign() <= 0 || c.SerialNumber.BitLen() > 8*lifecycle.SerialBytes-1:
		return errors.New("its serial is not positive, or longer than 20 octets")
	case !c.NotBefore.Before(c.NotAfter):
		return errors.New("it ends before it begins")
	case c.NotBefore.Before(ca.Cert.NotBefore) || c.NotAfter.After(ca.Cert.NotAfter):
		return errors.New("its lifetime is not within its CA's")
	case len(c.SubjectKeyId) == 0 || !bytes.Equal(c.AuthorityKeyId, ca.Cert.SubjectKeyId):
		return errors.New("its key identifiers do not lead to its CA")
	case !c.BasicConstraintsValid:
		return errors.New("it has no basicConstraints")
	case len(c.UnhandledCriticalExtensions) > 0:
		return fmt.Errorf("extension %v is critical and nobody knows it", c.UnhandledCriticalExtensions[0])
	case !bytes.Equal(c.RawIssuer, ca.Cert.RawSubject):
		return errors.New("its issuer is not its CA's subject")
	}
	seen := map[string]bool{}
	for _, e := range c.Extensions {
		if id := e.Id.String(); seen[id] {
			return fmt.Errorf("extension %s stands twice", id)
		} else {
			seen[id] = true
		}
	}
	return nil
}

func has(c *x509.Certificate, id asn1.ObjectIdentifier) bool {
	for _, e := range c.Extensions {
		if e.Id.Equal(id) {
			return true
		}
	}
	return false
}

// verifyLeaf runs the verifier over a leaf. Where nothing constrains names, one leaf
// tells about all of them: what is left to judge is the CA itself, which does not change,
// and the lifetime, which lintAny holds within the CA's.
func (ca *CA) verifyLeaf(c *x509.Certificate) error {
	if ca.proven.Load() != nil {
		return nil
	}
	if err := ca.verify(c); err != nil {
		return err
	}
	if !ca.constrained {
		ca.proven.Store(c)
	}
	return nil
}

// verify runs the verifier of crypto/x509 over the chain of throwaway signatures.
func (ca *CA) verify(c *x509.Certificate) error {
	_, err := c.Verify(x509.VerifyOptions{Roots: ca.roots, Intermediates: ca.inter, CurrentTime: c.NotBefore.Add(time.Second),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}
