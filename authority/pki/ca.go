package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const (
	asn1Sequence  = cbasn1.SEQUENCE
	asn1BitString = cbasn1.BIT_STRING
)

// Links are the addresses that an instance's certificates name; empty ones are left
// out.
type Links struct {
	CA   string // of the CA certificate, DER
	CRL  string
	OCSP string
}

// CA is what it takes to draft certificates of one instance of an issuer.
type CA struct {
	Cert  *x509.Certificate
	Links Links

	alg    lifecycle.Algorithm
	parent *x509.Certificate // Cert without its key: the throwaway key signs in its place
	trial  *trialKey
	roots  *x509.CertPool // the chain, with the throwaway key in every CA
	inter  *x509.CertPool

	constrained bool                             // something in the chain constrains names
	proven      atomic.Pointer[x509.Certificate] // a leaf that a verifier has accepted, as it will every other: see verifyLeaf
}

// NewCA prepares an instance's CA certificate. chain holds the certificates above it,
// nearest first, as far as they are known: what their name constraints forbid is not
// drafted either.
func NewCA(cert *x509.Certificate, alg lifecycle.Algorithm, links Links, chain ...*x509.Certificate) (*CA, error) {
	key, err := throwaway(alg)
	if err != nil {
		return nil, err
	}
	above := constraining(chain)
	ca := &CA{Cert: cert, Links: links, alg: alg, trial: key, roots: x509.NewCertPool(), inter: x509.NewCertPool(),
		constrained: constrained(cert) || len(above) > 0}
	parent := *cert
	parent.PublicKey = nil
	ca.parent = &parent
	return ca, ca.shadow(append([]*x509.Certificate{cert}, above...))
}

// constraining cuts off what stands above the last certificate that constrains names:
// it would only be verified, again and again.
func constraining(chain []*x509.Certificate) []*x509.Certificate {
	n := 0
	for i, c := range chain {
		if constrained(c) {
			n = i + 1
		}
	}
	return chain[:n]
}

// shadow rebuilds the chain with the throwaway key, so that a real verifier can judge
// a trial certificate: names, constraints, lengths and lifetimes are those of the real
// chain.
func (ca *CA) shadow(chain []*x509.Certificate) error {
	for i, c := range chain {
		copied := *c
		copied.SignatureAlgorithm, copied.PublicKey, copied.ExtraExtensions = 0, nil, nil
		copied.AuthorityKeyId = nil
		above := &copied // the last is its own
		if i+1 < len(chain) {
			p := *chain[i+1]
			p.PublicKey = nil
			above = &p
		} else {
			copied.RawIssuer, copied.Issuer = c.RawSubject, c.Subject
		}
		der, err := x509.CreateCertificate(rand.Reader, &copied, above, ca.trial.key.Public(), ca.trial.key)
		if err != nil {
			return fmt.Errorf("prepare CA certificate %q: %w", c.Subject.CommonName, err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return fmt.Errorf("prepare CA certificate %q: %w", c.Subject.CommonName, err)
		}
		if i+1 < len(chain) {
			ca.inter.AddCert(cert)
		} else {
			ca.roots.AddCert(cert)
		}
	}
	return nil
}

// trialKey signs trial certificates of one algorithm. Nothing trusts it, and it never
// leaves the process.
type trialKey struct {
	once sync.Once
	key  crypto.Signer
	err  error
	make func() (crypto.Signer, error)
}

var trialKeys = map[lifecycle.Algorithm]*trialKey{
	lifecycle.ES256: {make: func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	lifecycle.ES384: {make: func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	lifecycle.EdDSA: {make: func() (crypto.Signer, error) {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}},
	lifecycle.RS256: {make: func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, lifecycle.MinRSABits) }},
	lifecycle.PS256: {make: func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, lifecycle.MinRSABits) }},
}

func throwaway(alg lifecycle.Algorithm) (*trialKey, error) {
	k := trialKeys[alg]
	if k == nil {
		return nil, fmt.Errorf("no certificates are signed with %s", alg)
	}
	if k.once.Do(func() { k.key, k.err = k.make() }); k.err != nil {
		return nil, fmt.Errorf("make a throwaway key: %w", k.err)
	}
	return k, nil
}

// x509Algorithm is the algorithm by its name in crypto/x509.
func x509Algorithm(alg lifecycle.Algorithm) x509.SignatureAlgorithm {
	switch alg {
	case lifecycle.ES256:
		return x509.ECDSAWithSHA256
	case lifecycle.ES384:
		return x509.ECDSAWithSHA384
	case lifecycle.EdDSA:
		return x509.PureEd25519
	case lifecycle.RS256:
		return x509.SHA256WithRSA
	case lifecycle.PS256:
		return x509.SHA256WithRSAPSS
	}
	return x509.UnknownSignatureAlgorithm
}

// CAOrder asks for the CA certificate of one instance of an issuer.
type CAOrder struct {
	Terms   lifecycle.IssuerTerms
	Subject string // common name, of this instance alone
	SPKI    []byte // of the instance
	Serial  lifecycle.Serial
	Now     lifecycle.Instant
}

