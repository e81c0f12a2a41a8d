package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// CheckImported compares a certificate that a CA elsewhere made with what was asked for
// with Apply. The error says everything for which it cannot serve: whatever no verifier
// would take, and whatever allows verifiers more than the issuer's terms do. notes say
// where else it differs: where it is stricter, or where only the terms bind what is
// signed here. The order's serial is not used.
func CheckImported(der []byte, o CAOrder) (cert *x509.Certificate, notes []string, err error) {
	cert, err = x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read the CA certificate: %w", err)
	}
	if !sameKey(cert, o.SPKI) {
		return nil, nil, errors.New("the certificate is for another key than this instance's")
	}
	c := comparison{cert: cert, order: &o}
	c.authority()
	c.life()
	c.subject()
	c.pathLen()
	c.names()
	if len(c.faults) > 0 {
		return nil, nil, errors.New("the CA certificate " + strings.Join(c.faults, "; "))
	}
	return cert, c.notes, nil
}

// comparison collects what is wrong with an imported CA certificate, and in what else it
// differs.
type comparison struct {
	cert          *x509.Certificate
	order         *CAOrder
	faults, notes []string
}

func (c *comparison) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Sprintf(format, args...))
}

func (c *comparison) note(format string, args ...any) {
	c.notes = append(c.notes, fmt.Sprintf(format, args...))
}

// usageOfCA is what the key of a CA is for.
const usageOfCA = x509.KeyUsageCertSign | x509.KeyUsageCRLSign

// authority: may it be a CA at all?
func (c *comparison) authority() {
	if !c.cert.IsCA || !c.cert.BasicConstraintsValid {
		c.fault("is no CA certificate (basicConstraints)")
	}
	switch usage := c.cert.KeyUsage; {
	case usage&usageOfCA != usageOfCA:
		c.fault("may not sign certificates and CRLs (keyUsage needs keyCertSign and cRLSign)")
	case usage != usageOfCA:
		c.note("its keyUsage allows more than to sign certificates and CRLs: the key does nothing else here")
	}
	if len(c.cert.ExtKeyUsage)+len(c.cert.UnknownExtKeyUsage) > 0 {
		c.note("it has extended key usages: verifiers that pass them down believe no certificate for anything else")
	}
	if len(c.cert.SubjectKeyId) == 0 {
		c.fault("has no subjectKeyIdentifier")
	}
	for _, id := range c.cert.UnhandledCriticalExtensions {
		c.fault("has a critical extension that is unknown here: %v", id)
	}
	switch c.cert.SignatureAlgorithm {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.DSAWithSHA1, x509.ECDSAWithSHA1:
		c.fault("is signed with %s, which verifiers refuse", c.cert.SignatureAlgorithm)
	}
}

func (c *comparison) life() {
	now, from, to := timeOf(c.order.Now), c.cert.NotBefore, c.cert.NotAfter
	switch {
	case !to.After(now):
		c.fault("expired at %s", to.UTC().Format(time.RFC3339))
	case from.After(now.Add(24 * time.Hour)):
		c.fault("begins only at %s", from.UTC().Format(time.RFC3339))
	case from.After(now):
		c.note("it begins at %s: nothing is issued before", from.UTC().Format(time.RFC3339))
	}
	asked := timeOf(c.order.Now.Add(c.order.Terms.CAValidity))
	if d := to.Sub(asked); d > 24*time.Hour || d < -24*time.Hour {
		c.note("it ends at %s; by the issuer's terms (ca_validity %s) that would be %s", to.UTC().Format(time.RFC3339), c.order.Terms.CAValidity, asked.UTC().Format(time.RFC3339))
	}
}

func (c *comparison) subject() {
	cert := c.cert
	switch asked := subjectOf(&c.order.Terms, c.order.Subject).String(); {
	case cert.Subject.CommonName == "" || len(cert.Subject.CommonName) > lifecycle.MaxSubjectBytes || !lifecycle.Printable(cert.Subject.CommonName):
		c.fault("has no common name of 1 to %d printable bytes", lifecycle.MaxSubjectBytes)
	case bytes.Equal(cert.RawSubject, cert.RawIssuer):
		c.fault("names itself as its issuer, %s: verifiers would take it for a root", cert.Subject)
	case cert.Subject.String() != asked:
		c.note("its subject is %s; the request asks for %s", cert.Subject, asked)
	}
}

func (c *comparison) pathLen() {
	switch n, asked := c.cert.MaxPathLen, c.order.Terms.PathLen; {
	case !c.cert.IsCA || n == asked:
	case n < 0:
		c.note("it has no path length; the issuer's terms say %d, and no more is signed here", asked)
	case n < asked:
		c.fault("has path length %d and the issuer's terms say %d", n, asked)
	default:
		c.note("it has path length %d; the issuer's terms say %d, and no more is signed here", n, asked)
	}
}

// names compares the name constraints, RFC 5280 section 4.2.1.10.
func (c *comparison) names() {
	cert, asked := c.cert, &c.order.Terms.Names
	if before := len(c.faults); constrained(cert) || !asked.Empty() {
		c.constraint("DNS names", asked.PermittedDNS, lower(cert.PermittedDNSDomains), asked.ExcludedDNS, lower(cert.ExcludedDNSDomains), coversDomain)
		c.constraint("addresses", asked.PermittedIPs, texts(cert.PermittedIPRanges), asked.ExcludedIPs, texts(cert.ExcludedIPRanges), coversRange)
		c.constraint("email addresses", asked.PermittedEmails, cert.PermittedEmailAddresses, asked.ExcludedEmails, cert.ExcludedEmailAddresses, coversEmail)
		c.constraint("URI hosts", asked.PermittedURIs, lower(cert.PermittedURIDomains), asked.ExcludedURIs, lower(cert.ExcludedURIDomains), coversHost)
		if before == len(c.faults) && !cert.PermittedDNSDomainsCritical {
			c.note("its name constraints are not critical: verifiers that do not know them pass them by")
		}
	}
}

// constraint compares the constraints on names of one form. covers reports whether its
// first argument names all that the second does.
func (c *comparison) constraint(what string, permit, permitted, exclude, excluded []string, covers func(wide, narrow string) bool) {
	switch {
	case len(permit) > 0 && len(permitted) == 0:
		c.fault("permits any %s, and the issuer's terms only %s", what, strings.Join(permit, ", "))
	case len(permit) > 0 && !each(permitted, permit, covers):
		c.fault("permits the %s %s, and the issuer's terms only %s", what, strings.Join(permitted, ", "), strings.Join(permit, ", "))
	case len(permitted) > 0 && (len(permit) == 0 || !each(permit, permitted, covers)):
		c.note("it permits only the %s %s; the issuer's terms permit %s", what, strings.Join(permitted, ", "), orAny(permit))
	}
	switch {
	case !each(exclude, excluded, covers):
		c.fault("does not exclude the %s %s, as the issuer's terms do", what, strings.Join(exclude, ", "))
	case !each(excluded, exclude, covers):
		c.note("it excludes the %s %s; the issuer's terms exclude %s", what, strings.Join(excluded, ", "), orNone(exclude))
	}
}

// each reports whether every one of narrow is within one of wide.
func each(narrow, wide []string, covers func(wide, narrow string) bool) bool {
	return !slices.ContainsFunc(narrow, func(n string) bool {
		return !slices.ContainsFunc(wide, func(w string) bool { return covers(w, n) })
	})
}

func orAny(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ", ")
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