// DraftCA makes the to-be-signed bytes of a CA certificate below ca, which ends with its
// parent at the latest.
func (ca *CA) DraftCA(o CAOrder) (*Draft, error) {
	if !ca.Cert.IsCA || ca.Cert.MaxPathLenZero && ca.Cert.MaxPathLen == 0 {
		return nil, fmt.Errorf("%w: the CA %q may sign no CA certificates (path length 0)", ErrOrder, ca.Cert.Subject.CommonName)
	}
	if ca.Cert.MaxPathLen > 0 && o.Terms.PathLen >= ca.Cert.MaxPathLen {
		return nil, fmt.Errorf("%w: path length %d below a CA of path length %d: choose a smaller one", ErrOrder, o.Terms.PathLen, ca.Cert.MaxPathLen)
	}
	t, key, err := caTemplate(o)
	if err != nil {
		return nil, err
	}
	if t.NotBefore.Before(ca.Cert.NotBefore) {
		t.NotBefore = ca.Cert.NotBefore
	}
	if t.NotAfter.After(ca.Cert.NotAfter) {
		t.NotAfter = ca.Cert.NotAfter
	}
	if !t.NotAfter.After(timeOf(o.Now)) {
		return nil, fmt.Errorf("%w: the CA certificate %q expired at %s", ErrOrder, ca.Cert.Subject.CommonName, ca.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if ca.Links.CA != "" {
		t.IssuingCertificateURL = []string{ca.Links.CA}
	}
	if ca.Links.CRL != "" {
		t.CRLDistributionPoints = []string{ca.Links.CRL}
	}
	if ca.Links.OCSP != "" {
		t.OCSPServer = []string{ca.Links.OCSP}
	}
	trial, err := ca.try(t, key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if err := ca.lintCA(trial); err != nil {
		return nil, fmt.Errorf("%w: no verifier would accept it: %w", ErrOrder, err)
	}
	return draftOf(trial, o.Serial), nil
}

// DraftRoot makes the to-be-signed bytes of a certificate that a key signs for itself.
func DraftRoot(o CAOrder, alg lifecycle.Algorithm) (*Draft, error) {
	trial, err := tryRoot(o, alg)
	if err != nil {
		return nil, err
	}
	return draftOf(trial, o.Serial), nil
}

// tryRoot makes a certificate of an instance that names itself as its issuer, signed by
// the throwaway key.
func tryRoot(o CAOrder, alg lifecycle.Algorithm) (*x509.Certificate, error) {
	trialKey, err := throwaway(alg)
	if err != nil {
		return nil, err
	}
	t, key, err := caTemplate(o)
	if err != nil {
		return nil, err
	}
	t.SignatureAlgorithm = x509Algorithm(alg)
	parent := *t
	der, err := x509.CreateCertificate(rand.Reader, t, &parent, key, trialKey.key)
	if err != nil {
		return nil, fmt.Errorf("%w: encode it: %w", ErrOrder, err)
	}
	trial, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	return trial, nil
}

func subjectOf(t *lifecycle.IssuerTerms, commonName string) pkix.Name {
	n := pkix.Name{CommonName: commonName}
	if t.Organization != "" {
		n.Organization = []string{t.Organization}
	}
	return n
}

// caTemplate is a CA certificate by the issuer's terms, and its key.
func caTemplate(o CAOrder) (*x509.Certificate, crypto.PublicKey, error) {
	key, err := x509.ParsePKIXPublicKey(o.SPKI)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: the instance's public key: %w", ErrOrder, err)
	}
	t := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(o.Serial[:]), Subject: subjectOf(&o.Terms, o.Subject),
		NotBefore: seconds(o.Now.Add(-backdateCA)), NotAfter: seconds(o.Now.Add(o.Terms.CAValidity)),
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: o.Terms.PathLen, MaxPathLenZero: o.Terms.PathLen == 0,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: keyID(o.SPKI)}
	if t.SubjectKeyId == nil {
		return nil, nil, fmt.Errorf("%w: the instance's public key is no SubjectPublicKeyInfo", ErrOrder)
	}
	return t, key, constrain(t, &o.Terms.Names)
}

const backdateCA = 5 * lifecycle.Minute

// constrain writes the name constraints, which are critical: a verifier that does not
// know them must refuse.
func constrain(t *x509.Certificate, n *lifecycle.NameConstraints) (err error) {
	if n.Empty() {
		return nil
	}
	t.PermittedDNSDomainsCritical = true
	t.PermittedDNSDomains, t.ExcludedDNSDomains = n.PermittedDNS, n.ExcludedDNS
	t.PermittedEmailAddresses, t.ExcludedEmailAddresses = n.PermittedEmails, n.ExcludedEmails
	t.PermittedURIDomains, t.ExcludedURIDomains = n.PermittedURIs, n.ExcludedURIs
	if t.PermittedIPRanges, err = ranges(n.PermittedIPs); err != nil {
		return err
	}
	t.ExcludedIPRanges, err = ranges(n.ExcludedIPs)
	return err
}

func ranges(list []string) (out []*net.IPNet, err error) {
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("%w: name constraint %q: write an address range, as in 10.0.0.0/8", ErrOrder, s)
		}
		out = append(out, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return out, nil
}

// CheckTerms validates an issuer's terms as far as X.509 is concerned.
func CheckTerms(t *lifecycle.IssuerTerms) error {
	if err := t.Check(); err != nil {
		return err
	}
	if err := constrain(&x509.Certificate{}, &t.Names); err != nil {
		return err
	}
	for _, l := range [][]string{t.Names.PermittedDNS, t.Names.ExcludedDNS, t.Names.PermittedURIs, t.Names.ExcludedURIs} {
		for _, s := range l {
			host := s
			if strings.HasPrefix(s, "*") {
				return fmt.Errorf("name constraint %q: without the asterisk, a constraint stands for a domain and everything under it", s)
			}
			if len(host) > 1 && host[0] == '.' {
				host = host[1:]
			}
			if n, err := normalDNS(host); err != nil || n != host {
				return fmt.Errorf("name constraint %q is no host name in lower case", s)
			}
		}
	}
	return nil
}

func sameKey(cert *x509.Certificate, spki []byte) bool {
	return sha256.Sum256(cert.RawSubjectPublicKeyInfo) == sha256.Sum256(spki)
}
